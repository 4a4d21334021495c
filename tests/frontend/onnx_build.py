"""Builders of small ONNX models for the tests of the reader, the passes and the writer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Build = Callable[["Model"], None]
RNG = np.random.default_rng(7)


@dataclass
class Model:
    """A model under construction: `x` is the input, the last node added makes the output `y`."""

    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def const(self, data: Any, dtype: str = "float32") -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(data, dtype), name))
        return name

    def ints(self, *data: int) -> str:
        return self.const(data, "int64")

    def weight(self, *shape: int) -> str:
        rng = np.random.default_rng(len(self.constants))
        return self.const(rng.standard_normal(shape) * 0.5)

    def op(self, kind: str, *inputs: str, outputs: int = 1, **attrs: Any) -> str:
        outs = [f"{kind.lower()}{len(self.nodes)}_{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, outs, **attrs))
        return outs[0]

    def proto(
        self, shapes: Sequence[Sequence[Any]], outputs: Sequence[str] = ()
    ) -> onnx.ModelProto:
        names = ["x", "x2", "x3"][: len(shapes)]
        ins = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s)
            for n, s in zip(names, shapes, strict=True)
        ]
        found = list(outputs) or [self.nodes[-1].output[0]]
        outs = [onnx.ValueInfoProto(name=o) for o in found]
        for o in outs:
            o.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "case", ins, outs, self.constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8
        )


def over_axes(m: Model, op: str, x: str, axes: Sequence[int], since: int = 13, **attrs: Any) -> str:
    if m.opset >= since:
        return m.op(op, x, m.ints(*axes), **attrs)
    return m.op(op, x, axes=list(axes), **attrs)


def convolved(shape: tuple[int, ...] = (4, 3, 3, 3), bias: bool = True, **attrs: Any) -> Build:
    def build(m: Model) -> None:
        m.op("Conv", "x", m.weight(*shape), *([m.weight(shape[0])] if bias else []), **attrs)

    return build


def deconvolved(shape: tuple[int, ...] = (3, 4, 3, 3), **attrs: Any) -> Build:
    def build(m: Model) -> None:
        bias = m.weight(shape[1] * attrs.get("group", 1))
        m.op("ConvTranspose", "x", m.weight(*shape), bias, **attrs)

    return build


def one(kind: str, **attrs: Any) -> Build:
    return lambda m: void(m.op(kind, "x", **attrs))


def void(_: object) -> None:
    return None


def pooled(kind: str, **attrs: Any) -> Build:
    return one(kind, **{"kernel_shape": [3, 3], **attrs})


def clipped(m: Model, x: str, lo: float, hi: float) -> str:
    if m.opset < 11:
        return m.op("Clip", x, min=lo, max=hi)
    return m.op("Clip", x, m.const(lo), m.const(hi))


def conv_bn(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3))
    var = m.const(np.abs(RNG.standard_normal(4)) + 0.5)
    y = m.op("BatchNormalization", y, m.weight(4), m.weight(4), m.weight(4), var, epsilon=1e-3)
    m.op("Relu", y)


def bare_bn(m: Model) -> None:
    var = m.const(np.abs(RNG.standard_normal(3)) + 0.5)
    m.op("BatchNormalization", "x", m.weight(3), m.weight(3), m.weight(3), var)


def resized(mode: str, how: str, scales: tuple[float, float], **attrs: Any) -> Build:
    def build(m: Model) -> None:
        s = m.const([1, 1, *scales])
        if m.opset < 10:
            m.op("Upsample", "x", s, mode=mode)
        elif m.opset < 11:
            m.op("Resize", "x", s, mode=mode)
        else:
            roi = m.const([]) if m.opset < 13 else ""
            m.op("Resize", "x", roi, s, mode=mode, coordinate_transformation_mode=how, **attrs)

    return build


def resize_to(m: Model) -> None:
    m.op(
        "Resize",
        "x",
        "",
        "",
        m.ints(1, 3, 18, 22),
        mode="linear",
        coordinate_transformation_mode="align_corners",
    )


def silu(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 1, 1))
    m.op("Mul", m.op("Sigmoid", y), y)


def hard_swish(order: int) -> Build:
    def build(m: Model) -> None:
        y = m.op("Conv", "x", m.weight(4, 3, 1, 1))
        gate = clipped(m, m.op("Add", y, m.const(3.0)), 0.0, 6.0)
        if order == 0:
            m.op("Div", m.op("Mul", y, gate), m.const(6.0))
        elif order == 1:
            m.op("Mul", m.op("Mul", gate, m.const(1 / 6)), y)
        elif order == 2:
            m.op("Mul", m.op("Div", y, m.const(6.0)), gate)
        else:
            m.op("Mul", y, m.op("HardSigmoid", y, alpha=1 / 6, beta=0.5))

    return build


def hard_sigmoid(m: Model) -> None:
    gate = clipped(m, m.op("Add", "x", m.const(3.0)), 0.0, 6.0)
    m.op("Div", gate, m.const(6.0))


def gelu(m: Model) -> None:
    inner = m.op("Erf", m.op("Div", "x", m.const(2.0**0.5)))
    m.op("Mul", m.op("Mul", "x", m.op("Add", inner, m.const(1.0))), m.const(0.5))


def gelu_tanh(m: Model) -> None:
    cube = m.op("Mul", m.const(0.044715), m.op("Pow", "x", m.const(3.0)))
    inner = m.op("Mul", m.op("Add", "x", cube), m.const((2 / np.pi) ** 0.5))
    m.op("Mul", m.op("Mul", "x", m.const(0.5)), m.op("Add", m.const(1.0), m.op("Tanh", inner)))


def mish(m: Model) -> None:
    m.op("Mul", "x", m.op("Tanh", m.op("Softplus", "x")))


def flatten_gemm(m: Model) -> None:
    y = m.op("Flatten", m.op("Conv", "x", m.weight(2, 3, 3, 3)))
    m.op("Gemm", y, m.weight(5, 2 * 7 * 9), m.weight(5), transB=1)


def gap_fc(m: Model) -> None:
    y = m.op("GlobalAveragePool", m.op("Conv", "x", m.weight(4, 3, 3, 3)))
    m.op("Gemm", m.op("Flatten", y), m.weight(4, 6), m.weight(6), alpha=0.5, beta=2.0)


def shape_arithmetic(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3))
    batch = m.op("Gather", m.op("Shape", y), m.const(0, "int64"))
    row = (
        m.op("Unsqueeze", batch, axes=[0]) if m.opset < 13 else m.op("Unsqueeze", batch, m.ints(0))
    )
    m.op("Reshape", y, m.op("Concat", row, m.ints(-1), axis=0))


def shuffle(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(6, 3, 1, 1))
    y = m.op("Reshape", y, m.ints(1, 2, 3, 9, 11))
    y = m.op("Reshape", m.op("Transpose", y, perm=[0, 2, 1, 3, 4]), m.ints(1, 6, 9, 11))
    m.op("Conv", y, m.weight(2, 6, 1, 1))


def halves(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(6, 3, 1, 1))
    if m.opset >= 13:
        m.op("Split", y, m.ints(2, 4), axis=1, outputs=2)
    else:
        m.op("Split", y, axis=1, split=[2, 4], outputs=2)
    a, b = m.nodes[-1].output
    m.op("Concat", b, a, axis=1)


def sliced(m: Model, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> None:
    if m.opset < 10:
        m.op("Slice", "x", starts=starts, ends=ends, axes=axes)
    else:
        m.op("Slice", "x", m.ints(*starts), m.ints(*ends), m.ints(*axes), m.ints(*steps))


def padded(m: Model, x: str, pads: list[int], value: float = 0.0) -> str:
    if m.opset < 11:
        return m.op("Pad", x, pads=pads, value=value)
    return m.op("Pad", x, m.ints(*pads), m.const(value))


def pad_conv(m: Model) -> None:
    m.op("Conv", padded(m, "x", [0, 0, 1, 0, 0, 0, 2, 1]), m.weight(4, 3, 3, 3), strides=[2, 2])


def pad_max(m: Model) -> None:
    m.op(
        "MaxPool",
        padded(m, m.op("Relu", "x"), [0, 0, 1, 1, 0, 0, 1, 1]),
        kernel_shape=[3, 3],
        strides=[2, 2],
    )


def focus(m: Model) -> None:
    parts = []
    for a, b in ((0, 0), (1, 0), (0, 1), (1, 1)):
        y = m.op("Slice", "x", m.ints(a), m.ints(2**31), m.ints(2), m.ints(2))
        parts.append(m.op("Slice", y, m.ints(b), m.ints(2**31), m.ints(3), m.ints(2)))
    m.op(
        "Conv",
        m.op("Concat", *parts, axis=1),
        m.weight(4, 12, 3, 3),
        m.weight(4),
        pads=[1, 1, 1, 1],
    )


def se(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3), m.weight(4))
    s = m.op("Conv", m.op("GlobalAveragePool", y), m.weight(2, 4, 1, 1))
    s = m.op("Conv", m.op("Relu", s), m.weight(4, 2, 1, 1))
    m.op("Mul", y, m.op("HardSigmoid", s))


def yolo_head(m: Model) -> None:
    a = m.op("Reshape", m.op("Conv", "x", m.weight(5, 3, 1, 1)), m.ints(1, 5, -1))
    b = m.op("Reshape", m.op("Conv", "x", m.weight(5, 3, 3, 3), strides=[2, 2]), m.ints(1, 5, -1))
    m.op("Transpose", m.op("Concat", a, b, axis=2), perm=[0, 2, 1])


def attention(m: Model) -> None:
    q = m.op("MatMul", "x", m.weight(8, 8))
    k = m.op("MatMul", "x", m.weight(8, 8))
    scores = m.op("Div", m.op("MatMul", q, m.op("Transpose", k, perm=[0, 2, 1])), m.const(2.8))
    m.op("MatMul", m.op("Softmax", scores, axis=2), "x")


def residual_ranks(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 1, 1))
    m.op("Add", m.op("Mul", y, m.weight(4, 1, 1)), m.weight(1, 1, 11))


def nhwc_model(m: Model) -> None:
    y = m.op("Transpose", "x", perm=[0, 3, 1, 2])
    y = m.op("Conv", y, m.weight(4, 3, 3, 3), pads=[1, 1, 1, 1])
    m.op("Transpose", y, perm=[0, 2, 3, 1])


def pixel_unshuffle(m: Model) -> None:
    m.op("Conv", m.op("SpaceToDepth", "x", blocksize=2), m.weight(4, 12, 1, 1))


def depth_to_space(mode: str) -> Build:
    def build(m: Model) -> None:
        attrs = {"mode": mode} if m.opset >= 11 else {}
        m.op("DepthToSpace", m.op("Conv", "x", m.weight(8, 3, 1, 1)), blocksize=2, **attrs)

    return build
