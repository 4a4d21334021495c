"""Merge Reshapes; a Transpose that moves only axes of size 1 is a Reshape."""

from __future__ import annotations

from edgeq.graph.ir import Graph
from edgeq.passes.axes import moves_only_ones
from edgeq.passes.rewrite import Rewrite


def merge_reshapes(graph: Graph) -> Graph:
    """Return the graph with one Reshape where several followed each other."""
    r = Rewrite(graph)
    for node in graph.nodes:
        out = node.outputs[0]
        x = r.now(node.inputs[0])
        free = node.op == "Transpose" and moves_only_ones(r.shape(x), tuple(node.attrs["perm"]))
        if node.op != "Reshape" and not free:
            r.copy(node)
            continue
        before = r.source(x, "Reshape")
        if before is None and not free:
            r.copy(node)
            continue
        r.changing()
        source = x if before is None else before.inputs[0]
        shape = graph.values[out].shape
        if r.shape(source) == shape and out not in graph.outputs:
            r.replace(out, source)
        else:
            r.emit("Reshape", [source], {"shape": shape}, out=out, name=node.name)
    return r.finish()
