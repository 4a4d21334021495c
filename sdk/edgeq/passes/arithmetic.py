"""Arithmetic in one spelling: x - c and x / c become x + c' and x * c', chains merge, x + x * s is x * (s + 1)."""

from __future__ import annotations

import math

import numpy as np

from edgeq.graph.ir import Array, Graph, Node
from edgeq.passes.rewrite import Rewrite


def simplify_arithmetic(graph: Graph) -> Graph:
    """Return the graph with Sub and Div by constants gone, constant chains merged and gains factored."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if not (_invert(r, node) or _merge(r, node) or _negate(r, node) or _factor(r, node)):
            r.copy(node)
    return r.finish()


def _invert(r: Rewrite, node: Node) -> bool:
    if node.op not in ("Sub", "Div"):
        return False
    a, b = (r.now(i) for i in node.inputs)
    data = r.data(b)
    if data is None or r.data(a) is not None or r.values[b].q is not None:
        return False
    if node.op == "Div":
        with np.errstate(all="ignore"):
            data = (1.0 / data.astype(np.float64)).astype(np.float32)
        if not np.isfinite(data).all():
            return False
    else:
        data = -data
    r.changing()
    other = r.const(f"{b}~", data)
    op = "Add" if node.op == "Sub" else "Mul"
    r.emit(op, [a, other], node.attrs, out=node.outputs[0], name=node.name)
    return True


def _merge(r: Rewrite, node: Node) -> bool:
    """(x + c) + d and (x * c) * d, where nothing else reads the middle."""
    split = constant_side(r, node)
    if split is None or node.op not in ("Add", "Mul"):
        return False
    x, c = split
    inner = r.source(x, node.op, single=True)
    deeper = constant_side(r, inner) if inner is not None and not inner.attrs.get("clip") else None
    if deeper is None:
        return False
    y, d = deeper
    both = c + d if node.op == "Add" else c * d
    if np.broadcast_shapes(r.shape(y), both.shape) != r.old.values[node.outputs[0]].shape:
        return False
    r.changing()
    r.emit(
        node.op,
        [y, r.const(f"{node.outputs[0]}~c", both)],
        node.attrs,
        out=node.outputs[0],
        name=node.name,
    )
    return True


def _negate(r: Rewrite, node: Node) -> bool:
    """-x becomes x * -1 where an Add or Mul can take it; here only c - x stays as it is."""
    if node.op != "Unary" or node.attrs["kind"] != "Neg":
        return False
    if (
        r.source(node.inputs[0], "Conv", "DepthwiseConv", "FullyConnected", "Mul", single=True)
        is None
    ):
        return False
    r.changing()
    minus = r.const(f"{node.outputs[0]}~minus", -1.0)
    r.emit("Mul", [r.now(node.inputs[0]), minus], out=node.outputs[0], name=node.name)
    return True


def _factor(r: Rewrite, node: Node) -> bool:
    """x + x * s, as residual attention is exported: one product, and a sum over the smaller s."""
    if node.op != "Add":
        return False
    a, b = (r.now(i) for i in node.inputs)
    for x, product in ((a, b), (b, a)):
        mul = r.source(product, "Mul", single=True)
        if mul is None or x not in mul.inputs or "clip" in mul.attrs or x == product:
            continue
        s = mul.inputs[1 - mul.inputs.index(x)]
        if math.prod(r.shape(s)) >= math.prod(r.shape(x)) or r.values[s].q is not None:
            continue
        name, data = r.fresh(f"{product}~"), r.data(s)
        r.changing()
        if data is not None:
            gain = r.const(name, data + 1)
        else:
            gain = r.emit("Add", [s, r.const(f"{s}.one", 1.0)], out=name)
        r.emit("Mul", [x, gain], node.attrs, out=node.outputs[0], name=node.name)
        return True
    return False


def constant_side(r: Rewrite, node: Node | None) -> tuple[str, Array] | None:
    """(computed operand, float constant) of a binary node, or None if both or neither are constant."""
    if node is None or node.op not in ("Add", "Mul"):
        return None
    a, b = (r.now(i) for i in node.inputs)
    for x, c in ((a, b), (b, a)):
        data = r.data(c)
        if data is not None and r.data(x) is None and r.values[c].q is None:
            return x, data
    return None
