"""FullyConnected: x (..., k) @ w (n,k).T + bias (n,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, clipped, q_of, requantized


class FullyConnected(Op):
    """Matrix product with constant weights."""

    name = "FullyConnected"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        x, w = shapes[0], shapes[1]
        if x is None or w is None or len(w) != 2 or not x or x[-1] != w[1]:
            raise ValueError(f"x (..., k) and w (n, k) must agree on k, got {x} and {w}")
        return (*x[:-1], w[0])

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        y = x @ w.T
        return clipped(y if bias is None else y + bias, attrs)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        qx, qw = q_of(ins[0]), q_of(ins[1])
        acc = ((x.astype(np.float64) - qx.zero_point) @ w.astype(np.float64).T).astype(np.int64)
        return requantized(
            acc + (0 if bias is None else bias), (qx.scale, qw.scale), out, node.attrs
        )
