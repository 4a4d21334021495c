"""Relu and Clip move into the `clip` of the node before, when nothing else reads that."""

from __future__ import annotations

import math

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite

FUSABLE = (
    "Conv",
    "DepthwiseConv",
    "ConvTranspose",
    "FullyConnected",
    "MatMul",
    "Add",
    "Sub",
    "Mul",
    "Div",
)


def fuse_clips(graph: Graph) -> Graph:
    """Return the graph with Relu, Relu6 and Clip inside their producers."""
    r = Rewrite(graph)
    for node in graph.nodes:
        bounds = clip_bounds(node)
        before = r.source(node.inputs[0], *FUSABLE, single=True) if bounds else None
        if bounds is None or before is None:
            r.copy(node)
            continue
        lo, hi = bounds
        was = before.attrs.get("clip", (-math.inf, math.inf))
        clip = tuple(min(max(float(v), lo), hi) for v in was)
        r.changing()
        r.emit(
            before.op,
            before.inputs,
            {**before.attrs, "clip": clip},
            out=node.outputs[0],
            name=before.name,
        )
    return r.finish()


def clip_bounds(node: Node) -> tuple[float, float] | None:
    """(lo, hi) of a Relu or Clip node."""
    if node.op != "Unary":
        return None
    if node.attrs["kind"] == "Relu":
        return 0.0, math.inf
    return (node.attrs["lo"], node.attrs["hi"]) if node.attrs["kind"] == "Clip" else None
