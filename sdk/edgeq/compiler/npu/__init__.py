"""Compile for an NPU target. `compile_npu` reads as a table of contents: place, plan (residency and
tiles), schedule, allocate, declare hazards, emit."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np

from edgeq.compiler.allocate import Lifetime, allocate, lower_bound
from edgeq.compiler.command import Command
from edgeq.compiler.emit import Emitter
from edgeq.compiler.npu.cut import as_copy
from edgeq.compiler.npu.hazards import Tokens, declare
from edgeq.compiler.npu.residency import Plan, Planner
from edgeq.compiler.npu.schedule import LayerSteps, Step, layer_steps
from edgeq.compiler.npu.tile import align
from edgeq.compiler.views import Views
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Graph
from edgeq.runtime import isa
from edgeq.runtime.npu.timeline import run_clock, tables
from edgeq.runtime.program import Program
from edgeq.runtime.target import Target

OPTIMIZE = ("performance", "size")
ATTEMPTS = 16  # budgets tried until the buffers fit the SRAM together
PREFETCH = 3  # layers that weights may arrive early


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies: SRAM and arena offsets, their sizes, and the least SRAM possible."""

    sram: Mapping[str, int]
    sram_bytes: int  # of the core that needs most
    sram_bound: int
    arena: Mapping[str, int]
    arena_bytes: int
    arena_bound: int
    lives: Mapping[str, Lifetime]
    cores: Mapping[str, int]  # whose SRAM

    def __str__(self) -> str:
        ratio = self.sram_bytes / max(self.sram_bound, 1)
        return (
            f"SRAM {self.sram_bytes} B, bound {self.sram_bound} B ({ratio:.3f}x), {len(self.sram)} buffers; "
            f"arena {self.arena_bytes} B, bound {self.arena_bound} B"
        )


@dataclass(frozen=True, eq=False)
class Compiled:
    """All stages of one way to run the commands, and the time it takes."""

    cores: int
    plan: Plan
    layout: Layout
    steps: list[Step]
    tokens: list[Tokens]

    def mode(self) -> dict[str, int]:
        """What the throughput needs to know: the quickest way for one picture may not be it for many."""
        moved = sum(step.price.dram_bytes for step in self.steps)
        return {"cores": self.cores, "cycles": self.cycles, "dram_bytes": moved}

    @cached_property
    def cycles(self) -> int:
        rows = np.zeros(len(self.steps), isa.COMMAND_DTYPES["END"])
        for row, step, token in zip(rows, self.steps, self.tokens, strict=True):
            row["opcode"] = isa.OPCODES[step.command.opcode].number
            row["wait"], row["signal"] = token.wait, token.signal
        timing = _timing(self.steps)[:-1]
        return run_clock(tables(rows.tobytes(), timing, self.cores)).makespan


def compile_npu(
    graph: Graph,
    views: Views,
    commands: Sequence[Command],
    maps: Mapping[str, Lifetime],
    target: Target,
    *,
    optimize: str = "performance",
    cores: int | None = None,
) -> tuple[Program, dict[str, Any]]:
    """Tile and schedule lowered commands for a target; the program still lacks its META.

    `maps` are the feature maps with their first and last command. With `cores` None one core and all
    of them are tried, and the quicker is taken. Raises CompileError when a layer cannot fit the SRAM.
    """
    placed = [as_copy(c) if c.opcode == "LAYOUT" else c for c in commands]
    edges = frozenset(views.of(n).root for n in (*graph.inputs, *graph.outputs))
    made = [
        _compile(placed, maps, edges, target, optimize, count)
        for count in _core_counts(target, optimize, cores)
    ]
    best = min(made, key=lambda one: one.cycles) if len(made) > 1 else made[0]
    for one in made if len(made) > 1 else ():
        debug(2, "cores", f"{one.cores}: {one.cycles} cycles")
    debug(2, "layout", best.layout)
    debug(3, "plan", best.plan)
    debug(4, "steps", *(_line(s, t) for s, t in zip(best.steps, best.tokens, strict=True)))
    program = _emit(graph, views, placed, best)
    stats = {
        "macs": sum(c.macs for c in commands),
        "arena_bytes": best.layout.arena_bytes,
        "arena_bound_bytes": best.layout.arena_bound,
        "sram_peak_bytes": best.layout.sram_bytes,
        "sram_bound_bytes": best.layout.sram_bound,
    }
    return program, {
        "stats": stats,
        "layers": [{"name": c.node, "op": c.op} for c in placed],
        "npu": {
            **_constants(target),
            "title": target.title,
            "cores_used": best.cores,
            "modes": [one.mode() for one in made],
            "optimize": optimize,
        },
    }


def _core_counts(target: Target, optimize: str, wanted: int | None) -> tuple[int, ...]:
    """Core counts to try. Micro-block cores work as one; small cores do not share a picture."""
    most = target.cores if target.dataflow != "ublock" and target.dram_writable else 1
    if wanted is not None:
        if not 1 <= wanted <= most:
            raise CompileError(
                f"target {target.name}: a picture runs on 1..{most} cores, got {wanted}."
            )
        return (wanted,)
    return (1, most) if most > 1 and optimize == "performance" else (1,)


def _compile(
    commands: Sequence[Command],
    maps: Mapping[str, Lifetime],
    edges: frozenset[str],
    target: Target,
    optimize: str,
    cores: int,
) -> Compiled:
    """Plan, schedule, allocate and declare hazards for a number of cores."""
    plan, layers, layout = _fit(commands, maps, edges, target, optimize, cores)
    steps = [step for layer in layers for step in layer.steps]
    places = {root: ("sram", at) for root, at in layout.sram.items()}
    places |= {root: ("arena", at) for root, at in layout.arena.items()}
    return Compiled(cores, plan, layout, steps, declare(steps, places))


def _fit(
    commands: Sequence[Command],
    maps: Mapping[str, Lifetime],
    edges: frozenset[str],
    target: Target,
    optimize: str,
    cores: int,
) -> tuple[Plan, list[LayerSteps], Layout]:
    """Plan within smaller and smaller budgets (with `size`: larger and larger) until all lies in SRAM."""
    planner, sram = Planner(commands, maps, edges, target, cores=cores), target.sram_bytes
    if optimize == "size":
        for share in (64, 32, 16, 8, 6, 4, 3, 2, 1):
            try:
                made = _attempt(planner, sram // share, target, size=True)
            except CompileError:
                continue
            if made[2].sram_bytes <= sram // share:
                return made
    budget = sram
    for _ in range(ATTEMPTS):
        made = _attempt(planner, budget, target, size=False)
        over = made[2].sram_bytes - sram
        if over <= 0:
            return made
        budget -= max(over // 2, sram // 64)
    raise CompileError(
        f"target {target.name}: {made[2].sram_bound // 1024} KiB are alive at once and do not pack into "
        f"{sram // 1024} KiB. It fits from about sram_kib={-(-made[2].sram_bytes // 1024)} on."
    )


def _attempt(
    planner: Planner, budget: int, target: Target, *, size: bool
) -> tuple[Plan, list[LayerSteps], Layout]:
    plan = planner.plan(budget, size=size)
    layers = [
        layer_steps(job.command, at, tiling, plan.kept, target, cores=planner.cores)
        for at, (job, tiling) in enumerate(zip(planner.jobs, plan.tilings, strict=True))
    ]
    return (
        plan,
        layers,
        place_buffers(planner.maps, plan, layers, target.sram_bytes, early=not size),
    )


def place_buffers(
    maps: Mapping[str, Lifetime],
    plan: Plan,
    layers: Sequence[LayerSteps],
    room: int,
    *,
    early: bool,
) -> Layout:
    """Offsets of maps and buffers; weights live some layers early where that costs nothing."""
    outside = {name: life for name, life in maps.items() if name not in plan.kept}
    arena, arena_bytes = allocate(outside)
    offsets: dict[str, int] = {}
    everything: dict[str, Lifetime] = dict(outside)
    owner: dict[str, int] = dict.fromkeys(plan.kept, 0)
    most = bound = 0
    for core in sorted({0, *(c for layer in layers for c in layer.cores.values())}):
        lives = {name: maps[name] for name in sorted(plan.kept)} if core == 0 else {}
        lives |= _buffer_lives(lives, layers, core, room, early=early)
        placed, size = allocate(lives)
        offsets |= placed
        everything |= lives
        owner |= dict.fromkeys(lives, core)
        most, bound = max(most, size), max(bound, lower_bound(lives))
    return Layout(offsets, most, bound, arena, arena_bytes, lower_bound(outside), everything, owner)


def _buffer_lives(
    kept: Mapping[str, Lifetime],
    layers: Sequence[LayerSteps],
    core: int,
    room: int,
    *,
    early: bool,
) -> dict[str, Lifetime]:
    """Lifetimes of one core's buffers, in layers."""
    used = [0] * (len(layers) + 1)
    for life in kept.values():
        for at in range(life.first, min(life.last + 1, len(used))):
            used[at] += align(life.size)
    for at, layer in enumerate(layers):
        used[at] += sum(align(size) for n, size in layer.buffers.items() if layer.cores[n] == core)
    lives = {}
    for at, layer in enumerate(layers):
        for name, size in layer.buffers.items():
            if layer.cores[name] != core:
                continue
            first = at
            while early and name in layer.weight_buffers and at - first < PREFETCH:
                if not first or used[first - 1] + align(size) > room:
                    break
                first -= 1
                used[first] += align(size)
            lives[name] = Lifetime(size, first, at)
    return lives


def _emit(
    graph: Graph,
    views: Views,
    commands: Sequence[Command],
    made: Compiled,
) -> Program:
    layout = made.layout
    emitter = Emitter(
        graph,
        {**layout.sram, **layout.arena},
        {n: (b.first, b.last) for n, b in layout.lives.items()},
        sram=layout.cores,
    )
    for name in (*graph.inputs, *graph.outputs):
        emitter.io(name, views.of(name))
    rows: list[Array] = []
    for step, token in zip(made.steps, made.tokens, strict=True):
        row = np.frombuffer(emitter.command(step.command), isa.COMMAND_DTYPES["END"]).copy()
        row["core"], row["wait"], row["signal"] = step.core, token.wait, token.signal
        rows.append(row)
    if len(rows) >= isa.MAX_COMMANDS:
        raise CompileError(
            f"graph {graph.name}: {len(rows)} commands, at most {isa.MAX_COMMANDS} fit in a program. "
            "Choose a target with more SRAM."
        )
    return Program(
        meta={},
        commands=b"".join(row.tobytes() for row in rows) + bytes(64),  # END
        constants=bytes(emitter.constants.body),
        qparams=bytes(emitter.qparams.body),
        luts=bytes(emitter.luts.body),
        tensors=emitter.tensors,
        strings=bytes(emitter.strings),
        debug=[{"node": c.node, "op": c.op, "macs": c.macs} for c in commands],
        arena_bytes=layout.arena_bytes,
        timing=_timing(made.steps),
        sram_bytes=max(layout.sram_bytes, isa.ALIGN),
        cores=made.cores,
    )


def _timing(steps: Sequence[Step]) -> Array:
    """One row per command, and one for END."""
    table = np.zeros(len(steps) + 1, isa.TIMING_DTYPE)
    for row, step in zip(table, steps, strict=False):
        row["queue"], row["core"], row["layer"] = isa.QUEUES[step.queue], step.core, step.layer
        for key in ("cycles", "dram_cycles", "dram_bytes", "sram_bytes", "vector", "macs"):
            row[key] = getattr(step.price, key)
    table[-1]["queue"] = isa.QUEUES["EXEC"]
    table[-1]["layer"] = steps[-1].layer if steps else 0
    return table


def _constants(target: Target) -> dict[str, Any]:
    """A target as META keeps it: enough to make it again."""
    skip = ("name", "title", "provenance")
    return {f.name: getattr(target, f.name) for f in fields(target) if f.name not in skip}


def debug(level: int, stage: str, *values: object) -> None:
    """Show what a stage returned when EDGEQ_DEBUG asks for it."""
    wanted = os.environ.get("EDGEQ_DEBUG", "0")
    if wanted.isdigit() and int(wanted) >= level:
        for value in values:
            print(f"[{stage}] {value}", file=sys.stderr)


def _line(step: Step, token: Tokens) -> str:
    c = step.command
    ins = " ".join(f"{v.root}{list(v.dims)}" for v in c.ins)
    return (
        f"{step.layer:4} {step.queue:6} {c.opcode:11} {ins} -> {c.out.root}{list(c.out.dims)} "
        f"{step.price.cycles} cycles wait {token.wait:04x} signal {token.signal:04x}"
    )
