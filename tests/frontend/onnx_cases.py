"""Small ONNX models, one or more per operator: the table that the reader and writer tests run over."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from tests.frontend.onnx_build import (
    Build,
    Model,
    attention,
    bare_bn,
    clipped,
    conv_bn,
    convolved,
    deconvolved,
    depth_to_space,
    flatten_gemm,
    focus,
    gap_fc,
    gelu,
    gelu_tanh,
    halves,
    hard_sigmoid,
    hard_swish,
    mish,
    nhwc_model,
    one,
    over_axes,
    pad_conv,
    pad_max,
    padded,
    pixel_unshuffle,
    pooled,
    residual_ranks,
    resize_to,
    resized,
    se,
    shape_arithmetic,
    shuffle,
    silu,
    sliced,
    void,
    yolo_head,
)

IMAGE = (1, 3, 9, 11)


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
        return dict(
            zip(
                ["x", "x2", "x3"],
                [np.abs(x) + 0.1 for x in xs] if self.positive else xs,
                strict=False,
            )
        )


ALL = (9, 11, 13, 17, 21)


CASES = [
    Case("conv", convolved(), opsets=ALL),
    Case("conv_no_bias_strided", convolved(bias=False, strides=[2, 1], pads=[1, 0, 2, 1]), opsets=ALL),
    Case("conv_dilated", convolved(dilations=[2, 3], pads=[2, 2, 2, 2])),
    Case("conv_same_upper", convolved(auto_pad="SAME_UPPER", strides=[2, 2])),
    Case("conv_same_lower", convolved(auto_pad="SAME_LOWER", strides=[2, 2]), ((1, 3, 8, 12),)),
    Case("conv_valid", convolved(auto_pad="VALID")),
    Case("conv_depthwise", convolved((3, 1, 3, 3), group=3, pads=[1, 1, 1, 1])),
    Case("conv_multiplier", convolved((6, 1, 3, 3), group=3)),
    Case("conv_grouped", convolved((6, 2, 3, 3), group=3), ((1, 6, 9, 9),)),
    Case("conv_1d", convolved((4, 3, 3), pads=[1, 1], strides=[2]), ((1, 3, 13),)),
    Case("conv_batch_2", convolved(), ((2, 3, 9, 11),)),
    Case("deconv", deconvolved(), opsets=ALL),
    Case("deconv_strided", deconvolved(strides=[2, 3], pads=[1, 0, 1, 1], output_padding=[1, 0])),
    Case("deconv_grouped", deconvolved((6, 2, 3, 3), group=3, strides=[2, 2]), ((1, 6, 5, 5),)),
    Case("deconv_same", deconvolved(strides=[2, 2], auto_pad="SAME_UPPER")),
    Case("deconv_output_shape", deconvolved(strides=[2, 2], output_shape=[18, 22])),
    Case("deconv_dilated", deconvolved(dilations=[2, 2])),
    Case("max_pool", pooled("MaxPool", strides=[2, 2]), opsets=ALL),
    Case("max_pool_ceil", pooled("MaxPool", strides=[2, 2], ceil_mode=1, kernel_shape=[2, 2]), opsets=(11, 21)),
    Case("max_pool_dilated", pooled("MaxPool", dilations=[2, 2], pads=[1, 1, 1, 1])),
    Case("max_pool_same", pooled("MaxPool", strides=[2, 2], auto_pad="SAME_UPPER")),
    Case("max_pool_1d", pooled("MaxPool", kernel_shape=[2], strides=[2]), ((1, 3, 12),)),
    Case("average_pool", pooled("AveragePool", pads=[1, 1, 1, 1]), opsets=ALL),
    Case("average_pool_count", pooled("AveragePool", pads=[1, 1, 1, 1], count_include_pad=1), opsets=ALL),
    Case("average_pool_ceil", pooled("AveragePool", strides=[2, 2], ceil_mode=1, kernel_shape=[2, 2])),
    Case(
        "average_pool_ceil_count",
        pooled("AveragePool", strides=[2, 2], ceil_mode=1, count_include_pad=1, pads=[1, 1, 0, 0]),
        ((1, 3, 8, 10),),
    ),
    Case("average_pool_whole", pooled("AveragePool", kernel_shape=[9, 11])),
    Case("global_average_pool", one("GlobalAveragePool"), opsets=ALL),
    Case("global_max_pool", one("GlobalMaxPool")),
    Case("conv_bn_relu", conv_bn, opsets=ALL),
    Case("bn_alone", bare_bn, opsets=ALL),
    Case("instance_norm", lambda m: void(m.op("InstanceNormalization", "x", m.weight(3), m.weight(3)))),
    Case(
        "layer_norm",
        lambda m: void(m.op("LayerNormalization", "x", m.weight(8), m.weight(8))),
        ((1, 5, 8),),
        (17, 21),
    ),
    Case("resize_nearest", resized("nearest", "asymmetric", (2, 2), nearest_mode="floor"), opsets=(9, 10, *ALL[1:])),
    Case("resize_linear", resized("linear", "half_pixel", (2, 2)), opsets=ALL[1:]),
    Case("upsample_linear", resized("linear", "asymmetric", (2, 2)), opsets=(9,)),
    Case("resize_pytorch", resized("linear", "pytorch_half_pixel", (4, 2))),
    Case("resize_corners", resize_to, tolerance=2e-3),
    Case("resize_nearest_half", resized("nearest", "half_pixel", (2, 3), nearest_mode="round_prefer_ceil")),
    *[
        Case(k.lower(), one(k), opsets=ALL)
        for k in ("Relu", "Sigmoid", "Tanh", "Exp", "Abs", "Neg", "Softplus", "Erf", "Identity")
    ],
    *[Case(k.lower(), one(k), opsets=(9, 21), positive=True) for k in ("Log", "Sqrt", "Reciprocal")],
    Case("leaky_relu", one("LeakyRelu", alpha=0.2), opsets=ALL),
    Case("elu", one("Elu", alpha=0.7)),
    Case("hard_sigmoid_op", one("HardSigmoid", alpha=0.3, beta=0.4)),
    Case("hard_swish_op", one("HardSwish"), opsets=(14, 21)),
    Case("mish_op", one("Mish"), opsets=(18, 21)),
    Case("gelu_op", one("Gelu"), opsets=(20, 21)),
    Case("gelu_op_tanh", one("Gelu", approximate="tanh"), opsets=(20, 21)),
    Case("prelu", lambda m: void(m.op("PRelu", "x", m.weight(3, 1, 1))), opsets=ALL),
    Case("prelu_scalar", lambda m: void(m.op("PRelu", "x", m.weight(1)))),
    Case("prelu_last", lambda m: void(m.op("PRelu", "x", m.weight(8))), ((2, 8),)),
    Case("clip", lambda m: void(clipped(m, "x", -1.0, 1.5)), opsets=ALL),
    Case("relu6", lambda m: void(clipped(m, m.op("Conv", "x", m.weight(4, 3, 3, 3)), 0.0, 6.0)), opsets=ALL),
    Case("min_max", lambda m: void(m.op("Max", m.op("Min", "x", m.const(1.0)), m.const(-0.5)))),
    Case("silu", silu, opsets=ALL),
    *[Case(f"hard_swish_{k}", hard_swish(k), opsets=ALL) for k in range(4)],
    Case("hard_sigmoid_pieces", hard_sigmoid, opsets=ALL),
    Case("gelu_pieces", gelu, opsets=ALL),
    Case("gelu_tanh_pieces", gelu_tanh),
    Case("mish_pieces", mish, opsets=ALL),
    *[
        Case(f"{k.lower()}_two", lambda m, k=k: void(m.op(k, "x", "x2")), (IMAGE, (1, 3, 1, 1)), ALL, True)
        for k in ("Add", "Sub", "Mul", "Div")
    ],
    *[Case(f"{k.lower()}_const", lambda m, k=k: void(m.op(k, "x", m.weight(3, 1, 1)))) for k in ("Add", "Sub", "Mul", "Div")],
    *[Case(f"{k.lower()}_from", lambda m, k=k: void(m.op(k, m.const(2.0), "x")), positive=True) for k in ("Sub", "Div")],
    Case("broadcast_ranks", residual_ranks),
    Case("add_row", lambda m: void(m.op("Add", m.op("Conv", "x", m.weight(4, 3, 1, 1)), "x2")), (IMAGE, (11,))),
    Case("pow_2", lambda m: void(m.op("Pow", "x", m.const(2.0))), opsets=ALL),
    Case("pow_1_5", lambda m: void(m.op("Pow", "x", m.const(1.5))), positive=True),
    Case("sum", lambda m: void(m.op("Sum", "x", "x2", "x3")), (IMAGE,) * 3),
    Case("mean", lambda m: void(m.op("Mean", "x", "x2", "x3")), (IMAGE,) * 3),
    Case("concat", lambda m: void(m.op("Concat", "x", "x2", axis=-3)), (IMAGE, (1, 5, 9, 11)), ALL),
    Case("split", halves, opsets=ALL),
    Case("split_even", lambda m: void(m.op("Split", "x", axis=2, outputs=3)), opsets=(9, 11, 13)),
    Case("slice", lambda m: sliced(m, [1, -3], [100, -1], [2, 3], [1, 1]), opsets=ALL),
    Case("slice_steps", lambda m: sliced(m, [8, 0], [-100, 11], [2, 3], [-2, 3]), opsets=(10, 11, 21)),
    Case("reshape", lambda m: void(m.op("Reshape", "x", m.ints(0, -1, 11))), opsets=ALL),
    Case("transpose", one("Transpose", perm=[0, 2, 1, 3]), opsets=ALL),
    Case("flatten", one("Flatten", axis=2), opsets=ALL),
    Case("squeeze", lambda m: void(over_axes(m, "Squeeze", "x", [0])), opsets=ALL),
    Case("unsqueeze", lambda m: void(over_axes(m, "Unsqueeze", "x", [0, 3])), opsets=ALL),
    Case("expand", lambda m: void(m.op("Expand", "x", m.ints(2, 1, 9, 11)))),
    Case("tile", lambda m: void(m.op("Tile", "x", m.ints(1, 2, 1, 1)))),
    Case("pad", lambda m: void(padded(m, "x", [0, 1, 2, 3, 0, 0, 1, 0], 1.5)), opsets=ALL),
    Case("pad_negative", lambda m: void(padded(m, "x", [0, 0, -1, 0, 0, 0, 0, -2]))),
    Case("pad_conv", pad_conv, opsets=ALL),
    Case("pad_max_pool", pad_max),
    Case("reduce_mean", lambda m: void(over_axes(m, "ReduceMean", "x", [2, 3], 18)), opsets=(*ALL, 18)),
    Case("reduce_mean_flat", lambda m: void(over_axes(m, "ReduceMean", "x", [-1, 1], 18, keepdims=0)), opsets=(*ALL, 18)),
    Case("reduce_sum", lambda m: void(over_axes(m, "ReduceSum", "x", [2], 13))),
    Case("matmul_weight", lambda m: void(m.op("MatMul", "x", m.weight(8, 5))), ((2, 3, 8),), ALL),
    Case("matmul", lambda m: void(m.op("MatMul", "x", "x2")), ((2, 3, 4, 5), (2, 3, 5, 6)), ALL),
    Case("gemm", lambda m: void(m.op("Gemm", "x", m.weight(8, 5), m.weight(5))), ((3, 8),), ALL),
    Case("gemm_trans_a", lambda m: void(m.op("Gemm", "x", m.weight(3, 5), m.weight(1), transA=1)), ((3, 8),)),
    Case("softmax_last", one("Softmax", axis=-1), ((2, 7),), ALL),
    Case("softmax_channels", one("Softmax", axis=1), opsets=(13, 21)),
    Case("softmax_flattened", one("Softmax", axis=1), opsets=(9, 11)),
    Case("gather", lambda m: void(m.op("Gather", "x", m.ints(2, 0, -1), axis=1)), opsets=ALL),
    Case("gather_matrix", lambda m: void(m.op("Gather", "x", m.const([[0, 2], [5, 3]], "int64"), axis=3))),
    Case("gather_one", lambda m: void(m.op("Gather", "x", m.const(1, "int64"), axis=2))),
    Case("depth_to_space_dcr", depth_to_space("DCR"), opsets=ALL),
    Case("depth_to_space_crd", depth_to_space("CRD")),
    Case("space_to_depth", pixel_unshuffle, ((1, 3, 8, 10),), ALL),
    Case("dropout", one("Dropout"), opsets=ALL),
    Case("cast", one("Cast", to=1), opsets=ALL),
    Case("flatten_gemm", flatten_gemm, opsets=ALL),
    Case("gap_gemm", gap_fc, opsets=ALL),
    Case("shape_arithmetic", shape_arithmetic, opsets=ALL),
    Case("channel_shuffle", shuffle),
    Case("focus", focus, ((1, 3, 8, 12),), (11, 13, 21)),
    Case("squeeze_excite", se, opsets=ALL),
    Case("yolo_head", yolo_head, opsets=ALL),
    Case("attention", attention, ((1, 6, 8),)),
    Case("nhwc_model", nhwc_model, ((1, 8, 9, 3),)),
]  # fmt: skip
