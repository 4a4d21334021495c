"""What one QuantizeLinear or DequantizeLinear node says: scale, zero point, type and axis, all checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import DTypeLike
from onnx import helper

from edgeq.errors import ModelError
from edgeq.graph.ir import RANGES, Array, QParams

# stored type: our type, and what to take off its integers
TYPES = {
    "int8": ("int8", 0), "uint8": ("int8", 128), "int16": ("int16", 0), "uint16": ("int16", 32768),
    "int4": ("int4", 0), "uint4": ("int4", 8), "int32": ("int32", 0),
}  # fmt: skip


def qparams_of(
    where: str,
    node: onnx.NodeProto,
    attrs: Mapping[str, Any],
    constants: Mapping[str, Array],
    given: str,
) -> tuple[QParams, str]:
    """What a Q or DQ node says, in our types; `given` is the type where no zero point says it."""
    scale = _number(where, node, constants, 1, "scale")
    zero = _number(where, node, constants, 2, "zero point") if _has(node, 2) else None
    if scale.dtype.kind not in "fV" or scale.ndim > 1 or scale.size == 0:
        raise ModelError(
            f"{where}: the scale must be a float or a row of them, got {scale.dtype} {scale.shape}. "
            "Quantize the model again."
        )
    scale = scale.astype(np.float32)
    if not (np.isfinite(scale) & (scale > 0)).all():
        bad = scale[~(np.isfinite(scale) & (scale > 0))].reshape(-1)[0]
        raise ModelError(
            f"{where}: every scale must be a positive number, got {bad}. Quantize the model again."
        )
    kind = str(zero.dtype) if zero is not None else given
    if not kind:
        wanted = attrs.get("output_dtype", 0) or onnx.TensorProto.UINT8
        kind = str(helper.tensor_dtype_to_np_dtype(int(wanted)))
    if kind not in TYPES:
        raise ModelError(
            f"{where}: the zero point must be one of {', '.join(TYPES)}, got {kind}. Quantize the model again."
        )
    dtype, shift = TYPES[kind]
    offset = np.zeros(scale.shape, np.int64) if zero is None else zero.astype(np.int64)
    if offset.size != scale.size:
        raise ModelError(
            f"{where}: there must be as many zero points as scales, got {offset.size} and {scale.size}. "
            "Quantize the model again."
        )
    offset = (offset.reshape(scale.shape) - shift).astype(np.int32)
    assert RANGES[dtype][0] <= offset.min() and offset.max() <= RANGES[dtype][1]
    if scale.size == 1:
        return QParams(scale.reshape(()), offset.reshape(()), dtype), kind
    return QParams(scale, offset, dtype, int(attrs.get("axis", 1))), kind


def spread(where: str, q: QParams, data: Array) -> tuple[Array, Array]:
    """Scale and zero point in shapes that broadcast over the data."""
    if not q.per_channel:
        return q.scale, q.zero_point
    check_axis(where, q, data.shape)
    side = [1] * data.ndim
    side[q.axis] = -1
    return q.scale.reshape(side), q.zero_point.reshape(side)


def check_axis(where: str, q: QParams, shape: tuple[int, ...]) -> None:
    """Raise ModelError unless a row of scales fits its axis."""
    if not -len(shape) <= q.axis < len(shape):
        raise ModelError(
            f"{where}: the axis must be within -{len(shape)}..{len(shape) - 1}, got {q.axis}. "
            "Quantize the model again."
        )
    if len(q.scale) != shape[q.axis]:
        raise ModelError(
            f"{where}: there must be {shape[q.axis]} scales along axis {q.axis} of {shape}, got {len(q.scale)}. "
            "Quantize the model again."
        )


def numpy_type(kind: str) -> DTypeLike:
    """The array type of an ONNX integer type, also of int4."""
    return helper.tensor_dtype_to_np_dtype(onnx.TensorProto.DataType.Value(kind.upper()))


def _number(
    where: str, node: onnx.NodeProto, constants: Mapping[str, Array], i: int, what: str
) -> Array:
    found = constants.get(node.input[i]) if _has(node, i) else None
    if found is None:
        raise ModelError(
            f"{where}: the {what} must be constant, it is computed or missing. Export the model again."
        )
    return found


def _has(node: onnx.NodeProto, i: int) -> bool:
    return i < len(node.input) and bool(node.input[i])
