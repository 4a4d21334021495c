"""Compile a quantized graph into a Program. `compile_graph` reads as a table of contents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeq.compiler.allocate import Lifetime, allocate, lower_bound
from edgeq.compiler.emit import Emitter
from edgeq.compiler.fuse import fuse
from edgeq.compiler.lower import Command, lower
from edgeq.compiler.views import Views
from edgeq.errors import CompileError
from edgeq.graph.ir import Graph
from edgeq.runtime import isa
from edgeq.runtime.program import Program

TARGETS = ("cpu",)


def compile_graph(
    graph: Graph,
    *,
    target: str = "cpu",
    card: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> Program:
    """Compile a quantized graph for a target.

    Raises CompileError when the graph is not quantized, the target is unknown, or a node breaks a limit.
    """
    if target not in TARGETS:
        raise CompileError(f"target {target!r}: known targets are {', '.join(TARGETS)}.")
    if not graph.quantized:
        raise CompileError(
            f"graph {graph.name}: it must be quantized before it is compiled. Run quantize first."
        )
    views = Views(graph)
    layers = fuse(graph)
    commands = lower(graph, layers, views)
    buffers = lifetimes(graph, commands, views)
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
    bound = lower_bound(buffers)
    return Program(
        meta=_meta(graph, target, card, provenance, commands, arena, bound),
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
        for view in (*command.ins, command.out):
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
    commands: list[Command],
    arena: int,
    bound: int,
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
        "stats": {
            "macs": sum(c.macs for c in commands),
            "arena_bytes": arena,
            "arena_bound_bytes": bound,
        },
        "float_islands": [],
    }
