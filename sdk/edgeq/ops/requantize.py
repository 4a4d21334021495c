"""Requantize: the same reals on another scale."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, q_of
from edgeq.runtime.numerics import multiplier, requantize


class Requantize(Op):
    """y = clamp(rint(f32(x - zx) * (s_x / s_y)) + zy)."""

    name = "Requantize"
    channelwise = (0,)
    wide = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        assert shapes[0] is not None
        return shapes[0]

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        return xs[0]

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        assert xs[0] is not None
        qx, q = q_of(ins[0]), q_of(out)
        return requantize(
            xs[0].astype(np.int32) - qx.zero_point,
            multiplier(qx.scale, under=(q.scale,)),
            q.zero_point,
            q.lo,
            q.hi,
        )
