"""The table of cases per op. One table drives the integer law, the interpreter, C and every SIMD variant."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeq.graph.ir import RANGES, Array, Graph, Node, QParams, Value, constant
from edgeq.ops import OPS

W = "weights"


@dataclass(frozen=True)
class Case:
    """One op on activations of the given shapes and kinds ("i8", "c8" per channel, "i16"; "k8" a constant)."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("i8",)
    out: str = "i8"
    weights: tuple[int, ...] = ()
    bias: bool = True
    unary: str = ""  # a table function fused behind a convolution
    pre: str = "i16"
    note: str = ""

    @property
    def id(self) -> str:
        parts = [
            self.op,
            self.note,
            "x".join(map(str, self.shapes[0])),
            "+".join(self.kinds),
            self.out,
            self.unary and f"{self.unary}-{self.pre}",
        ]
        return "-".join(p for p in parts if p)


def conv(**over: Any) -> dict[str, Any]:
    return {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1, **over}


def depthwise(**over: Any) -> dict[str, Any]:
    return {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), **over}


def transposed(**over: Any) -> dict[str, Any]:
    return {
        "strides": (2, 2),
        "pads": (0, 0, 0, 0),
        "output_padding": (0, 0),
        "dilations": (1, 1),
        "group": 1,
        **over,
    }


def pool(kernel: int = 3, **over: Any) -> dict[str, Any]:
    return {"kernel": (kernel, kernel), "strides": (1, 1), "pads": (0, 0, 0, 0), **over}


def resize(
    mode: str,
    coordinate: str,
    size: tuple[int, int],
    shape: tuple[int, ...],
    nearest: str = "round_prefer_floor",
) -> dict[str, Any]:
    scales = (size[0] / shape[1], size[1] / shape[2])
    return {
        "mode": mode,
        "coordinate": coordinate,
        "nearest_mode": nearest,
        "scales": scales,
        "size": size,
    }


def _conv_cases() -> list[Case]:
    out = []
    for ic in (1, 3, 4, 15, 16, 17, 33, 64):
        for oc in (1, 8, 16, 17, 40):
            out.append(
                Case("Conv", ((1, 5, 7, ic),), conv(), weights=(oc, 1, 1, ic), note=f"1x1-oc{oc}")
            )
    same = (1, 1, 1, 1)
    out += [
        Case(
            "Conv",
            ((1, 9, 8, 3),),
            conv(strides=(2, 2), pads=(0, 0, 1, 1)),
            weights=(24, 3, 3, 3),
            note="first",
        ),
        Case("Conv", ((1, 9, 8, 5),), conv(pads=same), weights=(7, 3, 3, 5), note="same"),
        Case("Conv", ((2, 6, 6, 8),), conv(pads=same), weights=(16, 3, 3, 8), note="batch"),
        Case(
            "Conv",
            ((1, 9, 9, 8),),
            conv(pads=(2, 2, 2, 2), dilations=(2, 2)),
            weights=(16, 3, 3, 8),
            note="dilated",
        ),
        Case(
            "Conv",
            ((1, 9, 9, 8),),
            conv(pads=(0, 3, 1, 0), strides=(3, 2)),
            weights=(9, 2, 5, 8),
            note="odd",
        ),
        Case(
            "Conv", ((1, 6, 5, 12),), conv(pads=same, group=3), weights=(18, 3, 3, 4), note="group3"
        ),
        Case(
            "Conv",
            ((1, 6, 5, 6),),
            conv(pads=same, group=6),
            weights=(12, 3, 3, 1),
            note="multiplier2",
        ),
        Case("Conv", ((1, 1, 30, 40),), conv(), weights=(33, 1, 1, 40), note="row"),
        Case("Conv", ((1, 40, 40, 16),), conv(pads=same), weights=(32, 3, 3, 16), note="large"),
        Case("Conv", ((1, 14, 14, 96),), conv(), weights=(128, 1, 1, 96), note="pointwise"),
        Case("Conv", ((1, 8, 8, 16),), conv(clip=(0.0, 6.0)), weights=(16, 1, 1, 16), note="relu6"),
        Case(
            "Conv",
            ((1, 8, 8, 16),),
            conv(clip=(0.0, float("inf"))),
            weights=(16, 1, 1, 16),
            out="c8",
            note="relu",
        ),
        Case("Conv", ((1, 8, 8, 16),), conv(), weights=(20, 1, 1, 16), out="i16", note="wide"),
        Case("Conv", ((1, 8, 8, 16),), conv(), weights=(20, 1, 1, 16), bias=False, note="nobias"),
    ]
    for unary in ("Silu", "LeakyRelu", "Sigmoid", "HardSwish"):
        for pre in ("i8", "i16", "acc"):
            for kind in ("i8", "c8", "i16"):
                out.append(
                    Case(
                        "Conv",
                        ((1, 6, 7, 16),),
                        conv(pads=same),
                        weights=(19, 3, 3, 16),
                        unary=unary,
                        pre=pre,
                        out=kind,
                    )
                )
    for c in (1, 7, 16, 17, 48):
        for kind in ("i8", "c8"):
            out.append(
                Case("DepthwiseConv", ((1, 7, 9, c),), depthwise(), (kind,), weights=(3, 3, c))
            )
    out += [
        Case(
            "DepthwiseConv",
            ((1, 8, 8, 24),),
            depthwise(strides=(2, 2), pads=(0, 0, 1, 1)),
            ("c8",),
            weights=(3, 3, 24),
            note="stride2",
        ),
        Case(
            "DepthwiseConv",
            ((1, 11, 10, 40),),
            depthwise(pads=(2, 2, 2, 2)),
            ("c8",),
            out="c8",
            weights=(5, 5, 40),
            note="5x5",
        ),
        Case(
            "DepthwiseConv",
            ((1, 11, 10, 16),),
            depthwise(pads=(2, 2, 2, 2), dilations=(2, 2)),
            weights=(3, 3, 16),
            note="dilated",
        ),
        Case(
            "DepthwiseConv",
            ((2, 6, 5, 20),),
            depthwise(clip=(0.0, 6.0)),
            ("c8",),
            weights=(3, 3, 20),
            note="relu6",
        ),
        Case(
            "DepthwiseConv",
            ((1, 6, 5, 20),),
            depthwise(),
            ("c8",),
            weights=(3, 3, 20),
            unary="Silu",
            out="c8",
        ),
        Case(
            "DepthwiseConv",
            ((1, 6, 5, 20),),
            depthwise(pads=(0, 0, 0, 0)),
            ("c8",),
            weights=(1, 1, 20),
            note="1x1",
        ),
        Case(
            "DepthwiseConv",
            ((1, 2, 2, 20),),
            depthwise(pads=(3, 3, 3, 3)),
            ("c8",),
            weights=(7, 7, 20),
            note="mostly-padding",
        ),
        Case("ConvTranspose", ((1, 4, 5, 8),), transposed(), weights=(6, 2, 2, 8), note="2x2s2"),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(pads=(1, 1, 1, 1), output_padding=(1, 1)),
            weights=(6, 3, 3, 8),
            note="3x3s2",
        ),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(strides=(1, 1), pads=(1, 0, 0, 1)),
            weights=(6, 3, 3, 8),
            note="s1",
        ),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(strides=(3, 2)),
            weights=(6, 2, 5, 8),
            note="gaps",
        ),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(dilations=(2, 3), group=2),
            weights=(6, 3, 2, 4),
            note="dilated",
        ),
        Case("FullyConnected", ((1, 70),), {}, weights=(11, 70)),
        Case(
            "FullyConnected", ((5, 64),), {"clip": (0.0, float("inf"))}, weights=(48, 64), out="i16"
        ),
        Case("FullyConnected", ((2, 3, 20),), {}, weights=(7, 20), unary="Tanh"),
    ]
    return out


def _other_cases() -> list[Case]:
    x, out = (1, 5, 6, 19), []
    for op in ("Add", "Sub", "Mul", "Div"):
        for kinds in (("i8", "i8"), ("c8", "i8"), ("i16", "i8"), ("i16", "i16")):
            out.append(Case(op, (x, x), {}, kinds, out="c8" if kinds[0] == "c8" else "i8"))
        out += [
            Case(op, (x, (1, 1, 1, 19)), {}, ("i8", "k8"), note="per-channel-constant"),
            Case(op, (x, (1, 1, 1, 19)), {"clip": (0.0, 3.0)}, ("i8", "i8"), note="gate"),
            Case(op, (x, (1, 5, 6, 1)), {}, ("i8", "i8"), note="mask"),
            Case(op, ((1, 1, 1, 1), x), {}, ("i8", "i8"), note="scalar-left"),
            Case(op, ((7,), (7,)), {}, ("i8", "i8"), out="i16", note="rank1"),
        ]
    for kind in (
        "Relu",
        "Sigmoid",
        "Silu",
        "Tanh",
        "Exp",
        "Reciprocal",
        "Square",
        "Sqrt",
        "Gelu",
        "Mish",
    ):
        out += [
            Case("Unary", (x,), {"kind": kind}, (k,), out=o, note=kind)
            for k in ("i8", "i16")
            for o in ("i8", "c8", "i16")
        ]
    out += [
        Case("PRelu", (x,), {}, ("i8",), weights=(19,)),
        Case("PRelu", (x,), {}, ("c8",), weights=(19,), out="c8"),
        Case("MatMul", ((2, 3, 5, 7), (2, 3, 7, 4)), {}, ("i8", "i8")),
        Case(
            "MatMul", ((2, 1, 5, 33), (1, 3, 33, 18)), {}, ("i8", "i8"), out="i16", note="broadcast"
        ),
        Case("Concat", ((1, 4, 4, 3), (1, 4, 4, 5)), {"axis": 3}, ("i8", "i8")),
        Case("Concat", ((1, 4, 4, 3), (1, 2, 4, 3)), {"axis": 1}, ("i16", "i16"), out="i16"),
        Case("Slice", (x,), {"starts": (0, 1, 0, 3), "ends": (1, 5, 6, 11), "steps": (1, 2, 1, 1)}),
        Case(
            "Slice",
            (x,),
            {"starts": (0, 0, 0, 0), "ends": (1, 5, 6, 19), "steps": (1, 1, 1, 2)},
            ("i16",),
            out="i16",
            note="channels",
        ),
        Case(
            "Slice",
            (x,),
            {"starts": (0, 4, 0, 18), "ends": (1, -1, 6, 2), "steps": (1, -2, 1, -3)},
            note="backwards",
        ),
        Case("Reshape", (x,), {"shape": (1, 30, 19)}),
        Case("Reshape", (x,), {"shape": (570,)}, ("i16",), out="i16"),
        Case("Transpose", (x,), {"perm": (0, 3, 1, 2)}),
        Case("Transpose", ((2, 3, 2, 3, 2),), {"perm": (4, 2, 0, 3, 1)}, ("i16",), out="i16"),
        Case(
            "Pad",
            (x,),
            {"pads": ((0, 0), (1, 2), (0, 1), (4, 0)), "mode": "constant", "value": 0.5},
        ),
        Case(
            "Pad",
            (x,),
            {"pads": ((0, 0), (1, 1), (1, 1), (0, 0)), "mode": "constant", "value": 0.0},
            ("c8",),
            out="c8",
        ),
        Case(
            "Pad",
            (x,),
            {"pads": ((0, 0), (-1, 2), (0, -2), (0, 0)), "mode": "constant", "value": 0.0},
            note="crop",
        ),
        Case("Gather", (x,), {"axis": 3, "indices": (18, 0, 0, 7)}),
        Case(
            "Gather",
            (x,),
            {"axis": 1, "indices": (4, 1, 2, 2), "index_shape": (2, 2)},
            ("i16",),
            out="i16",
        ),
        Case("MaxPool", (x,), pool(2, strides=(2, 2), pads=(0, 0, 1, 1)), ("c8",), out="c8"),
        Case("MaxPool", ((1, 13, 13, 32),), pool(5, pads=(2, 2, 2, 2))),
        Case("MaxPool", (x,), pool(3, pads=(1, 1, 1, 1)), ("i16",), out="i16"),
        Case("AvgPool", (x,), pool(3, pads=(1, 1, 1, 1), count_include_pad=False)),
        Case(
            "AvgPool", (x,), pool(3, pads=(1, 1, 1, 1), count_include_pad=True), ("c8",), out="c8"
        ),
        Case(
            "AvgPool",
            (x,),
            pool(2, strides=(2, 2), pads=(0, 0, 1, 0), count_include_pad=False),
            ("i16",),
            out="i16",
        ),
        Case("ReduceMean", ((9, 2, 3, 19),), {"axes": (1, 2), "keepdims": True}, ("c8",), out="c8"),
        Case("ReduceMean", (x,), {"axes": (1, 2), "keepdims": False}),
        Case("ReduceMean", (x,), {"axes": (1, 2, 3), "keepdims": True}, ("i16",), out="i16"),
        Case("ReduceMean", (x,), {"axes": (3,), "keepdims": False}),
        Case("ReduceMean", (x,), {"axes": (0, 1, 2, 3), "keepdims": False}, note="scalar"),
        Case("Div", (x, ()), {}, ("i8", "i8"), note="by-scalar"),
        Case("Unary", ((),), {"kind": "Square"}, ("i8",), out="i16", note="scalar"),
        Case("Softmax", ((3, 10),), {}),
        Case("Softmax", ((1, 1000),), {}, ("i16",), out="i16"),
        Case("Softmax", ((2, 4, 7),), {}, ("i16",)),
        Case("Requantize", (x,), {}),
        Case("Requantize", (x,), {}, ("c8",), out="i8"),
        Case("Requantize", (x,), {}, ("i16",), out="c8"),
        Case("Requantize", (x,), {}, ("i8",), out="i16"),
    ]
    for coordinate in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        for size in ((10, 12), (7, 3), (1, 1)):
            out.append(
                Case(
                    "Resize",
                    (x,),
                    resize("linear", coordinate, size, x),
                    ("c8",),
                    out="c8",
                    note=f"linear-{coordinate}-{size[0]}",
                )
            )
            out.append(
                Case(
                    "Resize",
                    (x,),
                    resize("nearest", coordinate, size, x, "floor"),
                    note=f"nearest-{coordinate}-{size[0]}",
                )
            )
    return out


CASES = _conv_cases() + _other_cases()


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
    return Graph(case.id, tuple(nodes), values, tuple(inputs), (result,)), inputs


def _weights(rng: np.random.Generator, case: Case, values: dict[str, Value]) -> list[str]:
    n = case.weights[-1] if case.op == "DepthwiseConv" else case.weights[0]
    scale = rng.uniform(0.001, 0.02, n).astype(np.float32)
    w = rng.integers(-127, 128, case.weights).astype(np.int8)
    values["w"] = constant(
        "w",
        w,
        QParams(scale, np.zeros(n, np.int32), "int8", 2 if case.op == "DepthwiseConv" else 0),
    )
    if not case.bias:
        return ["w", ""]
    values["b"] = constant("b", rng.integers(-(2**14), 2**14, n).astype(np.int32))
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
