"""Recognise activation functions that were exported in pieces.

A product is flattened into a number k and factors; then x * gate(x) * k with gate one of
Sigmoid(x), HardSigmoid(x), clip(x + 3, 0, 6), 1 + erf(x / sqrt 2), 1 + tanh(...), tanh(softplus(x))
is Silu, HardSwish, Gelu, GeluTanh or Mish, whatever the order of the factors.
"""

from __future__ import annotations

import math

from edgeq.graph.ir import Graph, Node
from edgeq.passes.arithmetic import constant_side
from edgeq.passes.rewrite import Rewrite

WEIGHTED = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")


def fuse_activations(graph: Graph) -> Graph:
    """Return the graph with Silu, HardSwish, HardSigmoid, Gelu, Mish and Softplus as one Unary each."""
    r = Rewrite(graph)
    for node in graph.nodes:
        found = _match(r, node)
        if found is None:
            r.copy(node)
            continue
        x, attrs = found
        r.changing()
        r.emit("Unary", [x], attrs, out=node.outputs[0], name=node.name)
    return r.finish()


def _match(r: Rewrite, node: Node) -> tuple[str, dict[str, object]] | None:
    if node.op == "Mul" and "clip" not in node.attrs:
        k, factors = product(r, node)
        if len(factors) == 2:
            for x, gate in (factors, factors[::-1]):
                kind = _gate(r, x, gate, k)
                if kind:
                    return x, {"kind": kind}
        if len(factors) == 1:
            return _hard_sigmoid(r, factors[0], k)
    if node.op == "Unary" and node.attrs["kind"] == "Clip":
        return _unit_clip(r, node)
    if node.op == "Unary" and node.attrs["kind"] == "Log":
        return _softplus(r, node)
    return None


def product(r: Rewrite, node: Node) -> tuple[float, list[str]]:
    """Flatten nested Muls that nothing else reads: (number, factors)."""
    k = 1.0
    factors: list[str] = []
    for i in node.inputs:
        name = r.now(i)
        data = r.data(name)
        inner = r.source(name, "Mul", single=True)
        if (
            data is not None
            and data.size == 1
            and data.ndim <= len(r.old.values[node.outputs[0]].shape)
        ):
            k *= float(data.reshape(-1)[0])
        elif inner is not None and "clip" not in inner.attrs:
            deeper, more = product(r, inner)
            k, factors = k * deeper, [*factors, *more]
        else:
            factors.append(name)
    return k, factors


def _gate(r: Rewrite, x: str, gate: str, k: float) -> str | None:
    node = r.source(gate)
    if node is None:
        return None
    kind = _kind(node)
    if kind == "Sigmoid" and node.inputs[0] == x and _near(k, 1):
        return "Silu"
    if kind == "HardSigmoid" and node.inputs[0] == x and _near(k, 1):
        a = node.attrs
        return "HardSwish" if _near(a["alpha"], 1 / 6) and _near(a["beta"], 0.5) else None
    if _is_clip(node, 0, 6) and _near(k, 1 / 6):
        inner = r.source(node.inputs[0]) if node.op == "Unary" else node
        return "HardSwish" if _number(r, inner, "Add", x, 3) else None
    if kind == "Tanh" and _near(k, 1):
        soft = r.source(node.inputs[0])
        return "Mish" if soft and _kind(soft) == "Softplus" and soft.inputs[0] == x else None
    if node.op == "Add" and "clip" not in node.attrs and _near(k, 0.5):
        return _gelu(r, node, x)
    return None


def _gelu(r: Rewrite, node: Node, x: str) -> str | None:
    """1 + erf(x / sqrt 2) or 1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3))."""
    split = constant_side(r, node)
    core = (
        r.source(split[0])
        if split and split[1].size == 1 and _near(float(split[1].reshape(-1)[0]), 1)
        else None
    )
    if core is None or _kind(core) not in ("Erf", "Tanh"):
        return None
    inside = r.source(core.inputs[0], "Mul")
    if inside is None:
        return None
    k, factors = product(r, inside)
    if _kind(core) == "Erf":
        return "Gelu" if factors == [x] and _near(k, math.sqrt(0.5)) else None
    if not _near(k, math.sqrt(2 / math.pi)) or len(factors) != 1:
        return None
    total = r.source(factors[0], "Add")
    for a, b in (total.inputs, total.inputs[::-1]) if total else ():
        cube = r.source(b, "Mul")
        if a == x and cube is not None:
            c, powers = product(r, cube)
            if _near(c, 0.044715) and _cube(r, powers, x):
                return "GeluTanh"
    return None


def _cube(r: Rewrite, factors: list[str], x: str) -> bool:
    power = 0.0
    for f in factors:
        node = r.source(f)
        if f == x:
            power += 1
        elif node and _kind(node) == "Square" and node.inputs[0] == x:
            power += 2
        elif node and _kind(node) == "Pow" and node.inputs[0] == x:
            power += node.attrs["exponent"]
        else:
            return False
    return power == 3


def _hard_sigmoid(r: Rewrite, name: str, k: float) -> tuple[str, dict[str, object]] | None:
    """clip(x + b, 0, h) * k with k * h = 1."""
    node = r.source(name, single=True)
    if node is None or k <= 0 or not _is_clip(node, 0, 1 / k):
        return None
    inner = r.source(node.inputs[0]) if node.op == "Unary" else node
    if inner is None:
        return None
    split = constant_side(r, inner) if inner.op == "Add" else None
    if split is None or split[1].size != 1 or split[1].ndim > len(r.shape(split[0])):
        return None
    return split[0], {"kind": "HardSigmoid", "alpha": k, "beta": k * float(split[1].reshape(-1)[0])}


def _unit_clip(r: Rewrite, node: Node) -> tuple[str, dict[str, object]] | None:
    """clip(a * x + b, 0, 1), unless a convolution before can take a and b."""
    if not _is_clip(node, 0, 1):
        return None
    add = r.source(node.inputs[0], "Add", single=True)
    split = constant_side(r, add) if add and "clip" not in add.attrs else None
    if split is None or split[1].size != 1 or split[1].ndim > len(r.shape(split[0])):
        return None
    x, a = split[0], 1.0
    mul = r.source(x, "Mul", single=True)
    if mul is not None and "clip" not in mul.attrs:
        k, factors = product(r, mul)
        if len(factors) == 1:
            x, a = factors[0], k
    if r.source(x, *WEIGHTED, single=True) is not None:
        return None
    return x, {"kind": "HardSigmoid", "alpha": a, "beta": float(split[1].reshape(-1)[0])}


def _softplus(r: Rewrite, node: Node) -> tuple[str, dict[str, object]] | None:
    add = r.source(node.inputs[0], "Add", single=True)
    split = constant_side(r, add) if add and "clip" not in add.attrs else None
    if split is None or split[1].size != 1 or float(split[1].reshape(-1)[0]) != 1.0:
        return None
    exp = r.source(split[0])
    return (exp.inputs[0], {"kind": "Softplus"}) if exp and _kind(exp) == "Exp" else None


def _kind(node: Node) -> str | None:
    return str(node.attrs["kind"]) if node.op == "Unary" else None


def _is_clip(node: Node, lo: float, hi: float) -> bool:
    """True for Unary Clip(lo, hi), and for an Add that carries that clip."""
    if node.op == "Add":
        bounds = node.attrs.get("clip")
    else:
        bounds = (node.attrs["lo"], node.attrs["hi"]) if _kind(node) == "Clip" else None
    return bounds is not None and bounds[0] == lo and _near(bounds[1], hi)


def _number(r: Rewrite, node: Node | None, op: str, x: str, c: float) -> bool:
    """True when the node is x + c (or x * c)."""
    split = constant_side(r, node) if node is not None and node.op == op else None
    if split is None or split[0] != x or split[1].size != 1:
        return False
    return _near(float(split[1].reshape(-1)[0]), c)


def _near(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=2e-5)
