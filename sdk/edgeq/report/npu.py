"""A profile for people and tools: roofline and memory plots in one HTML file, and a Perfetto trace."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeq.errors import ProgramError
from edgeq.graph.ir import Array
from edgeq.runtime import isa
from edgeq.runtime.npu import Profile, Timeline, profile
from edgeq.runtime.npu.profile import target_of
from edgeq.runtime.program import Program
from edgeq.runtime.target import Target

_NAMES = {op.number: name for name, op in isa.OPCODES.items()}
_QUEUES = {number: name for name, number in isa.QUEUES.items()}


@dataclass(frozen=True, slots=True, eq=False)
class Profiled:
    """A program with what the clock says of it."""

    program: Program
    target: Target
    profile: Profile
    clock: Timeline


def profiled(program: Program) -> Profiled:
    """Run the clock of a program. Raises ProgramError when it is one for the cpu."""
    target = target_of(program.meta)
    if program.timing is None:
        raise ProgramError("TIMING: section is missing. Compile the model again.")
    made, clock = profile(program.meta, program.commands, program.timing, program.cores)
    return Profiled(program, target, made, clock)


def trace_events(p: Profiled) -> dict[str, Any]:
    """The timeline as Chrome trace events (ui.perfetto.dev): a process per core, a thread per queue."""
    assert p.program.timing is not None
    heads = np.frombuffer(p.program.commands, isa.COMMAND_DTYPES["END"])
    us = 1e6 / p.target.clock_hz
    events: list[dict[str, Any]] = []
    for core in range(p.program.cores):
        events.append(_meta("process_name", core, 0, f"{p.target.name} core {core}"))
        events += [_meta("thread_name", core, q, name) for q, name in _QUEUES.items()]
    for head, row, start, finish in zip(
        heads, p.program.timing, p.clock.start, p.clock.finish, strict=True
    ):
        if finish == start:
            continue
        layer = p.profile.layers[int(row["layer"])]
        events.append(
            {
                "name": f"{_NAMES[int(head['opcode'])]} {layer.name}",
                "ph": "X",
                "pid": int(row["core"]),
                "tid": int(row["queue"]),
                "ts": float(start) * us,
                "dur": float(finish - start) * us,
                "args": {
                    "cycles": int(row["cycles"]),
                    "dram_bytes": int(row["dram_bytes"]),
                    "macs": int(row["macs"]),
                    "layer": layer.name,
                    "op": layer.op,
                },
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ns"}


def _meta(name: str, pid: int, tid: int, value: str) -> dict[str, Any]:
    return {"name": name, "ph": "M", "pid": pid, "tid": tid, "args": {"name": value}}


def memory_over_layers(p: Profiled) -> Array:
    """SRAM bytes in use while each layer runs, the most of any core."""
    tensors = p.program.tensors
    mine = tensors[tensors["region"] == isa.REGIONS["SRAM"]]
    used = np.zeros(len(p.profile.layers), np.int64)
    for core in range(p.program.cores):
        rows = mine[mine["core"] == core]
        low = rows["offset"].astype(np.int64)
        reach = ((rows["dims"].astype(np.int64) - 1).clip(0) * rows["strides"]).sum(1) + 1
        sizes = np.array([0, 1, 2, 4, 4])[rows["dtype"]]
        high = low + reach * sizes
        for at in range(len(used)):
            alive = (rows["first"] <= at) & (rows["last"] >= at)
            used[at] = max(used[at], _union(low[alive], high[alive]))
    return used


def _union(low: Array, high: Array) -> int:
    """Bytes that ranges cover together."""
    total = end = 0
    for k in np.argsort(low, kind="stable"):
        start = max(int(low[k]), end)
        if high[k] > start:
            total += int(high[k]) - start
            end = int(high[k])
    return total


def html_report(made: Sequence[Profiled]) -> str:
    """One self-contained HTML file: totals, comparison, roofline, memory over time, every layer."""
    import jinja2

    main = made[0]
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(_PAGE).render(
        name=main.program.meta.get("name", ""),
        p=main.profile,
        made=[one.profile for one in made],
        roofline=_roofline(main),
        memory=_memory(main),
        assumed=sum(w.word == "assumed" for w in main.target.provenance.values()),
    )


def _roofline(p: Profiled) -> str:
    """MACs per second against MACs per byte from outside, one dot a layer."""
    plot, axes = _figure()
    t = p.target
    peak = t.macs_per_cycle * t.clock_hz / 1e9
    rate = t.dram_bytes_per_cycle * t.dram_efficiency * t.clock_hz / 1e9
    layers = [a for a in p.profile.layers if a.macs and a.cycles]
    x = [a.macs / max(a.dram_bytes, 1) for a in layers]
    y = [a.macs * t.clock_hz / a.cycles / 1e9 for a in layers]
    ridge = peak / rate  # MACs per byte at which memory no longer limits
    roof = np.array([min([*x, ridge / 10]), ridge, max([*x, ridge * 10])])
    axes.plot(roof, np.minimum(peak, roof * rate), color="#444")
    for bound, color in (("compute", "#1b7837"), ("dma", "#c2451e"), ("dependency", "#6a51a3")):
        mine = [i for i, a in enumerate(layers) if a.bound == bound]
        axes.scatter([x[i] for i in mine], [y[i] for i in mine], s=14, color=color, label=bound)
    axes.set(xscale="log", yscale="log", xlabel="MAC per byte from outside", ylabel="GMAC/s")
    axes.legend(frameon=False)
    return _svg(plot)


def _memory(p: Profiled) -> str:
    """SRAM in use over time."""
    plot, axes = _figure()
    ends = np.cumsum([a.cycles for a in p.profile.layers]) * 1e3 / p.target.clock_hz
    used = memory_over_layers(p) / 1024
    axes.stairs(used, np.concatenate([[0], ends]), fill=True, color="#4393c3")
    axes.axhline(p.profile.sram_bytes / 1024, color="#c2451e", linewidth=1)
    axes.set(xlabel="ms", ylabel="KiB of SRAM in use")
    return _svg(plot)


def _figure() -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    plot = Figure(figsize=(6.4, 3.6), layout="constrained")
    return plot, plot.subplots()


def _svg(plot: Any) -> str:
    body = io.BytesIO()
    plot.savefig(body, format="png", dpi=110)
    return "data:image/png;base64," + base64.b64encode(body.getvalue()).decode()


_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{{ name }} on {{ p.target }}</title>
<style>body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;font-size:13px}td,th{padding:.2rem .7rem;border-bottom:1px solid #ddd;text-align:right}
td:first-child,th:first-child,td:last-child,th:last-child{text-align:left}img{max-width:49%}.dma{color:#c2451e}</style>
<h1>{{ name }} on {{ p.target }}</h1><p>{{ p.title }}.
One picture on {{ p.cores_used }} of {{ p.cores }} cores. {{ assumed or "No" }} constants of the target are assumed;
energy is within {{ "%.3g"|format(p.energy.low_uj) }} to {{ "%.3g"|format(p.energy.high_uj) }} uJ.</p>
<table><tr><th>target<th>cycles<th>ms<th>fps<th>limited by<th>SRAM KiB<th>outside kB<th>uJ<th>array</tr>
{% for a in made %}<tr><td>{{ a.target }}<td>{{ a.cycles }}<td>{{ "%.3f"|format(a.latency_ms) }}<td>{{ "%.1f"|format(a.fps) }}
<td>{{ a.fps_bound }}<td>{{ a.sram_peak_bytes // 1024 }}<td>{{ a.dram_bytes // 1000 }}<td>{{ "%.1f"|format(a.energy_uj) }}
<td>{{ "%.1f %%"|format(100 * a.utilization) }}</tr>{% endfor %}</table>
<h2>Roofline and memory</h2><img alt="roofline" src="{{ roofline }}"><img alt="SRAM over time" src="{{ memory }}">
<h2>Layers</h2><table><tr><th>layer<th>op<th>cycles<th>array<th>bound<th>weights B<th>bits<th>coding<th>outside B<th>uJ<th>verdict</tr>
{% for a in p.layers %}<tr class="{{ a.bound }}"><td>{{ a.name }}<td>{{ a.op }}<td>{{ a.cycles }}
<td>{{ "%.0f %%"|format(100 * a.utilization) }}<td>{{ a.bound }}<td>{{ a.weight_bytes }}<td>{{ a.weight_bits or "" }}<td>{{ a.coding }}{{ " -%.0f %%"|format(100 * a.weight_saved) if a.weight_saved }}<td>{{ a.dram_bytes }}
<td>{{ "%.2f"|format(a.energy_uj) }}<td>{{ a.verdict }}</tr>{% endfor %}</table></html>
"""
