"""Small ONNX models, one or more per operator: the table that the reader and writer tests run over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Build = Callable[["Model"], None]
IMAGE = (1, 3, 9, 11)
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

    def proto(self, shapes: Sequence[Sequence[Any]], outputs: Sequence[str] = ()) -> onnx.ModelProto:
        names = ["x", "x2", "x3"][: len(shapes)]
        ins = [
            helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in zip(names, shapes, strict=True)
        ]
        found = list(outputs) or [self.nodes[-1].output[0]]
        outs = [onnx.ValueInfoProto(name=o) for o in found]
        for o in outs:
            o.type.tensor_type.elem_type = TensorProto.FLOAT
        graph = helper.make_graph(self.nodes, "case", ins, outs, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


@dataclass(frozen=True)
class Case:
    name: str
    build: Build
    shapes: tuple[tuple[int, ...], ...] = (IMAGE,)
    opsets: tuple[int, ...] = (13, 21)
    positive: bool = False
    outputs: tuple[str, ...] = ()
    tolerance: float = 1e-5  # of the float law; linear Resize has 11-bit weights by law

    def model(self, opset: int) -> onnx.ModelProto:
        m = Model(opset)
        self.build(m)
        return m.proto(self.shapes, self.outputs)

    def inputs(self) -> dict[str, np.ndarray]:
        rng = np.random.default_rng(3)
        xs = [rng.standard_normal(s).astype(np.float32) * 2 for s in self.shapes]
        return dict(zip(["x", "x2", "x3"], [np.abs(x) + 0.1 for x in xs] if self.positive else xs, strict=False))


ALL = (9, 11, 13, 17, 21)


def _axes(m: Model, op: str, x: str, axes: Sequence[int], since: int = 13, **attrs: Any) -> str:
    if m.opset >= since:
        return m.op(op, x, m.ints(*axes), **attrs)
    return m.op(op, x, axes=list(axes), **attrs)


def _conv(shape: tuple[int, ...] = (4, 3, 3, 3), bias: bool = True, **attrs: Any) -> Build:
    def build(m: Model) -> None:
        m.op("Conv", "x", m.weight(*shape), *([m.weight(shape[0])] if bias else []), **attrs)

    return build


def _deconv(shape: tuple[int, ...] = (3, 4, 3, 3), **attrs: Any) -> Build:
    def build(m: Model) -> None:
        bias = m.weight(shape[1] * attrs.get("group", 1))
        m.op("ConvTranspose", "x", m.weight(*shape), bias, **attrs)

    return build


def _op(kind: str, **attrs: Any) -> Build:
    return lambda m: void(m.op(kind, "x", **attrs))


def void(_: object) -> None:
    return None


def _pool(kind: str, **attrs: Any) -> Build:
    return _op(kind, **{"kernel_shape": [3, 3], **attrs})


def _clip(m: Model, x: str, lo: float, hi: float) -> str:
    if m.opset < 11:
        return m.op("Clip", x, min=lo, max=hi)
    return m.op("Clip", x, m.const(lo), m.const(hi))


def _conv_bn(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3))
    var = m.const(np.abs(RNG.standard_normal(4)) + 0.5)
    y = m.op("BatchNormalization", y, m.weight(4), m.weight(4), m.weight(4), var, epsilon=1e-3)
    m.op("Relu", y)


def _bare_bn(m: Model) -> None:
    var = m.const(np.abs(RNG.standard_normal(3)) + 0.5)
    m.op("BatchNormalization", "x", m.weight(3), m.weight(3), m.weight(3), var)


def _resize(mode: str, how: str, scales: tuple[float, float], **attrs: Any) -> Build:
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


def _resize_to(m: Model) -> None:
    m.op("Resize", "x", "", "", m.ints(1, 3, 18, 22), mode="linear", coordinate_transformation_mode="align_corners")


def _silu(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 1, 1))
    m.op("Mul", m.op("Sigmoid", y), y)


def _hard_swish(order: int) -> Build:
    def build(m: Model) -> None:
        y = m.op("Conv", "x", m.weight(4, 3, 1, 1))
        gate = _clip(m, m.op("Add", y, m.const(3.0)), 0.0, 6.0)
        if order == 0:
            m.op("Div", m.op("Mul", y, gate), m.const(6.0))
        elif order == 1:
            m.op("Mul", m.op("Mul", gate, m.const(1 / 6)), y)
        elif order == 2:
            m.op("Mul", m.op("Div", y, m.const(6.0)), gate)
        else:
            m.op("Mul", y, m.op("HardSigmoid", y, alpha=1 / 6, beta=0.5))

    return build


def _hard_sigmoid(m: Model) -> None:
    gate = _clip(m, m.op("Add", "x", m.const(3.0)), 0.0, 6.0)
    m.op("Div", gate, m.const(6.0))


def _gelu(m: Model) -> None:
    inner = m.op("Erf", m.op("Div", "x", m.const(2.0**0.5)))
    m.op("Mul", m.op("Mul", "x", m.op("Add", inner, m.const(1.0))), m.const(0.5))


def _gelu_tanh(m: Model) -> None:
    cube = m.op("Mul", m.const(0.044715), m.op("Pow", "x", m.const(3.0)))
    inner = m.op("Mul", m.op("Add", "x", cube), m.const((2 / np.pi) ** 0.5))
    m.op("Mul", m.op("Mul", "x", m.const(0.5)), m.op("Add", m.const(1.0), m.op("Tanh", inner)))


def _mish(m: Model) -> None:
    m.op("Mul", "x", m.op("Tanh", m.op("Softplus", "x")))


def _flatten_gemm(m: Model) -> None:
    y = m.op("Flatten", m.op("Conv", "x", m.weight(2, 3, 3, 3)))
    m.op("Gemm", y, m.weight(5, 2 * 7 * 9), m.weight(5), transB=1)


def _gap_fc(m: Model) -> None:
    y = m.op("GlobalAveragePool", m.op("Conv", "x", m.weight(4, 3, 3, 3)))
    m.op("Gemm", m.op("Flatten", y), m.weight(4, 6), m.weight(6), alpha=0.5, beta=2.0)


def _shape_arithmetic(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3))
    batch = m.op("Gather", m.op("Shape", y), m.const(0, "int64"))
    row = m.op("Unsqueeze", batch, axes=[0]) if m.opset < 13 else m.op("Unsqueeze", batch, m.ints(0))
    m.op("Reshape", y, m.op("Concat", row, m.ints(-1), axis=0))


def _shuffle(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(6, 3, 1, 1))
    y = m.op("Reshape", y, m.ints(1, 2, 3, 9, 11))
    y = m.op("Reshape", m.op("Transpose", y, perm=[0, 2, 1, 3, 4]), m.ints(1, 6, 9, 11))
    m.op("Conv", y, m.weight(2, 6, 1, 1))


def _split(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(6, 3, 1, 1))
    if m.opset >= 13:
        m.op("Split", y, m.ints(2, 4), axis=1, outputs=2)
    else:
        m.op("Split", y, axis=1, split=[2, 4], outputs=2)
    a, b = m.nodes[-1].output
    m.op("Concat", b, a, axis=1)


def _slice(m: Model, starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> None:
    if m.opset < 10:
        m.op("Slice", "x", starts=starts, ends=ends, axes=axes)
    else:
        m.op("Slice", "x", m.ints(*starts), m.ints(*ends), m.ints(*axes), m.ints(*steps))


def _pad(m: Model, x: str, pads: list[int], value: float = 0.0) -> str:
    if m.opset < 11:
        return m.op("Pad", x, pads=pads, value=value)
    return m.op("Pad", x, m.ints(*pads), m.const(value))


def _pad_conv(m: Model) -> None:
    m.op("Conv", _pad(m, "x", [0, 0, 1, 0, 0, 0, 2, 1]), m.weight(4, 3, 3, 3), strides=[2, 2])


def _pad_max(m: Model) -> None:
    m.op("MaxPool", _pad(m, m.op("Relu", "x"), [0, 0, 1, 1, 0, 0, 1, 1]), kernel_shape=[3, 3], strides=[2, 2])


def _focus(m: Model) -> None:
    parts = []
    for a, b in ((0, 0), (1, 0), (0, 1), (1, 1)):
        y = m.op("Slice", "x", m.ints(a), m.ints(2**31), m.ints(2), m.ints(2))
        parts.append(m.op("Slice", y, m.ints(b), m.ints(2**31), m.ints(3), m.ints(2)))
    m.op("Conv", m.op("Concat", *parts, axis=1), m.weight(4, 12, 3, 3), m.weight(4), pads=[1, 1, 1, 1])


def _se(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3), m.weight(4))
    s = m.op("Conv", m.op("GlobalAveragePool", y), m.weight(2, 4, 1, 1))
    s = m.op("Conv", m.op("Relu", s), m.weight(4, 2, 1, 1))
    m.op("Mul", y, m.op("HardSigmoid", s))


def _yolo_head(m: Model) -> None:
    a = m.op("Reshape", m.op("Conv", "x", m.weight(5, 3, 1, 1)), m.ints(1, 5, -1))
    b = m.op("Reshape", m.op("Conv", "x", m.weight(5, 3, 3, 3), strides=[2, 2]), m.ints(1, 5, -1))
    m.op("Transpose", m.op("Concat", a, b, axis=2), perm=[0, 2, 1])


def _attention(m: Model) -> None:
    q = m.op("MatMul", "x", m.weight(8, 8))
    k = m.op("MatMul", "x", m.weight(8, 8))
    scores = m.op("Div", m.op("MatMul", q, m.op("Transpose", k, perm=[0, 2, 1])), m.const(2.8))
    m.op("MatMul", m.op("Softmax", scores, axis=2), "x")


def _residual_ranks(m: Model) -> None:
    y = m.op("Conv", "x", m.weight(4, 3, 1, 1))
    m.op("Add", m.op("Mul", y, m.weight(4, 1, 1)), m.weight(1, 1, 11))


def _nhwc_model(m: Model) -> None:
    y = m.op("Transpose", "x", perm=[0, 3, 1, 2])
    y = m.op("Conv", y, m.weight(4, 3, 3, 3), pads=[1, 1, 1, 1])
    m.op("Transpose", y, perm=[0, 2, 3, 1])


def _pixel_unshuffle(m: Model) -> None:
    m.op("Conv", m.op("SpaceToDepth", "x", blocksize=2), m.weight(4, 12, 1, 1))


def _depth_to_space(mode: str) -> Build:
    def build(m: Model) -> None:
        attrs = {"mode": mode} if m.opset >= 11 else {}
        m.op("DepthToSpace", m.op("Conv", "x", m.weight(8, 3, 1, 1)), blocksize=2, **attrs)

    return build


CASES = [
    Case("conv", _conv(), opsets=ALL),
    Case("conv_no_bias_strided", _conv(bias=False, strides=[2, 1], pads=[1, 0, 2, 1]), opsets=ALL),
    Case("conv_dilated", _conv(dilations=[2, 3], pads=[2, 2, 2, 2])),
    Case("conv_same_upper", _conv(auto_pad="SAME_UPPER", strides=[2, 2])),
    Case("conv_same_lower", _conv(auto_pad="SAME_LOWER", strides=[2, 2]), ((1, 3, 8, 12),)),
    Case("conv_valid", _conv(auto_pad="VALID")),
    Case("conv_depthwise", _conv((3, 1, 3, 3), group=3, pads=[1, 1, 1, 1])),
    Case("conv_multiplier", _conv((6, 1, 3, 3), group=3)),
    Case("conv_grouped", _conv((6, 2, 3, 3), group=3), ((1, 6, 9, 9),)),
    Case("conv_1d", _conv((4, 3, 3), pads=[1, 1], strides=[2]), ((1, 3, 13),)),
    Case("conv_batch_2", _conv(), ((2, 3, 9, 11),)),
    Case("deconv", _deconv(), opsets=ALL),
    Case("deconv_strided", _deconv(strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 0])),
    Case("deconv_grouped", _deconv((6, 2, 3, 3), group=3, strides=[2, 2]), ((1, 6, 5, 5),)),
    Case("deconv_same", _deconv(strides=[2, 2], auto_pad="SAME_UPPER")),
    Case("deconv_output_shape", _deconv(strides=[2, 2], output_shape=[18, 22])),
    Case("deconv_dilated", _deconv(dilations=[2, 2])),
    Case("max_pool", _pool("MaxPool", strides=[2, 2]), opsets=ALL),
    Case("max_pool_ceil", _pool("MaxPool", strides=[2, 2], ceil_mode=1, kernel_shape=[2, 2]), opsets=(11, 21)),
    Case("max_pool_dilated", _pool("MaxPool", dilations=[2, 2], pads=[1, 1, 1, 1])),
    Case("max_pool_same", _pool("MaxPool", strides=[2, 2], auto_pad="SAME_UPPER")),
    Case("max_pool_1d", _pool("MaxPool", kernel_shape=[2], strides=[2]), ((1, 3, 12),)),
    Case("average_pool", _pool("AveragePool", pads=[1, 1, 1, 1]), opsets=ALL),
    Case("average_pool_count", _pool("AveragePool", pads=[1, 1, 1, 1], count_include_pad=1), opsets=ALL),
    Case("average_pool_ceil", _pool("AveragePool", strides=[2, 2], ceil_mode=1, kernel_shape=[2, 2])),
    Case(
        "average_pool_ceil_count",
        _pool("AveragePool", strides=[2, 2], ceil_mode=1, count_include_pad=1, pads=[1, 1, 0, 0]),
        ((1, 3, 8, 10),),
    ),
    Case("average_pool_whole", _pool("AveragePool", kernel_shape=[9, 11])),
    Case("global_average_pool", _op("GlobalAveragePool"), opsets=ALL),
    Case("global_max_pool", _op("GlobalMaxPool")),
    Case("conv_bn_relu", _conv_bn, opsets=ALL),
    Case("bn_alone", _bare_bn, opsets=ALL),
    Case("instance_norm", lambda m: void(m.op("InstanceNormalization", "x", m.weight(3), m.weight(3)))),
    Case(
        "layer_norm",
        lambda m: void(m.op("LayerNormalization", "x", m.weight(8), m.weight(8))),
        ((1, 5, 8),),
        (17, 21),
    ),
    Case("resize_nearest", _resize("nearest", "asymmetric", (2, 2), nearest_mode="floor"), opsets=(9, 10, *ALL[1:])),
    Case("resize_linear", _resize("linear", "half_pixel", (2, 2)), opsets=ALL[1:]),
    Case("upsample_linear", _resize("linear", "asymmetric", (2, 2)), opsets=(9,)),
    Case("resize_pytorch", _resize("linear", "pytorch_half_pixel", (4, 2))),
    Case("resize_corners", _resize_to, tolerance=2e-3),
    Case("resize_nearest_half", _resize("nearest", "half_pixel", (2, 3), nearest_mode="round_prefer_ceil")),
    *[
        Case(k.lower(), _op(k), opsets=ALL)
        for k in ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Softplus", "Erf", "Identity")
    ],
    *[Case(k.lower(), _op(k), opsets=(9, 21), positive=True) for k in ("Log", "Sqrt", "Reciprocal")],
    Case("leaky_relu", _op("LeakyRelu", alpha=0.2), opsets=ALL),
    Case("elu", _op("Elu", alpha=0.7)),
    Case("hard_sigmoid_op", _op("HardSigmoid", alpha=0.3, beta=0.4)),
    Case("hard_swish_op", _op("HardSwish"), opsets=(14, 21)),
    Case("mish_op", _op("Mish"), opsets=(18, 21)),
    Case("gelu_op", _op("Gelu"), opsets=(20, 21)),
    Case("gelu_op_tanh", _op("Gelu", approximate="tanh"), opsets=(20, 21)),
    Case("prelu", lambda m: void(m.op("PRelu", "x", m.weight(3, 1, 1))), opsets=ALL),
    Case("prelu_scalar", lambda m: void(m.op("PRelu", "x", m.weight(1)))),
    Case("prelu_last", lambda m: void(m.op("PRelu", "x", m.weight(8))), ((2, 8),)),
    Case("clip", lambda m: void(_clip(m, "x", -1.0, 1.5)), opsets=ALL),
    Case("relu6", lambda m: void(_clip(m, m.op("Conv", "x", m.weight(4, 3, 3, 3)), 0.0, 6.0)), opsets=ALL),
    Case("min_max", lambda m: void(m.op("Max", m.op("Min", "x", m.const(1.0)), m.const(-0.5)))),
    Case("silu", _silu, opsets=ALL),
    *[Case(f"hard_swish_{k}", _hard_swish(k), opsets=ALL) for k in range(4)],
    Case("hard_sigmoid_pieces", _hard_sigmoid, opsets=ALL),
    Case("gelu_pieces", _gelu, opsets=ALL),
    Case("gelu_tanh_pieces", _gelu_tanh),
    Case("mish_pieces", _mish, opsets=ALL),
    *[
        Case(f"{k.lower()}_two", lambda m, k=k: void(m.op(k, "x", "x2")), (IMAGE, (1, 3, 1, 1)), ALL, True)
        for k in ("Add", "Sub", "Mul", "Div")
    ],
    *[Case(f"{k.lower()}_const", lambda m, k=k: void(m.op(k, "x", m.weight(3, 1, 1)))) for k in ("Add", "Sub", "Mul", "Div")],
    *[Case(f"{k.lower()}_from", lambda m, k=k: void(m.op(k, m.const(2.0), "x")), positive=True) for k in ("Sub", "Div")],
    Case("broadcast_ranks", _residual_ranks),
    Case("add_row", lambda m: void(m.op("Add", m.op("Conv", "x", m.weight(4, 3, 1, 1)), "x2")), (IMAGE, (11,))),
    Case("pow_2", lambda m: void(m.op("Pow", "x", m.const(2.0))), opsets=ALL),
    Case("pow_1_5", lambda m: void(m.op("Pow", "x", m.const(1.5))), positive=True),
    Case("sum", lambda m: void(m.op("Sum", "x", "x2", "x3")), (IMAGE,) * 3),
    Case("mean", lambda m: void(m.op("Mean", "x", "x2", "x3")), (IMAGE,) * 3),
    Case("concat", lambda m: void(m.op("Concat", "x", "x2", axis=-3)), (IMAGE, (1, 5, 9, 11)), ALL),
    Case("split", _split, opsets=ALL),
    Case("split_even", lambda m: void(m.op("Split", "x", axis=2, outputs=3)), opsets=(9, 11, 13)),
    Case("slice", lambda m: _slice(m, [1, -3], [100, -1], [2, 3], [1, 1]), opsets=ALL),
    Case("slice_steps", lambda m: _slice(m, [8, 0], [-100, 11], [2, 3], [-2, 3]), opsets=(10, 11, 21)),
    Case("reshape", lambda m: void(m.op("Reshape", "x", m.ints(0, -1, 11))), opsets=ALL),
    Case("transpose", _op("Transpose", perm=[0, 2, 1, 3]), opsets=ALL),
    Case("flatten", _op("Flatten", axis=2), opsets=ALL),
    Case("squeeze", lambda m: void(_axes(m, "Squeeze", "x", [0])), opsets=ALL),
    Case("unsqueeze", lambda m: void(_axes(m, "Unsqueeze", "x", [0, 3])), opsets=ALL),
    Case("expand", lambda m: void(m.op("Expand", "x", m.ints(2, 1, 9, 11)))),
    Case("tile", lambda m: void(m.op("Tile", "x", m.ints(1, 2, 1, 1)))),
    Case("pad", lambda m: void(_pad(m, "x", [0, 1, 2, 3, 0, 0, 1, 0], 1.5)), opsets=ALL),
    Case("pad_negative", lambda m: void(_pad(m, "x", [0, 0, -1, 0, 0, 0, 0, -2]))),
    Case("pad_conv", _pad_conv, opsets=ALL),
    Case("pad_max_pool", _pad_max),
    Case("reduce_mean", lambda m: void(_axes(m, "ReduceMean", "x", [2, 3], 18)), opsets=(*ALL, 18)),
    Case("reduce_mean_flat", lambda m: void(_axes(m, "ReduceMean", "x", [-1, 1], 18, keepdims=0)), opsets=(*ALL, 18)),
    Case("reduce_sum", lambda m: void(_axes(m, "ReduceSum", "x", [2], 13))),
    Case("matmul_weight", lambda m: void(m.op("MatMul", "x", m.weight(8, 5))), ((2, 3, 8),), ALL),
    Case("matmul", lambda m: void(m.op("MatMul", "x", "x2")), ((2, 3, 4, 5), (2, 3, 5, 6)), ALL),
    Case("gemm", lambda m: void(m.op("Gemm", "x", m.weight(8, 5), m.weight(5))), ((3, 8),), ALL),
    Case("gemm_trans_a", lambda m: void(m.op("Gemm", "x", m.weight(3, 5), m.weight(1), transA=1)), ((3, 8),)),
    Case("softmax_last", _op("Softmax", axis=-1), ((2, 7),), ALL),
    Case("softmax_channels", _op("Softmax", axis=1), opsets=(13, 21)),
    Case("softmax_flattened", _op("Softmax", axis=1), opsets=(9, 11)),
    Case("gather", lambda m: void(m.op("Gather", "x", m.ints(2, 0, -1), axis=1)), opsets=ALL),
    Case("gather_matrix", lambda m: void(m.op("Gather", "x", m.const([[0, 2], [5, 3]], "int64"), axis=3))),
    Case("gather_one", lambda m: void(m.op("Gather", "x", m.const(1, "int64"), axis=2))),
    Case("depth_to_space_dcr", _depth_to_space("DCR"), opsets=ALL),
    Case("depth_to_space_crd", _depth_to_space("CRD")),
    Case("space_to_depth", _pixel_unshuffle, ((1, 3, 8, 10),), ALL),
    Case("dropout", _op("Dropout"), opsets=ALL),
    Case("cast", _op("Cast", to=1), opsets=ALL),
    Case("flatten_gemm", _flatten_gemm, opsets=ALL),
    Case("gap_gemm", _gap_fc, opsets=ALL),
    Case("shape_arithmetic", _shape_arithmetic, opsets=ALL),
    Case("channel_shuffle", _shuffle),
    Case("focus", _focus, ((1, 3, 8, 12),), (11, 13, 21)),
    Case("squeeze_excite", _se, opsets=ALL),
    Case("yolo_head", _yolo_head, opsets=ALL),
    Case("attention", _attention, ((1, 6, 8),)),
    Case("nhwc_model", _nhwc_model, ((1, 8, 9, 3),)),
]  # fmt: skip
