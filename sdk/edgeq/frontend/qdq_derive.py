"""QParams of values for which a QDQ file has none: from what moves them, bounds them, or reads them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from edgeq.graph.ir import Array, Graph, Node, QParams
from edgeq.ops import OPS
from edgeq.ops.unary import FUNCTIONS

REACH = 1024.0  # how far out a function is looked at for where it stops changing
FLAT = 0.1  # of an output step: a smaller difference is none


def derive(graph: Graph, known: dict[str, QParams], *, movements_only: bool = False) -> None:
    """Add to `known` what follows from it, forward and backward, until nothing more does."""
    uses = graph.consumers()
    count = -1
    while count != len(known):
        count = len(known)
        for node in graph.nodes:
            if node.outputs[0] not in known:
                _put(known, node.outputs[0], _forward(graph, known, node, movements_only))
        for node in reversed(graph.nodes):
            out = node.outputs[0]
            if out not in known:
                _put(known, out, _backward(known, uses[out], movements_only))
        for name in graph.inputs:
            if name not in known:
                _put(known, name, _backward(known, uses[name], True))


def carried(graph: Graph, node: Node, q: QParams) -> QParams | None:
    """QParams of what a movement with one input makes of a value; None where it mixes channels."""
    if not q.per_channel:
        return q
    x, out, a = graph.value(node.inputs[0]).shape, graph.value(node.outputs[0]).shape, node.attrs
    last, kept = len(x) - 1, np.arange(x[-1])
    if node.op == "Slice":
        start, end, step = (a[k][last] for k in ("starts", "ends", "steps"))
        kept = kept[slice(start, None if step < 0 and end < 0 else end, step)]
    elif node.op == "Gather" and a["axis"] == last:
        if len(a.get("index_shape", (1,))) != 1:
            return None
        kept = np.asarray(a["indices"])
    elif not {
        "Reshape": bool(out) and x[-1] == out[-1],
        "Transpose": node.op == "Transpose" and a["perm"][-1] == last,
        "Pad": node.op == "Pad" and tuple(a["pads"][last]) == (0, 0),
    }.get(node.op, True):
        return None
    return QParams(q.scale[kept], q.zero_point[kept], q.dtype)


def part_of(graph: Graph, node: Node, k: int) -> QParams | None:
    """QParams that a Concat's input must have; None where its channels mix others'."""
    q = graph.value(node.outputs[0]).q
    assert q is not None
    rank = len(graph.value(node.outputs[0]).shape)
    if not q.per_channel or node.attrs["axis"] != rank - 1:
        return q
    start = sum(graph.value(i).shape[-1] for i in node.inputs[:k])
    mine = slice(start, start + graph.value(node.inputs[k]).shape[-1])
    return QParams(q.scale[mine], q.zero_point[mine], q.dtype)


def alike(a: QParams, b: QParams) -> bool:
    """True when both mean the same reals, one of them perhaps per tensor and the other per channel."""
    return (
        a.dtype == b.dtype
        and bool((a.scale == b.scale).all())
        and bool((a.zero_point == b.zero_point).all())
    )


def covering(qs: Iterable[QParams]) -> QParams:
    """Int8 per tensor over all that the given ones can say."""
    ends = [reals(q) for q in qs]
    return affine8(min(float(e.min()) for e in ends), max(float(e.max()) for e in ends))


def reals(q: QParams) -> Array:
    """Both ends of what the integers can say, float64 (2,) or (2, C)."""
    scale, zero = q.scale.astype(np.float64), q.zero_point
    return np.stack([(q.lo - zero) * scale, (q.hi - zero) * scale])


def affine8(low: float, high: float) -> QParams:
    """Int8 for reals in [low, high], zero among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = np.asarray(np.clip((high - low) / 255 or 1.0, 1e-12, 1e12), np.float32)
    zero = np.clip(np.rint(-128 - low / float(scale)), -128, 127)
    return QParams(scale, np.asarray(zero, np.int32))


def _put(known: dict[str, QParams], name: str, q: QParams | None) -> None:
    if q is not None:
        known[name] = q


def _forward(
    graph: Graph, known: dict[str, QParams], node: Node, movements_only: bool
) -> QParams | None:
    """From the inputs to the output."""
    qs = [known.get(i) for i in node.inputs if i and graph.value(i).data is None]
    first = qs[0] if qs else None
    if node.op == "Concat":
        return _joined([q for q in qs if q is not None]) if all(qs) else None
    if OPS[node.op].moves and first is not None:
        return carried(graph, node, first)
    if movements_only:
        return None
    if node.op == "Unary" and first is not None and not first.per_channel:
        return _function(node, first)
    if node.op in ("AvgPool", "ReduceMean") and first is not None:
        return first if not first.per_channel and first.dtype == "int8" else covering([first])
    if node.op in ("Add", "Sub", "Mul") and all(qs):
        return _interval(graph, known, node)
    if node.op == "Softmax":
        return affine8(0.0, 255 / 256)
    clip = node.attrs.get("clip")
    if clip is not None and np.isfinite(clip).all():
        return affine8(*clip)
    return None


def _interval(graph: Graph, known: Mapping[str, QParams], node: Node) -> QParams:
    """What two operands can make at most."""
    ends = []
    for name in node.inputs:
        data = graph.value(name).data
        x = reals(known[name]) if data is None else data
        ends.append((float(x.min()), float(x.max())))
    (a, b), (c, d) = ends
    if node.op == "Mul":
        made = [a * c, a * d, b * c, b * d]
    else:
        made = [a + c, b + d] if node.op == "Add" else [a - d, b - c]
    low, high = node.attrs.get("clip", (-np.inf, np.inf))
    return affine8(*np.clip([min(made), max(made)], low, high).tolist())


def _backward(
    known: dict[str, QParams], readers: Sequence[Node], movements_only: bool
) -> QParams | None:
    """From all the readers' outputs to what they read."""
    outs = [(n, known.get(n.outputs[0])) for n in readers]
    qs = [q for _, q in outs if q is not None and not q.per_channel]
    if not readers or len(qs) != len(readers):
        return None
    if all(OPS[n.op].moves for n in readers):
        return _joined(qs)
    if not movements_only and all(n.op == "Unary" for n in readers):
        return _before(readers, qs)
    return None


def _joined(qs: Sequence[QParams]) -> QParams:
    return qs[0] if all(q.same(qs[0]) for q in qs) else covering(qs)


def _function(node: Node, q: QParams) -> QParams | None:
    """The range of a function over all integers that it can read."""
    x = (np.arange(q.lo, q.hi + 1) - int(q.zero_point)) * np.float64(q.scale)
    f = _at(node, x)
    f = f[np.isfinite(f)]
    return affine8(float(f.min()), float(f.max())) if f.size else None


def _before(readers: Sequence[Node], qs: Sequence[QParams]) -> QParams | None:
    """Int16 over the reals at which a reader's output still changes; beyond them its input saturates."""
    far = np.geomspace(1e-3, REACH, 4096)
    ends = []
    for side in (-far, far):
        edge = 0.0
        for node, q in zip(readers, qs, strict=True):
            f = _at(node, side)
            if np.isnan(f).any():
                return None
            low, high = reals(q)
            moving = np.abs(np.clip(f, low, high) - np.clip(f[-1], low, high)) > FLAT * q.scale
            edge = max(edge, float(far[int(np.flatnonzero(moving).max(initial=0))]))
        ends.append(edge)
    scale = np.asarray(max(ends) / 32767, np.float32)
    return QParams(scale, np.asarray(0, np.int32), "int16")


def _at(node: Node, x: Array) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(FUNCTIONS[node.attrs["kind"]](x, node.attrs), np.float64)
