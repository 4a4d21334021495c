"""Constant operands of elementwise ops and matrix products as integers."""

from __future__ import annotations

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Array, Node, QParams, Shape, Value, constant
from edgeq.quantizer import ranges
from edgeq.quantizer.ranges import bounded

EXACT = 127  # the integer that stands for a number with a scale of its own


def quantize_operand(node: Node, value: Value, out: Shape) -> Value:
    """Store a constant that `node` reads beside computed values.

    Single numbers, and one number per channel of the output, get a scale each and are exact. Other
    operands are int16 per tensor, or int8 for matrix products.
    """
    assert value.data is not None
    x = value.data.astype(np.float64)
    if not np.isfinite(x).all():
        raise QuantizeError(
            f"node {node.name} ({node.op}): constant {value.name} must be finite. Re-export it."
        )
    if node.op in ("MatMul", "Softmax"):
        scale, zero = ranges.affine8(min(x.min(), 0.0), max(x.max(), 0.0))
        return _stored(value.name, x, QParams(scale, zero))
    if x.size == 1 or (x.size == x.shape[-1] == out[-1]):
        most = np.abs(x).reshape(-1)
        scale = bounded(np.where(most > 0, most, float(EXACT)) / EXACT)
        return _stored(value.name, x, ranges.qparams(scale, np.zeros(len(scale), np.int32), "int8"))
    scale, zero = ranges.symmetric16(float(np.abs(x).max()))
    return _stored(value.name, x, QParams(scale, zero, "int16"))


def quantize_shared(value: Value, q: QParams) -> Value:
    """Store a constant on the scale of the values it is joined with."""
    assert value.data is not None
    return _stored(value.name, value.data.astype(np.float64), q)


def _stored(name: str, x: Array, q: QParams) -> Value:
    scaled = np.rint(x / q.scale.astype(np.float64)) + q.zero_point
    return constant(name, np.clip(scaled, q.lo, q.hi).astype(q.dtype), q)
