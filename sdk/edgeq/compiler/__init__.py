"""Compile a quantized graph into a Program. `compile_graph` reads as a table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from edgeq.compiler.allocate import Lifetime, allocate, lower_bound
from edgeq.compiler.command import Command
from edgeq.compiler.emit import Emitter
from edgeq.compiler.fuse import fuse
from edgeq.compiler.inplace import in_place
from edgeq.compiler.lower import lower
from edgeq.compiler.npu import OPTIMIZE, compile_npu
from edgeq.compiler.views import Views
from edgeq.errors import CompileError
from edgeq.graph.ir import Graph
from edgeq.runtime import isa
from edgeq.runtime.program import Program
from edgeq.runtime.target import Target, load_target


def compile_graph(
    graph: Graph,
    *,
    target: str | Target = "cpu",
    card: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    optimize: str = "performance",
    cores: int | None = None,
) -> Program:
    """Compile a quantized graph for a target: the name of a preset, or a Target of your own.

    `optimize` "size" asks an NPU for the smallest SRAM, "performance" for the fewest cycles; `cores`
    says how many cores share one picture, None tries one and all and takes the quicker. Raises
    CompileError when the graph is not quantized, the target is unknown, or a node breaks a limit.
    """
    chip = target if isinstance(target, Target) else load_target(target)
    if optimize not in OPTIMIZE:
        raise CompileError(f"optimize must be one of {', '.join(OPTIMIZE)}, got {optimize!r}.")
    if not graph.quantized:
        raise CompileError(
            f"graph {graph.name}: it must be quantized before it is compiled. Run quantize first."
        )
    views = Views(graph, dense=chip.dataflow != "none")
    layers = fuse(graph, sums=chip.dataflow == "none")
    lowered = lower(graph, layers, views)
    edges = frozenset(views.of(n).root for n in (*graph.inputs, *graph.outputs))
    commands, buffers = in_place(lowered, lifetimes(graph, lowered, views), edges)
    if chip.dataflow != "none":
        program, about = compile_npu(
            graph, views, commands, buffers, chip, optimize=optimize, cores=cores
        )
        meta = _meta(graph, chip.name, card, provenance, about["stats"])
        return replace(program, meta=meta | {"npu": about["npu"], "layers": about["layers"]})
    offsets, arena = allocate(buffers)
    if arena > isa.MAX_ARENA_BYTES:
        raise CompileError(
            f"graph {graph.name}: activations need {arena} bytes, at most {isa.MAX_ARENA_BYTES} are allowed."
        )
    emitter = Emitter(graph, offsets, {n: (b.first, b.last) for n, b in buffers.items()})
    for name in (*graph.inputs, *graph.outputs):
        emitter.io(name, views.of(name))
    code = b"".join(emitter.command(c) for c in commands)
    code += bytes(64)  # END
    stats = {
        "macs": sum(c.macs for c in commands),
        "arena_bytes": arena,
        "arena_bound_bytes": lower_bound(buffers),
    }
    return Program(
        meta=_meta(graph, chip.name, card, provenance, stats),
        commands=code,
        constants=bytes(emitter.constants.body),
        qparams=bytes(emitter.qparams.body),
        luts=bytes(emitter.luts.body),
        tensors=emitter.tensors,
        strings=bytes(emitter.strings),
        debug=[{"node": c.node, "op": c.op, "macs": c.macs} for c in commands],
        arena_bytes=arena,
    )


def lifetimes(graph: Graph, commands: list[Command], views: Views) -> dict[str, Lifetime]:
    """First and last command of every root buffer; inputs live from the start, outputs to the end."""
    first = {views.of(n).root: 0 for n in graph.inputs}
    last = dict(first)
    for at, command in enumerate(commands):
        for view in (*command.ins, *command.addend, command.out):
            if not view.constant:
                first.setdefault(view.root, at)
                last[view.root] = at
    for name in graph.outputs:
        last[views.of(name).root] = len(commands)
        first.setdefault(views.of(name).root, 0)
    sizes = {
        root: elements * isa.DTYPE_BYTES[dtype] for root, (dtype, elements) in views.roots.items()
    }
    return {root: Lifetime(sizes[root], first[root], last[root]) for root in first}


def _meta(
    graph: Graph,
    target: str,
    card: Mapping[str, Any] | None,
    provenance: Mapping[str, Any] | None,
    stats: Mapping[str, Any],
) -> dict[str, Any]:
    layouts = graph.meta.get("input_layout", {})
    return {
        "name": graph.name,
        "target": target,
        "card": None if card is None else dict(card),
        "provenance": dict(provenance or {}),
        "inputs": [
            {"name": n, "shape": list(graph.values[n].shape), "layout": layouts.get(n, "plain")}
            for n in graph.inputs
        ],
        "outputs": [
            {"name": n, "shape": list(graph.values[n].shape), "layout": "plain"}
            for n in graph.outputs
        ],
        "stats": dict(stats),
    }
