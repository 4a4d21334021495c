"""ONNX convolutions, pools, Resize and normalisation as graph ops."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeq.frontend.importing import Call, Unsupported, onnx_op
from edgeq.graph.ir import Array, Shape

Quad = tuple[int, int, int, int]


@onnx_op("Conv")
def conv(c: Call) -> str:
    """Conv with 1 or 2 spatial axes; 1-D runs as a picture of height 1."""
    x, shape = c.x(), c.shape()
    w = c.weights(1, "the weight")
    bias = [c.const_value(c.proto.input[2], c.weights(2, "the bias"))] if c.has(2) else [""]
    flat = _picture_rank(len(shape), w.ndim)
    if flat:
        shape, w = (*shape[:2], 1, shape[2]), w[:, :, None]
        x = c.reshape(x, shape)
    if w.shape[0] * w.size == 0:
        raise Unsupported(f"the weight must not be empty, got {w.shape}")
    group = int(c.attrs.get("group", 1))
    strides, dilations = _pair(c, "strides", flat), _pair(c, "dilations", flat)
    attrs = {
        "strides": strides,
        "pads": _pads(c, shape, w.shape[2:], strides, dilations, flat),
        "dilations": dilations,
    }
    name = c.proto.input[1]
    if group > 1 and group == shape[1] == w.shape[0] and w.shape[1] == 1:
        weight = c.const_value(name, w[:, 0].transpose(1, 2, 0))
        y = c.layer("DepthwiseConv", [x, weight, *bias], attrs, last=not flat)
    else:
        weight = c.const_value(name, w.transpose(0, 2, 3, 1))
        y = c.layer("Conv", [x, weight, *bias], {**attrs, "group": group}, last=not flat)
    return _flattened(c, y) if flat else y


@onnx_op("ConvTranspose")
def conv_transpose(c: Call) -> str:
    """ConvTranspose; auto_pad and output_shape become pads, per the ONNX formula."""
    x, shape = c.x(), c.shape()
    w = c.weights(1, "the weight")  # (ic, oc/g, kh, kw)
    bias = [c.const_value(c.proto.input[2], c.weights(2, "the bias"))] if c.has(2) else [""]
    flat = _picture_rank(len(shape), w.ndim)
    if flat:
        shape, w = (*shape[:2], 1, shape[2]), w[:, :, None]
        x = c.reshape(x, shape)
    group = int(c.attrs.get("group", 1))
    if group < 1 or w.shape[0] % group or w.size == 0:
        raise Unsupported(f"group {group} must divide the weight's {w.shape[0]} input channels")
    strides, dilations = _pair(c, "strides", flat), _pair(c, "dilations", flat)
    extra = _pair(c, "output_padding", flat, default=0)
    ic, ocg, kh, kw = w.shape
    w = w.reshape(group, ic // group, ocg, kh, kw).transpose(0, 2, 3, 4, 1)
    weight = c.const_value(c.proto.input[1], w.reshape(group * ocg, kh, kw, ic // group))
    pads = _transposed_pads(c, shape, (kh, kw), strides, dilations, extra, flat)
    attrs = {
        "strides": strides,
        "pads": pads,
        "output_padding": extra,
        "dilations": dilations,
        "group": group,
    }
    y = c.layer("ConvTranspose", [x, weight, *bias], attrs, last=not flat)
    return _flattened(c, y) if flat else y


@onnx_op("MaxPool", "AveragePool")
def pool(c: Call) -> str:
    """MaxPool and AveragePool; ceil_mode becomes padding at the bottom and right."""
    x, shape = c.x(), c.shape()
    kernel = [int(k) for k in c.attrs.get("kernel_shape", ())]
    flat = _picture_rank(len(shape), len(kernel) + 2)
    if len(c.proto.output) > 1 and c.proto.output[1]:
        raise Unsupported("the Indices output is not available")
    if flat:
        shape, kernel = (*shape[:2], 1, shape[2]), [1, *kernel]
        x = c.reshape(x, shape)
    strides, dilations = _pair(c, "strides", flat), _pair(c, "dilations", flat)
    pads = _pads(c, shape, kernel, strides, dilations, flat)
    extra = (0, 0)
    if c.attrs.get("ceil_mode", 0):
        extra = _ceil_padding(shape[2:], kernel, strides, pads, dilations)
    if any(p >= dilations[i % 2] * (kernel[i % 2] - 1) + 1 for i, p in enumerate(pads)):
        raise Unsupported(f"pads {pads} must be smaller than the kernel {tuple(kernel)}")
    wide = (pads[0], pads[1], pads[2] + extra[0], pads[3] + extra[1])
    attrs = {"kernel": tuple(kernel), "strides": strides, "pads": wide}
    if c.op == "MaxPool":
        y = c.layer("MaxPool", [x], {**attrs, "dilations": dilations}, last=not flat)
        return _flattened(c, y) if flat else y
    if dilations != (1, 1):
        raise Unsupported(f"dilations must be 1, got {dilations}")
    count = bool(c.attrs.get("count_include_pad", 0)) and any(pads)
    if count and any(extra):  # real zeros are counted, the extra rows of ceil_mode never are
        edge = ((0, 0), (0, 0), (pads[0], pads[2]), (pads[1], pads[3]))
        x = c.emit("Pad", [x], {"pads": edge, "mode": "constant", "value": 0.0})
        attrs["pads"], count = (0, 0, *extra), False
    y = c.layer("AvgPool", [x], {**attrs, "count_include_pad": count}, last=not flat)
    return _flattened(c, y) if flat else y


@onnx_op("GlobalAveragePool")
def global_average_pool(c: Call) -> str:
    axes = tuple(range(2, len(c.shape())))
    return c.emit("ReduceMean", [c.x()], {"axes": axes, "keepdims": True}, last=True)


@onnx_op("GlobalMaxPool")
def global_max_pool(c: Call) -> str:
    shape = c.shape()
    if len(shape) != 4:
        raise Unsupported(f"the input must have 4 axes, got {shape}")
    attrs = {"kernel": shape[2:], "strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    return c.layer("MaxPool", [c.x()], attrs)


@onnx_op("BatchNormalization")
def batch_normalization(c: Call) -> str:
    """y = x * k + d per channel; the passes fold both into the convolution before."""
    if c.attrs.get("training_mode", 0) or (
        c.opset < 14 and len([o for o in c.proto.output if o]) > 1
    ):
        raise Unsupported("training mode is not inference. Export the model in eval mode")
    scale, shift, mean, var = (
        c.weights(i, what).astype(np.float64)
        for i, what in ((1, "the scale"), (2, "the shift"), (3, "the mean"), (4, "the variance"))
    )
    with np.errstate(all="ignore"):  # the reader refuses what is not finite
        k = scale / np.sqrt(var + float(c.attrs.get("epsilon", 1e-5)))
    side = (-1, *[1] * (len(c.shape()) - 2))
    factor = c.const_value(c.proto.input[1], k.reshape(side))
    offset = c.const_value(c.proto.input[2], (shift - mean * k).reshape(side))
    return c.emit("Add", [c.emit("Mul", [c.x(), factor]), offset], last=True)


@onnx_op("Resize", "Upsample")
def resize(c: Call) -> str:
    """Resize and Upsample over height and width."""
    shape = c.shape()
    if len(shape) != 4:
        raise Unsupported(f"the input must have 4 axes, got {shape}")
    mode = str(c.attrs.get("mode", "nearest"))
    if mode not in ("nearest", "linear"):
        raise Unsupported(f"mode must be nearest or linear, got {mode}")
    if c.attrs.get("antialias", 0):
        raise Unsupported("antialias is not available")
    old = c.op == "Upsample" or c.opset < 11
    coordinate = (
        "asymmetric" if old else str(c.attrs.get("coordinate_transformation_mode", "half_pixel"))
    )
    if coordinate not in ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"):
        raise Unsupported(f"coordinate_transformation_mode {coordinate} is not available")
    scales, size = _resize_target(c, shape, old)
    attrs = {
        "mode": mode,
        "coordinate": coordinate,
        "nearest_mode": "floor" if old else str(c.attrs.get("nearest_mode", "round_prefer_floor")),
        "scales": scales,
        "size": size,
    }
    return c.layer("Resize", [c.x()], attrs)


def _resize_target(c: Call, shape: Shape, old: bool) -> tuple[tuple[float, float], tuple[int, int]]:
    rank = len(shape)
    axes = [c.axis(a, rank) for a in c.attrs.get("axes", range(rank))]
    at = 1 if old else 2
    scales: Array | None = np.asarray(c.attrs["scales"]) if "scales" in c.attrs else None
    if scales is None and c.has(at):
        scales = c.const(at, "scales")
    full = [1.0] * rank
    if scales is not None and scales.size:
        given = [float(s) for s in scales.reshape(-1)]
        if len(given) != len(axes) or min(given) <= 0 or not all(map(math.isfinite, given)):
            raise Unsupported(f"scales must be {len(axes)} positive numbers, got {given}")
        for a, s in zip(axes, given, strict=True):
            full[a] = s
        sizes = [math.floor(d * s) for d, s in zip(shape, full, strict=True)]
    else:
        if not c.has(3):
            raise Unsupported("scales or sizes must be given")
        if str(c.attrs.get("keep_aspect_ratio_policy", "stretch")) != "stretch":
            raise Unsupported("keep_aspect_ratio_policy must be stretch")
        sizes = list(shape)
        for a, s in zip(axes, c.const(3, "sizes").reshape(-1), strict=True):
            sizes[a] = int(s)
        full = [s / d for s, d in zip(sizes, shape, strict=True)]
    if tuple(sizes[:2]) != tuple(shape[:2]):
        raise Unsupported(f"only height and width can change, got {shape} to {tuple(sizes)}")
    # ONNX holds scales in float32
    return (float(np.float32(full[2])), float(np.float32(full[3]))), (sizes[2], sizes[3])


def _picture_rank(rank: int, other: int) -> bool:
    """True for one spatial axis, False for two; anything else is unsupported."""
    if rank not in (3, 4) or other != rank:
        raise Unsupported(f"1 or 2 spatial axes are needed, got an input with {rank} axes")
    return rank == 3


def _flattened(c: Call, y: str) -> str:
    n, ch, _, w = c.scope.builder.shape(y)
    return c.reshape(y, (n, ch, w), last=True)


def _pair(c: Call, attr: str, flat: bool, default: int = 1) -> tuple[int, int]:
    given = [int(v) for v in c.attrs.get(attr, ())] or [default] * (1 if flat else 2)
    if len(given) != (1 if flat else 2):
        raise Unsupported(f"{attr} must have {1 if flat else 2} entries, got {given}")
    return (default, given[0]) if flat else (given[0], given[1])


def _four(given: Sequence[int], flat: bool) -> Quad:
    p = [int(v) for v in given]
    if flat and len(p) == 2:
        p = [0, p[0], 0, p[1]]
    if len(p) != 4 or min(p) < 0:
        raise Unsupported(
            f"pads must be two non-negative numbers per spatial axis, got {list(given)}"
        )
    return p[0], p[1], p[2], p[3]


def _pads(
    c: Call,
    shape: Shape,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    flat: bool,
) -> Quad:
    """Pads as (top, left, bottom, right); SAME pads so that the output is ceil(size / stride)."""
    auto = str(c.attrs.get("auto_pad", "NOTSET"))
    if auto in ("NOTSET", ""):
        return _four(c.attrs.get("pads", [0] * (2 if flat else 4)), flat)
    if auto == "VALID":
        return 0, 0, 0, 0
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise Unsupported(f"auto_pad {auto} is not available")
    before, after = [0, 0], [0, 0]
    for i in range(2):
        size = shape[2 + i]
        total = (
            (-(-size // strides[i]) - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - size
        )
        small, large = max(total, 0) // 2, max(total, 0) - max(total, 0) // 2
        before[i], after[i] = (small, large) if auto == "SAME_UPPER" else (large, small)
    return before[0], before[1], after[0], after[1]


def _transposed_pads(
    c: Call,
    shape: Shape,
    kernel: Sequence[int],
    strides: Sequence[int],
    dilations: Sequence[int],
    extra: Sequence[int],
    flat: bool,
) -> Quad:
    auto = str(c.attrs.get("auto_pad", "NOTSET"))
    wanted = [int(v) for v in c.attrs.get("output_shape", ())]
    if not wanted and auto in ("NOTSET", "", "VALID"):
        return _four(
            c.attrs.get("pads", [0] * (2 if flat else 4)) if auto != "VALID" else [0] * 4, flat
        )
    if not wanted:
        wanted = [shape[2 + i] * strides[i] for i in range(2)]
    wanted = [1, *wanted] if len(wanted) == 1 else wanted[-2:]
    before, after = [0, 0], [0, 0]
    for i in range(2):
        natural = strides[i] * (shape[2 + i] - 1) + extra[i] + (kernel[i] - 1) * dilations[i] + 1
        total = natural - wanted[i]
        if total < 0:
            raise Unsupported(f"output_shape {wanted} is larger than the kernel reaches")
        small, large = total // 2, total - total // 2
        before[i], after[i] = (small, large) if auto == "SAME_UPPER" else (large, small)
    return before[0], before[1], after[0], after[1]


def _ceil_padding(
    hw: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
    pads: Quad,
    dilations: Sequence[int],
) -> tuple[int, int]:
    """Rows and columns to add so that the rounded-up window fits; a window starting outside is dropped."""
    extra = [0, 0]
    for i in range(2):
        reach = dilations[i] * (kernel[i] - 1) + 1
        room = hw[i] + pads[i] + pads[i + 2] - reach
        out = -(-room // strides[i]) + 1
        if (out - 1) * strides[i] >= hw[i] + pads[i]:
            out -= 1
        extra[i] = max(0, (out - 1) * strides[i] - room)
    return extra[0], extra[1]
