"""Softmax over the last axis."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, q_of
from edgeq.runtime import numerics


class Softmax(Op):
    """exp(x - max) / sum, by exact integer tables."""

    name = "Softmax"
    wide = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        assert shapes[0] is not None
        return shapes[0]

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x = xs[0]
        assert x is not None
        e = np.exp((x - x.max(axis=-1, keepdims=True)).astype(np.float64))
        y: Array = (e / e.sum(axis=-1, keepdims=True)).astype(np.float32)
        return y

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        assert xs[0] is not None
        qx, q = q_of(ins[0]), q_of(out)
        fine, coarse = numerics.exp_tables(float(qx.scale), wide=qx.dtype == "int16")
        inverse = 1.0 / np.float64(q.scale)
        return numerics.softmax(xs[0], fine, coarse, float(inverse), int(q.zero_point), q.lo, q.hi)
