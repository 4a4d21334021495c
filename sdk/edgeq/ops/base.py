"""What every op offers: a shape rule, a float law, an integer law, and where it may be per channel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from edgeq.graph.ir import Array, Node, QParams, Shape, Value
from edgeq.runtime.numerics import multiplier, quantize, requantize, requantize64

Attrs = Mapping[str, Any]


class Op:
    """A stateless operator. Subclasses are registered by name in `edgeq.ops.OPS`.

    `moves`: integers move unchanged, so output q equals input q.
    `channelwise`: inputs (by position) that may be quantized per channel on their last axis.
    `wide`: input positions that may be int16.
    """

    name: ClassVar[str]
    moves: ClassVar[bool] = False
    channelwise: ClassVar[tuple[int, ...]] = ()
    wide: ClassVar[tuple[int, ...]] = ()

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        """Return the output's shape. Raises ValueError with the broken rule."""
        raise NotImplementedError

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        """The float law: float32 arrays in (None = absent input), float32 array out."""
        raise NotImplementedError

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        """The integer law: integer arrays in, integers out (int32 array in the range of out.q.dtype)."""
        raise NotImplementedError


def q_of(value: Value | None) -> QParams:
    """The value's QParams; a quantized graph has them everywhere."""
    assert value is not None and value.q is not None, (
        f"value {value and value.name} is not quantized"
    )
    return value.q


def clamp_bounds(q: QParams, clip: tuple[float, float] | None) -> tuple[Array, Array]:
    """Integer clamp bounds of an output: the dtype's range cut by a fused clip of real bounds.

    Shapes follow q.scale: () or (C,); int32.
    """
    lo, hi = np.full(q.scale.shape, q.lo, np.int32), np.full(q.scale.shape, q.hi, np.int32)
    if clip is None:
        return lo, hi
    low, high = (
        quantize(np.full(q.scale.shape, b, np.float32), q.scale, q.zero_point, q.lo, q.hi)
        for b in clip
    )
    return np.maximum(lo, low), np.minimum(hi, high)


def clipped(x: Array, attrs: Attrs) -> Array:
    """Apply the fused `clip` of a float law."""
    clip = attrs.get("clip")
    return x if clip is None else np.clip(x, np.float32(clip[0]), np.float32(clip[1]))


def requantized(acc: Array, over: tuple[Array, ...], out: Value, attrs: Attrs) -> Array:
    """Bring an int32 accumulator to the output's integers: m[c] = prod(over) / s_y[c], RNE_F32."""
    q = q_of(out)
    if q.dtype == "int32":  # the accumulator itself, for a table function fused behind
        return acc
    lo, hi = clamp_bounds(q, attrs.get("clip"))
    return requantize(acc, multiplier(*over, under=(q.scale,)), q.zero_point, lo, hi)


def mean_requantized(total: Array, count: Array, qx: QParams, q: QParams) -> Array:
    """Bring a sum of (x - zx) over `count` elements to the output: ratio = s_x / s_y, m = ratio / count."""
    ratio = qx.scale.astype(np.float64) / q.scale.astype(np.float64)
    m = ratio / count.astype(np.float64)
    if qx.dtype == "int16":
        return requantize64(total, m, q.zero_point, q.lo, q.hi)
    return requantize(total, m.astype(np.float32), q.zero_point, q.lo, q.hi)
