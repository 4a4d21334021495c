"""Drop nodes that return their input: x*1, x+0, full Slices, empty Pads, single Concats, Identity."""

from __future__ import annotations

import math

import numpy as np

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite


def drop_identities(graph: Graph) -> Graph:
    """Return the graph without nodes that do nothing."""
    r = Rewrite(graph)
    for node in graph.nodes:
        source = _same(r, node)
        out = node.outputs[0]
        if source is None or (out in graph.outputs and not _movable(r, source)):
            r.copy(node)
        else:
            r.replace(out, source)
    return r.finish()


def _movable(r: Rewrite, name: str) -> bool:
    """True when the value can take a graph output's name."""
    return name in r.maker and name not in r.old.outputs


def _same(r: Rewrite, node: Node) -> str | None:
    """The input that the node returns unchanged, if any."""
    x = r.now(node.inputs[0])
    shape, out = r.shape(x), r.old.values[node.outputs[0]].shape
    if shape == out and _nothing(node, len(shape)):
        return x
    if node.op in ("Add", "Mul", "Sub", "Div") and not node.attrs.get("clip"):
        neutral = 0.0 if node.op in ("Add", "Sub") else 1.0
        y = r.now(node.inputs[1])
        for value, other in ((x, y), (y, x))[: 2 if node.op in ("Add", "Mul") else 1]:
            data = r.data(other)
            if data is not None and r.shape(value) == out and bool(np.all(data == neutral)):
                return value
    return None


def _nothing(node: Node, rank: int) -> bool:
    a = node.attrs
    if node.op == "Reshape" or (node.op == "Concat" and len(node.inputs) == 1):
        return True
    if node.op == "Transpose":
        return tuple(a["perm"]) == tuple(range(rank))
    if node.op == "Slice":
        return all(s == 1 for s in a["steps"])
    if node.op == "Pad":
        return not any(b or e for b, e in a["pads"])
    if node.op == "Unary":
        return a["kind"] == "Identity" or (
            a["kind"] == "Clip" and math.isinf(a["lo"]) and math.isinf(a["hi"])
        )
    return node.op in ("MaxPool", "AvgPool") and tuple(a["kernel"]) == (1, 1)
