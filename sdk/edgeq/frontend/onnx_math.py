"""ONNX arithmetic, activations, matrix products, Softmax and reductions as graph ops."""

from __future__ import annotations

import math

import numpy as np

from edgeq.frontend.importing import Call, Unsupported, onnx_op
from edgeq.passes.axes import broadcast_rank

INF = math.inf

UNARY = {
    "Abs": "Abs", "Erf": "Erf", "Exp": "Exp", "HardSwish": "HardSwish", "Log": "Log", "Mish": "Mish",
    "Neg": "Neg", "Reciprocal": "Reciprocal", "Relu": "Relu", "Sigmoid": "Sigmoid", "Softplus": "Softplus",
    "Sqrt": "Sqrt", "Tanh": "Tanh",
}  # fmt: skip
WITH_ALPHA = {"LeakyRelu": 0.01, "Elu": 1.0}


@onnx_op(*UNARY)
def unary(c: Call) -> str:
    return c.emit("Unary", [c.x()], {"kind": UNARY[c.op]}, last=True)


@onnx_op(*WITH_ALPHA)
def with_alpha(c: Call) -> str:
    alpha = float(c.attrs.get("alpha", WITH_ALPHA[c.op]))
    return c.emit("Unary", [c.x()], {"kind": c.op, "alpha": alpha}, last=True)


@onnx_op("HardSigmoid")
def hard_sigmoid(c: Call) -> str:
    alpha, beta = float(c.attrs.get("alpha", 0.2)), float(c.attrs.get("beta", 0.5))
    return c.emit(
        "Unary", [c.x()], {"kind": "HardSigmoid", "alpha": alpha, "beta": beta}, last=True
    )


@onnx_op("Gelu")
def gelu(c: Call) -> str:
    kind = "GeluTanh" if str(c.attrs.get("approximate", "none")) == "tanh" else "Gelu"
    return c.emit("Unary", [c.x()], {"kind": kind}, last=True)


@onnx_op("Swish")
def swish(c: Call) -> str:
    if float(c.attrs.get("alpha", 1.0)) != 1.0:
        raise Unsupported("alpha must be 1")
    return c.emit("Unary", [c.x()], {"kind": "Silu"}, last=True)


@onnx_op("Clip")
def clip(c: Call) -> str:
    lo, hi = c.scalar(1, "min", -INF), c.scalar(2, "max", INF)
    return clipped(c, c.x(), max(lo, -3.4e38) if lo > -3.4e38 else -INF, hi if hi < 3.4e38 else INF)


@onnx_op("Min", "Max")
def bound(c: Call) -> str:
    """Min and Max against numbers are a Clip."""
    if len(c.proto.input) == 1:
        return c.emit("Unary", [c.x()], {"kind": "Identity"}, last=True)
    given = [c.maybe(i) for i in range(len(c.proto.input))]
    computed = [i for i, v in enumerate(given) if v is None]
    numbers = [float(v.reshape(-1)[0]) for v in given if v is not None and v.size == 1]
    if len(computed) != 1 or len(numbers) != len(given) - 1:
        raise Unsupported("all inputs but one must be constant numbers")
    if any(v is not None and v.ndim > len(c.shape(computed[0])) for v in given):
        raise Unsupported("the constant must not have more axes than the input")
    x = c.x(computed[0])
    return clipped(c, x, -INF, min(numbers)) if c.op == "Min" else clipped(c, x, max(numbers), INF)


def clipped(c: Call, x: str, lo: float, hi: float) -> str:
    if lo != lo or hi != hi or lo > hi:
        raise Unsupported(f"the bounds must be ordered numbers, got {lo} and {hi}")
    if (lo, hi) == (0.0, INF):
        return c.emit("Unary", [x], {"kind": "Relu"}, last=True)
    return c.emit("Unary", [x], {"kind": "Clip", "lo": lo, "hi": hi}, last=True)


@onnx_op("PRelu")
def prelu(c: Call) -> str:
    shape, slope = c.shape(), c.weights(1, "the slope")
    if slope.size == 1:
        alpha = float(slope.reshape(-1)[0])
        return c.emit("Unary", [c.x()], {"kind": "LeakyRelu", "alpha": alpha}, last=True)
    full = broadcast_rank(slope.shape, len(shape))
    axis = int(np.argmax(full))
    if full[axis] != slope.size:
        raise Unsupported(f"the slope must vary along one axis, got {slope.shape}")
    weight = c.const_value(c.proto.input[1], slope.reshape(-1))
    if axis == len(shape) - 1:
        return c.emit("PRelu", [c.x(), weight], last=True)
    order = (*[i for i in range(len(shape)) if i != axis], axis)
    x = c.emit("Transpose", [c.x()], {"perm": order})
    y = c.emit("PRelu", [x, weight])
    return c.emit("Transpose", [y], {"perm": tuple(int(i) for i in np.argsort(order))}, last=True)


@onnx_op("Add", "Sub", "Mul", "Div")
def binary(c: Call) -> str:
    return c.emit(c.op, operands(c), last=True)


def operands(c: Call) -> list[str]:
    """Both operands; a computed one of lower rank gets leading axes of size 1."""
    if c.attrs.get("broadcast", 0):
        raise Unsupported("the broadcast attribute of opset 6 is not available")
    rank = max(len(c.shape(0)), len(c.shape(1)))
    found = []
    for i in range(2):
        x, shape = c.x(i), c.shape(i)
        if c.maybe(i) is None and len(shape) < rank:
            x = c.reshape(x, broadcast_rank(shape, rank))
        found.append(x)
    return found


@onnx_op("Sum", "Mean")
def total(c: Call) -> str:
    """A chain of Adds, and for Mean one Mul."""
    count = len(c.proto.input)
    if count == 1:
        return c.emit("Unary", [c.x()], {"kind": "Identity"}, last=True)
    y = c.x(0)
    for i in range(1, count):
        y = c.emit("Add", [y, c.x(i)], last=c.op == "Sum" and i == count - 1)
    if c.op == "Mean":
        y = c.emit("Mul", [y, c.const_value(f"{c.out}~count", 1 / count)], last=True)
    return y


@onnx_op("Pow")
def power(c: Call) -> str:
    exponent = c.scalar(1, "exponent", 1.0)
    kinds = {2.0: "Square", 0.5: "Sqrt", -1.0: "Reciprocal", 1.0: "Identity"}
    if exponent in kinds:
        return c.emit("Unary", [c.x()], {"kind": kinds[exponent]}, last=True)
    return c.emit("Unary", [c.x()], {"kind": "Pow", "exponent": exponent}, last=True)


@onnx_op("MatMul")
def matmul(c: Call) -> str:
    b = c.maybe(1)
    if b is not None and b.ndim == 2 and len(c.shape()) >= 2:
        weight = c.const_value(c.proto.input[1], c.weights(1, "the weight").T)
        return c.emit("FullyConnected", [c.x(), weight, ""], last=True)
    if min(len(c.shape(0)), len(c.shape(1))) < 2:
        raise Unsupported(f"operands must have 2 axes or more, got {c.shape(0)} and {c.shape(1)}")
    return c.emit("MatMul", [c.x(0), c.x(1)], last=True)


@onnx_op("Gemm")
def gemm(c: Call) -> str:
    alpha, beta = float(c.attrs.get("alpha", 1.0)), float(c.attrs.get("beta", 1.0))
    x = c.x()
    if c.attrs.get("transA", 0):
        x = c.emit("Transpose", [x], {"perm": (1, 0)})
    w = c.weights(1, "the weight") * alpha
    if w.ndim != 2:
        raise Unsupported(f"the weight must have 2 axes, got {w.shape}")
    w = w if c.attrs.get("transB", 0) else w.T
    weight = c.const_value(c.proto.input[1], w)
    if not c.has(2):
        return c.emit("FullyConnected", [x, weight, ""], last=True)
    bias = c.weights(2, "the bias") * beta
    if bias.ndim <= 1 or bias.shape[0] == 1:
        if bias.size not in (1, w.shape[0]):
            raise Unsupported(f"the bias must have {w.shape[0]} entries, got {bias.size}")
        flat = np.broadcast_to(bias.reshape(-1), (w.shape[0],))
        return c.emit(
            "FullyConnected", [x, weight, c.const_value(c.proto.input[2], flat)], last=True
        )
    y = c.emit("FullyConnected", [x, weight, ""])
    return c.emit("Add", [y, c.const_value(c.proto.input[2], bias)], last=True)


@onnx_op("Softmax")
def softmax(c: Call) -> str:
    """Over the last axis; opset < 13 flattens everything from `axis` on."""
    shape = c.shape()
    rank = len(shape)
    axis = c.axis(int(c.attrs.get("axis", -1 if c.opset >= 13 else 1)), rank)
    if axis == rank - 1:
        return c.emit("Softmax", [c.x()], last=True)
    if c.opset < 13:
        flat = (math.prod(shape[:axis]), math.prod(shape[axis:]))
        if any(d != 1 for d in shape[axis + 1 :]):
            return c.reshape(c.emit("Softmax", [c.reshape(c.x(), flat)]), shape, last=True)
    order = (*[i for i in range(rank) if i != axis], axis)
    y = c.emit("Softmax", [c.emit("Transpose", [c.x()], {"perm": order})])
    return c.emit("Transpose", [y], {"perm": tuple(int(i) for i in np.argsort(order))}, last=True)


@onnx_op("ReduceMean", "ReduceSum")
def reduce(c: Call) -> str:
    """ReduceMean; ReduceSum is the mean times the count."""
    shape = c.shape()
    axes = c.ints(1, "axes", "axes")
    if not axes:
        if c.attrs.get("noop_with_empty_axes", 0):
            return c.emit("Unary", [c.x()], {"kind": "Identity"}, last=True)
        axes = list(range(len(shape)))
    axes = sorted({c.axis(a, len(shape)) for a in axes})
    attrs = {"axes": tuple(axes), "keepdims": bool(c.attrs.get("keepdims", 1))}
    y = c.emit("ReduceMean", [c.x()], attrs, last=c.op == "ReduceMean")
    if c.op == "ReduceMean":
        return y
    count = math.prod(shape[a] for a in axes)
    return c.emit("Mul", [y, c.const_value(f"{c.out}~count", count)], last=True)


@onnx_op("LayerNormalization")
def layer_normalization(c: Call) -> str:
    """(x - mean) / sqrt(var + eps) * scale + shift, written out."""
    shape = c.shape()
    axis = c.axis(int(c.attrs.get("axis", -1)), len(shape))
    if len([o for o in c.proto.output if o]) > 1:
        raise Unsupported("the Mean and InvStdDev outputs are not available")
    axes = {"axes": tuple(range(axis, len(shape))), "keepdims": True}
    centred = c.emit("Sub", [c.x(), c.emit("ReduceMean", [c.x()], axes)])
    var = c.emit("ReduceMean", [c.emit("Unary", [centred], {"kind": "Square"})], axes)
    eps = float(c.attrs.get("epsilon", 1e-5))
    std = c.emit(
        "Unary", [c.emit("Add", [var, c.const_value(f"{c.out}~eps", eps)])], {"kind": "Sqrt"}
    )
    y = c.emit("Div", [centred, std])
    y = c.emit("Mul", [y, c.x(1)], last=not c.has(2))
    return c.emit("Add", [y, c.x(2)], last=True) if c.has(2) else y


@onnx_op("InstanceNormalization")
def instance_normalization(c: Call) -> str:
    shape = c.shape()
    axes = {"axes": tuple(range(2, len(shape))), "keepdims": True}
    side = (-1, *[1] * (len(shape) - 2))
    centred = c.emit("Sub", [c.x(), c.emit("ReduceMean", [c.x()], axes)])
    var = c.emit("ReduceMean", [c.emit("Unary", [centred], {"kind": "Square"})], axes)
    eps = float(c.attrs.get("epsilon", 1e-5))
    std = c.emit(
        "Unary", [c.emit("Add", [var, c.const_value(f"{c.out}~eps", eps)])], {"kind": "Sqrt"}
    )
    scale = c.const_value(c.proto.input[1], c.weights(1, "the scale").reshape(side))
    shift = c.const_value(c.proto.input[2], c.weights(2, "the shift").reshape(side))
    y = c.emit("Mul", [c.emit("Div", [centred, std]), scale])
    return c.emit("Add", [y, shift], last=True)
