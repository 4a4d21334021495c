"""YOLO's Focus stem: a space-to-depth of strided Slices before a convolution is one larger strided convolution."""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite


def fold_focus(graph: Graph) -> Graph:
    """Fold Concat(x[a::s, b::s] ...) -> Conv k x k stride 1 into Conv (k*s) x (k*s) stride s."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if not _fold(r, node):
            r.copy(node)
    return r.finish()


def _fold(r: Rewrite, node: Node) -> bool:
    if node.op != "Conv" or node.attrs["group"] != 1 or r.data(r.now(node.inputs[1])) is None:
        return False
    if tuple(node.attrs["strides"]) != (1, 1) or tuple(node.attrs["dilations"]) != (1, 1):
        return False
    concat = r.source(node.inputs[0], "Concat")
    if concat is None or concat.attrs["axis"] != 3 or len(concat.inputs) < 2:
        return False
    phases = [_phase(r, name) for name in concat.inputs]
    first = phases[0]
    if first is None or any(p is None or (p[0], p[3]) != (first[0], first[3]) for p in phases):
        return False
    x, s = first[0], first[3]
    w = r.values[r.now(node.inputs[1])].data
    assert w is not None
    oc, kh, kw, _ = w.shape
    c = r.shape(x)[3]
    large = np.zeros((oc, kh * s, kw * s, c), np.float32)
    for slot, p in enumerate(phases):
        assert p is not None
        large[:, p[1] :: s, p[2] :: s] += w[..., slot * c : (slot + 1) * c]
    attrs = {**node.attrs, "strides": (s, s), "pads": tuple(p * s for p in node.attrs["pads"])}
    weight = r.const(f"{r.now(node.inputs[1])}~", large)
    bias = r.now(node.inputs[2]) if node.inputs[2] else ""
    r.changing()
    r.emit("Conv", [x, weight, bias], attrs, out=node.outputs[0], name=node.name)
    return True


def _phase(r: Rewrite, name: str) -> tuple[str, int, int, int] | None:
    """(x, row, column, step) when the value is x[:, row::step, column::step, :] of whole steps."""
    node = r.source(name, "Slice")
    if node is None or len(node.attrs["steps"]) != 4:
        return None
    _, h, w, c = r.shape(node.inputs[0])
    starts, steps = node.attrs["starts"], node.attrs["steps"]
    s = steps[1]
    whole = s > 1 and steps == (1, s, s, 1) and h % s == 0 and w % s == 0
    inside = starts[0] == starts[3] == 0 and starts[1] < s and starts[2] < s
    if not whole or not inside or r.shape(name) != (r.shape(node.inputs[0])[0], h // s, w // s, c):
        return None
    return node.inputs[0], starts[1], starts[2], s
