"""MatMul: two activations, a (..., M, K) @ b (..., K, N)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, clipped, q_of, requantized


class MatMul(Op):
    """Batched matrix product of two computed values; numpy broadcasting over the batch."""

    name = "MatMul"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        a, b = shapes[0], shapes[1]
        if a is None or b is None or min(len(a), len(b)) < 2 or a[-1] != b[-2]:
            raise ValueError(f"a (..., M, K) and b (..., K, N) must agree on K, got {a} and {b}")
        return (*np.broadcast_shapes(a[:-2], b[:-2]), a[-2], b[-1])

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        a, b = xs[0], xs[1]
        assert a is not None and b is not None
        return clipped(a @ b, attrs)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        a, b = xs[0], xs[1]
        assert a is not None and b is not None
        qa, qb = q_of(ins[0]), q_of(ins[1])
        acc = (a.astype(np.float64) - qa.zero_point) @ (b.astype(np.float64) - qb.zero_point)
        return requantized(acc.astype(np.int64), (qa.scale, qb.scale), out, node.attrs)
