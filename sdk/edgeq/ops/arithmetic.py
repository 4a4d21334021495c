"""Add, Sub, Mul, Div of two values with numpy broadcasting, and PRelu."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, clamp_bounds, clipped, q_of
from edgeq.runtime import numerics
from edgeq.runtime.numerics import multiplier


class _Binary(Op):
    channelwise = (0, 1)
    wide = (0, 1)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        if shapes[0] is None or shapes[1] is None:
            raise ValueError("two operands are needed")
        return tuple(int(d) for d in np.broadcast_shapes(shapes[0], shapes[1]))


class Add(_Binary):
    """a + b."""

    name = "Add"
    sign = 1.0

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        a, b = _two(xs)
        return clipped(a + b, attrs)

    @classmethod
    def integer(
        cls, node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        a, b = _two(xs)
        qa, qb, q = q_of(ins[0]), q_of(ins[1]), q_of(out)
        lo, hi = clamp_bounds(q, node.attrs.get("clip"))
        ra, rb = multiplier(qa.scale, under=(q.scale,)), multiplier(qb.scale, under=(q.scale,))
        rb = rb * np.float32(cls.sign)
        return numerics.add(a, b, ra, rb, qa.zero_point, qb.zero_point, q.zero_point, lo, hi)


class Sub(Add):
    """a - b."""

    name = "Sub"
    sign = -1.0

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        a, b = _two(xs)
        return clipped(a - b, attrs)


class Mul(_Binary):
    """a * b."""

    name = "Mul"

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        a, b = _two(xs)
        return clipped(a * b, attrs)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        a, b = _two(xs)
        qa, qb, q = q_of(ins[0]), q_of(ins[1]), q_of(out)
        lo, hi = clamp_bounds(q, node.attrs.get("clip"))
        r = multiplier(qa.scale, qb.scale, under=(q.scale,))
        return numerics.mul(a, b, r, qa.zero_point, qb.zero_point, q.zero_point, lo, hi)


class Div(_Binary):
    """a / b."""

    name = "Div"

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        a, b = _two(xs)
        return clipped(a / b, attrs)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        a, b = _two(xs)
        qa, qb, q = q_of(ins[0]), q_of(ins[1]), q_of(out)
        lo, hi = clamp_bounds(q, node.attrs.get("clip"))
        r = multiplier(qa.scale, under=(qb.scale, q.scale))
        return numerics.div(a, b, r, qa.zero_point, qb.zero_point, q.zero_point, lo, hi)


class PRelu(Op):
    """x where x >= 0, slope[c] * x elsewhere; slope is a float constant (c,) or ()."""

    name = "PRelu"
    channelwise = (0,)
    wide = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        x, slope = shapes[0], shapes[1]
        if x is None or slope is None or len(slope) > 1 or (slope and slope[0] not in (1, x[-1])):
            raise ValueError(
                f"slope must be () or (c,) with c the last axis of x, got {slope} and {x}"
            )
        return x

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x, slope = _two(xs)
        return np.where(x >= 0, x, x * slope)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x, slope = _two(xs)
        qx, q = q_of(ins[0]), q_of(out)
        rp, rn = (
            multiplier(qx.scale, under=(q.scale,)),
            multiplier(qx.scale, slope, under=(q.scale,)),
        )
        v = (x.astype(np.int32) - qx.zero_point).astype(np.float32)
        return numerics.rint_clamp(v * np.where(v < 0, rn, rp), q.zero_point, q.lo, q.hi)


def _two(xs: Sequence[Array | None]) -> tuple[Array, Array]:
    a, b = xs[0], xs[1]
    assert a is not None and b is not None
    return a, b
