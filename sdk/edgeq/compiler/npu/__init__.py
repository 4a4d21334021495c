"""Compile for an NPU target. `compile_npu` reads as a table of contents: place, plan (residency and
tiles), schedule, allocate, declare hazards, emit."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.command import Command
from edgeq.compiler.emit import Emitter
from edgeq.compiler.npu.cut import as_copy
from edgeq.compiler.npu.fit import Compiled, fit_sram, timing
from edgeq.compiler.npu.hazards import Tokens
from edgeq.compiler.npu.price import coded
from edgeq.compiler.npu.residency import Planner
from edgeq.compiler.npu.schedule import Step
from edgeq.compiler.views import Views
from edgeq.compiler.weight_codes import Stream, layer_codes
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Graph
from edgeq.runtime import isa
from edgeq.runtime.program import Program
from edgeq.runtime.target import Target

OPTIMIZE = ("performance", "size")


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
        fit_sram(Planner(placed, maps, edges, target, cores=count), optimize)
        for count in _core_counts(target, optimize, cores)
    ]
    best = min(made, key=lambda one: one.cycles) if len(made) > 1 else made[0]
    for one in made if len(made) > 1 else ():
        debug(2, "cores", f"{one.cores}: {one.cycles} cycles")
    debug(2, "layout", best.layout)
    debug(3, "plan", best.plan)
    debug(4, "steps", *(_line(s, t) for s, t in zip(best.steps, best.tokens, strict=True)))
    program = _emit(graph, views, placed, best, target)
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


def _emit(
    graph: Graph,
    views: Views,
    commands: Sequence[Command],
    made: Compiled,
    target: Target,
) -> Program:
    layout = made.layout
    store = partial(_stored, {}) if coded(target) else lambda c, _: c
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
        command = store(step.command, commands[step.layer].constants)
        row = np.frombuffer(emitter.command(command), isa.COMMAND_DTYPES["END"]).copy()
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
        timing=timing(made.steps),
        sram_bytes=max(layout.sram_bytes, isa.ALIGN),
        cores=made.cores,
    )


def _stored(known: dict[bytes, Stream], c: Command, layer: bytes) -> Command:
    """DMA_WEIGHTS with its stream in the place of the bytes; the commands that read those name it too."""
    brings = c.opcode == "DMA_WEIGHTS"
    if not brings and not (c.opcode in ("CONV", "DWCONV") and len(c.ins) > 1):
        return c
    stream = known.get(c.constants)
    if stream is None:
        stream = known[c.constants] = layer_codes(layer).encode(c.constants)
    if not brings or stream.coding == "RAW":
        return replace(c, constants=stream.data)
    coding = {"coding": isa.CODINGS[stream.coding], "coded": len(stream.data), "body": stream.body}
    return replace(c, fields={**c.fields, **coding}, constants=stream.data, lut=stream.table)


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
