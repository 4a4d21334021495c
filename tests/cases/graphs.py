"""A row as a quantized graph with inputs; everything random follows from its id."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np

from edgeq.graph.ir import RANGES, Array, Graph, Node, QParams, Value, constant
from edgeq.ops import OPS
from tests.cases.case import Case


def build(case: Case) -> tuple[Graph, dict[str, Array]]:
    """The case's quantized graph and native-integer inputs, from a seed made of its id."""
    rng = np.random.default_rng(zlib.crc32(case.id.encode()))
    values: dict[str, Value] = {}
    inputs: dict[str, Array] = {}
    names: list[str] = []
    shared: QParams | None = None
    for i, (shape, kind) in enumerate(zip(case.shapes, case.kinds, strict=True)):
        q = shared or _random_q(rng, kind, shape[-1] if shape else 1)
        if case.op == "Concat" and case.attrs["axis"] != len(shape) - 1:
            shared = q
        data = rng.integers(q.lo, q.hi + 1, shape).astype(q.dtype)
        data.reshape(-1)[:2] = (q.lo, q.hi)[: data.size]  # the extremes are always there
        if (case.op == "Div" and i == 1) or case.attrs.get("kind") == "Reciprocal":
            near = (q.hi - q.lo) // 20  # keep away from the pole
            data = np.where(
                np.abs(data.astype(int) - q.zero_point) < near, q.zero_point + 2 * near, data
            )
            data = np.clip(data, q.lo, q.hi).astype(q.dtype)
        names.append(f"x{i}")
        if kind.startswith("k"):
            values[names[-1]] = constant(names[-1], data, q)
        else:
            values[names[-1]] = Value(names[-1], shape, q=q)
            inputs[names[-1]] = data
    if case.op == "PRelu":
        names.append("slope")
        values["slope"] = constant("slope", rng.normal(0.2, 0.1, case.weights).astype(np.float32))
    elif case.weights:
        names += _weights(rng, case, values)
    nodes, result = [Node(case.op, "node", tuple(names), ("y",), case.attrs)], "y"
    shape = OPS[case.op].shape(case.attrs, [values[n].shape if n else None for n in names])
    real = _real(nodes[0], values, inputs)
    if case.unary and case.pre == "acc":
        x, w = values["x0"].q, values["w"].q
        assert x is not None
        assert w is not None
        scale = (x.scale.astype(np.float64) * w.scale).astype(np.float32)
        values["y"] = Value("y", shape, q=QParams(scale, np.zeros_like(scale, np.int32), "int32"))
    elif case.unary:
        values["y"] = Value(
            "y",
            shape,
            q=_fit(
                np.clip(real, -12, 12) if case.unary == "Sigmoid" else real, case.pre, whole=True
            ),
        )
    if case.unary:
        nodes.append(Node("Unary", "table", ("y",), ("z",), {"kind": case.unary, "alpha": 0.1}))
        real, result = OPS["Unary"].real(nodes[1].attrs, [real]), "z"
    moves = OPS[case.op].moves and not case.unary
    q = _moved(case, values) if moves else _fit(real, case.out)
    values[result] = Value(result, shape, q=q)
    if case.add:
        clip = {k: v for k, v in case.attrs.items() if k == "clip"}
        other, result = _random_q(rng, case.add, shape[-1]), "sum"
        values["s"] = Value("s", shape, q=other)
        inputs["s"] = rng.integers(other.lo, other.hi + 1, shape).astype(other.dtype)
        nodes.append(Node("Add", "add", (nodes[-1].outputs[0], "s"), ("sum",), clip))
        real = real + (inputs["s"] - other.zero_point) * other.scale
        values["sum"] = Value("sum", shape, q=_fit(real, case.out))
    return Graph(case.id, tuple(nodes), values, tuple(inputs), (result,)), inputs


def _weights(rng: np.random.Generator, case: Case, values: dict[str, Value]) -> list[str]:
    n = case.weights[-1] if case.op == "DepthwiseConv" else case.weights[0]
    scale = rng.uniform(0.001, 0.02, n).astype(np.float32)
    most, dtype = (7, "int4") if case.bits == 4 else (127, "int8")
    w = rng.integers(-most, most + 1, case.weights).astype(np.int8)
    axis = 2 if case.op == "DepthwiseConv" else 0
    values["w"] = constant("w", w, QParams(scale, np.zeros(n, np.int32), dtype, axis))
    if not case.bias:
        return ["w", ""]
    far = 2**10 if case.bits == 4 else 2**14  # as far as some products reach
    values["b"] = constant("b", rng.integers(-far, far, n).astype(np.int32))
    return ["w", "b"]


def _random_q(rng: np.random.Generator, kind: str, channels: int) -> QParams:
    shape = (channels,) if kind.startswith("c") else ()
    if kind == "i16":
        return QParams(
            np.asarray(rng.uniform(1e-4, 3e-4), np.float32),
            np.asarray(int(rng.integers(-9, 9)) * 128, np.int32),
            "int16",
        )
    return QParams(
        np.asarray(rng.uniform(0.005, 0.1, shape), np.float32),
        np.asarray(rng.integers(-128, 128, shape), np.int32),
    )


def _real(node: Node, values: Mapping[str, Value], inputs: Mapping[str, Array]) -> Array:
    xs: list[Array | None] = []
    for name in node.inputs:
        v = values.get(name)
        if v is None:
            xs.append(None)
        elif v.q is None:
            scale = 1.0
            if name == "b":
                x, w = values["x0"].q, values["w"].q
                assert x is not None and w is not None
                scale = x.scale * w.scale
            xs.append((np.asarray(v.data) * scale).astype(np.float32))
        else:
            data = np.asarray(inputs[name] if v.data is None else v.data)
            scale = v.q.scale
            if name == "w" and node.op != "DepthwiseConv":
                scale = scale.reshape(-1, *(1,) * (data.ndim - 1))
            xs.append(
                ((data.astype(np.float32) - (0 if name == "w" else v.q.zero_point)) * scale).astype(
                    np.float32
                )
            )
    return OPS[node.op].real(node.attrs, xs)


def _fit(real: Array, kind: str, *, whole: bool = False) -> QParams:
    """QParams that hold most of `real`, so that both ends saturate now and then; or all of it."""
    tail = 0.0 if whole else 0.01
    dtype = "int16" if kind == "i16" else "int8"
    axes = tuple(range(real.ndim - 1)) if kind == "c8" else None
    finite = np.where(np.isfinite(real), real, 0.0)
    lo = np.minimum(np.quantile(finite, tail, axis=axes), 0)
    hi = np.maximum(np.maximum(np.quantile(finite, 1 - tail, axis=axes), 0), lo + 1e-3)
    low, high = RANGES[dtype]
    scale = ((hi - lo) / (high - low)).astype(np.float32)
    zero = np.clip(np.rint(low - lo / scale), low, high)
    if kind == "i16":  # zero on a knot of the interpolated tables
        zero = np.clip(np.rint(zero / 128) * 128, low, high - 127)
    return QParams(np.asarray(scale), np.asarray(zero).astype(np.int32), dtype)


def _moved(case: Case, values: Mapping[str, Value]) -> QParams:
    """Integers move: the output keeps the input's QParams; a last-axis Concat joins them."""
    parts = [v for v in values.values() if v.q is not None]
    q = parts[0].q
    assert q is not None
    if case.op != "Concat" or case.attrs["axis"] != len(parts[0].shape) - 1:
        return q
    rows = [
        np.broadcast_to(getattr(v.q, k), (v.shape[-1],))
        for k in ("scale", "zero_point")
        for v in parts
    ]
    half = len(parts)
    return QParams(np.concatenate(rows[:half]), np.concatenate(rows[half:]), q.dtype)
