"""What the clock and the counters say of a program: totals, layers, stalls by cause, energy, verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import EdgeqError, ProgramError
from edgeq.runtime import isa
from edgeq.runtime.npu.energy import Energy, energy
from edgeq.runtime.npu.timeline import CAUSES, Timeline, run_clock, tables
from edgeq.runtime.npu.weights import StoredWeights, stored_weights
from edgeq.runtime.target import Target

STALLS = {"load": "load", "weights": "weights", "store": "store", "dram": "dram", "sync": "sync"}


@dataclass(frozen=True, slots=True)
class LayerProfile:
    """One layer. `cycles` is the time from the end of the layers before; stalls are those of the array."""

    name: str
    op: str
    cycles: int
    exec_cycles: int
    utilization: float  # MACs done of the MACs possible in `cycles`
    bound: str  # compute, dma or dependency
    stalls: dict[str, int]
    macs: int
    weight_bytes: int  # moved, with scales
    coding: str  # of the weights
    weight_saved: float  # share of their bytes that coding takes off
    dram_bytes: int
    sram_bytes: int
    energy_uj: float
    commands: int
    verdict: str
    weight_bits: int  # 4 where any of its weights has 4, 0 without weights


@dataclass(frozen=True, slots=True)
class Profile:
    """A program on its target: one picture alone (`cycles`), many pictures (`fps`), memory and energy."""

    target: str
    title: str
    cores: int
    cores_used: int
    cycles: int
    latency_ms: float
    fps: float
    fps_bound: str
    fps_cores: int  # that share a picture when there are many
    sram_bytes: int  # what a core has
    sram_peak_bytes: int
    sram_bound_bytes: int
    arena_bytes: int
    dram_bytes: int
    weight_bytes: int
    weight_stored_bytes: int  # in the file, of weight_raw_bytes
    weight_raw_bytes: int
    macs: int
    utilization: float
    energy_uj: float
    energy: dict[str, float]
    stalls: dict[str, int]
    layers: tuple[LayerProfile, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, with the keys of the command line."""
        return {**asdict(self), "layers": [asdict(layer) for layer in self.layers]}


def target_of(meta: Mapping[str, Any]) -> Target:
    """The target that a program was compiled for, as its META keeps it. Raises ProgramError."""
    about = meta.get("npu")
    if not isinstance(about, dict):
        raise ProgramError(
            "META: the program is for the cpu, it has no clock. Compile it with --target npu-dev."
        )
    names = {f.name for f in fields(Target)} - {"name", "title", "provenance"}
    try:
        constants = {key: value for key, value in about.items() if key in names}
        return Target(str(meta.get("target", "")), str(about.get("title", "")), **constants)
    except (TypeError, EdgeqError) as broken:
        raise ProgramError(f"META: its target is damaged ({broken}). Compile it again.") from None


def profile(
    meta: Mapping[str, Any], commands: bytes, timing: NDArray[Any], cores: int
) -> tuple[Profile, Timeline]:
    """Run the clock over a program's tables and sum it up."""
    target = target_of(meta)
    clock = run_clock(tables(commands, timing, cores))
    names, stats = meta.get("layers"), meta.get("stats")
    if not isinstance(names, list) or not isinstance(stats, dict):
        raise ProgramError("META: layers and stats must be there. Compile the model again.")
    if len(timing) and len(names) <= int(timing["layer"].max()):
        raise ProgramError("META: layers must name every layer of TIMING. Compile the model again.")
    cycles = clock.makespan
    used = int(meta["npu"].get("cores_used", 1))
    stored = stored_weights(commands, timing, len(names))
    layers = _layers(names, timing, clock, target, used, stored)
    seconds = cycles / target.clock_hz
    macs, macs4 = int(timing["macs"].sum()), sum(one.macs4 for one in stored)
    total = energy(
        target,
        macs=macs,
        macs4=macs4,
        sram_bytes=int(timing["sram_bytes"].sum() + timing["dram_bytes"].sum()),
        dram_bytes=int(timing["dram_bytes"].sum()),
        vector_elements=int(timing["vector"].sum()),
        seconds=seconds,
    )
    edge = _edge_bytes(meta)
    link = edge / target.host_link_bytes_per_s if target.host_link_bytes_per_s else 0.0
    dram = int(timing["dram_bytes"].sum())
    modes = [
        (int(m["cores"]), int(m["cycles"]), int(m["dram_bytes"]))
        for m in meta["npu"].get("modes", ())
    ]
    fps, bound, picture_cores = max(
        _throughput(target, *mode, edge) for mode in (modes or [(used, cycles, dram)])
    )
    return Profile(
        target=target.name,
        title=target.title,
        cores=target.cores + target.small_cores,
        cores_used=used,
        cycles=cycles,
        latency_ms=1e3 * (seconds + link),
        fps=fps,
        fps_bound=bound,
        fps_cores=picture_cores,
        sram_bytes=target.sram_bytes,
        sram_peak_bytes=int(stats.get("sram_peak_bytes", 0)),
        sram_bound_bytes=int(stats.get("sram_bound_bytes", 0)),
        arena_bytes=int(stats.get("arena_bytes", 0)),
        dram_bytes=dram,
        weight_bytes=sum(layer.weight_bytes for layer in layers),
        weight_stored_bytes=sum(one.stored_bytes for one in stored),
        weight_raw_bytes=sum(one.bytes for one in stored),
        macs=int(timing["macs"].sum()),
        utilization=_array_macs(target, macs, macs4) / max(cycles * _peak(target, used), 1),
        energy_uj=total.total_uj,
        energy=_parts(total),
        stalls={
            cause: sum(layer.stalls.get(cause, 0) for layer in layers) for cause in STALLS.values()
        },
        layers=tuple(layers),
    ), clock


def _layers(
    names: Sequence[Any],
    timing: NDArray[Any],
    clock: Timeline,
    target: Target,
    used: int,
    stored: Sequence[StoredWeights],
) -> list[LayerProfile]:
    count = len(names)
    layer = timing["layer"].astype(np.int64)
    ends = np.zeros(count, np.int64)
    np.maximum.at(ends, layer, clock.finish)
    ends = np.maximum.accumulate(ends)
    run = timing["queue"] == isa.QUEUES["EXEC"]
    sums = {
        key: np.bincount(layer, timing[key], count).astype(np.int64)
        for key in ("macs", "dram_bytes", "sram_bytes", "vector")
    }
    busy = np.bincount(layer[run], timing["cycles"][run], count).astype(np.int64)
    span = _shared(np.diff(ends, prepend=0), layer, busy)
    w = timing["queue"] == isa.QUEUES["LOAD_W"]
    weights = np.bincount(layer[w], timing["dram_bytes"][w], count).astype(np.int64)
    commands = np.bincount(layer, minlength=count)
    stalls = _stalls(timing, clock, layer, count)
    rows = []
    for at, about in enumerate(names):
        mine = {cause: int(values[at]) for cause, values in stalls.items() if values[at]}
        macs, macs4 = int(sums["macs"][at]), stored[at].macs4
        array_macs = _array_macs(target, macs, macs4)
        used_energy = energy(
            target,
            macs=macs,
            macs4=macs4,
            sram_bytes=int(sums["sram_bytes"][at] + sums["dram_bytes"][at]),
            dram_bytes=int(sums["dram_bytes"][at]),
            vector_elements=int(sums["vector"][at]),
            seconds=int(span[at]) / target.clock_hz,
        ).total_uj
        cycles, exec_cycles = int(span[at]), int(busy[at])
        bound = _bound(cycles, exec_cycles // max(used, 1), mine)
        rows.append(
            LayerProfile(
                name=str(about.get("name", "")),
                op=str(about.get("op", "")),
                cycles=cycles,
                exec_cycles=exec_cycles,
                utilization=array_macs / max(cycles * _peak(target, used), 1),
                bound=bound,
                stalls=mine,
                macs=macs,
                weight_bytes=int(weights[at]),
                coding=stored[at].coding,
                weight_saved=stored[at].saved,
                dram_bytes=int(sums["dram_bytes"][at]),
                sram_bytes=int(sums["sram_bytes"][at]),
                energy_uj=used_energy,
                commands=int(commands[at]),
                verdict=verdict(
                    target, bound, array_macs, exec_cycles, int(weights[at]),
                    int(sums["dram_bytes"][at] - weights[at]), mine, bits=stored[at].bits,
                ),
                weight_bits=stored[at].bits,
            )
        )  # fmt: skip
    return rows


def _shared(
    span: NDArray[np.int64], layer: NDArray[np.int64], busy: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Layers done in stripes by turns share the time of all of them, by the work of each."""
    out = span.copy()
    if not len(layer):
        return out
    before = np.maximum.accumulate(layer)
    after = np.minimum.accumulate(layer[::-1])[::-1]
    edges = np.flatnonzero(before[:-1] < after[1:])  # nothing behind belongs to a layer before
    for first, last in zip(
        [after[0], *after[edges + 1]], [*before[edges], before[-1]], strict=True
    ):
        work = np.cumsum(busy[first : last + 1])
        if last > first and work[-1]:
            until = int(span[first : last + 1].sum()) * work // work[-1]
            out[first : last + 1] = np.diff(until, prepend=0)
    return out


def _stalls(
    timing: NDArray[Any], clock: Timeline, layer: NDArray[Any], count: int
) -> dict[str, NDArray[Any]]:
    """Idle cycles of the array before each EXEC, by what it waited for, summed by layer."""
    out = {name: np.zeros(count, np.int64) for name in STALLS.values()}
    for core in np.unique(timing["core"]):
        mine = np.flatnonzero((timing["queue"] == isa.QUEUES["EXEC"]) & (timing["core"] == core))
        gap = clock.start[mine] - np.concatenate([[0], clock.finish[mine][:-1]])
        for number, name in enumerate(CAUSES):
            if name in out:
                chosen = clock.cause[mine] == number
                np.add.at(out[name], layer[mine][chosen], gap[chosen])
    return out


def _bound(cycles: int, busy: int, stalls: Mapping[str, int]) -> str:
    """Compute where the array works most of the time, else what it waits for most."""
    if 2 * busy >= cycles:
        return "compute"
    dma = sum(stalls.get(name, 0) for name in ("load", "weights", "store", "dram"))
    if busy == 0:
        return "dma"
    return "dma" if max(dma, cycles - busy - sum(stalls.values())) >= stalls.get("sync", 0) else "dependency"  # fmt: skip


def verdict(
    t: Target,
    bound: str,
    macs: float,
    busy: int,
    weights: int,
    maps: int,
    stalls: Mapping[str, int],
    *,
    bits: int = 8,
) -> str:
    """One line: what limits the layer, and what would help; `macs` as the array's time counts them."""
    rate = t.dram_bytes_per_cycle * t.dram_efficiency
    if bound == "dma":
        if weights >= maps:
            less = "pruning them takes more off" if bits == 4 else "W4 halves it"
            return f"DMA-bound: weights {_size(weights)} at {rate:g} B/cycle; {less}"
        return f"DMA-bound: feature maps {_size(maps)} at {rate:g} B/cycle; more SRAM keeps them inside"
    if bound == "dependency":
        return f"waits for other cores: {sum(stalls.values())} cycles; larger tiles or fewer cores"
    if not macs:
        return "vector unit: no products; fuse it or choose a cheaper function"
    used = macs / max(busy * _peak(t, 1), 1)
    if used >= 0.5:
        return f"compute-bound: the array does {used:.0%} of its peak"
    return f"compute-bound at {used:.0%} of the peak: the layer's shape does not fill the array"


def _array_macs(t: Target, macs: int, macs4: int) -> float:
    """Products as the array's time counts them: several with 4-bit weights in the place of one."""
    rate = t.w4a8_rate if t.dataflow != "ublock" and t.w4a8_rate else 1.0
    return macs - macs4 + macs4 / rate


def _peak(t: Target, used: int) -> int:
    """MACs that the cores in use can do in a cycle."""
    if t.dataflow == "ublock":
        return t.macs_per_cycle
    return t.rows * t.cols * used


def _throughput(t: Target, used: int, cycles: int, dram: int, edge: int) -> tuple[float, str, int]:
    """Pictures per second with every core busy on pictures of its own."""
    copies = max(t.cores // used, 1) if t.dataflow != "ublock" else 1
    limits = {"cores": copies * t.clock_hz / max(cycles, 1)}
    if dram:
        limits["dram"] = t.dram_bytes_per_cycle * t.dram_efficiency * t.clock_hz / dram
    if t.host_link_bytes_per_s:
        limits["host link"] = t.host_link_bytes_per_s / max(edge, 1)
    bound = min(limits, key=lambda name: limits[name])
    return limits[bound], bound, used


def _edge_bytes(meta: Mapping[str, Any]) -> int:
    return sum(
        int(np.prod(spec["shape"])) for spec in (*meta.get("inputs", ()), *meta.get("outputs", ()))
    )


def _parts(e: Energy) -> dict[str, float]:
    return {**asdict(e), "total_uj": e.total_uj}


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1_000_000 else f"{max(count, 0) / 1e3:.1f} kB"
