"""ReduceMean: mean over some axes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, mean_requantized, q_of


class ReduceMean(Op):
    """Mean over `axes`; the input may be per channel when the last axis is kept."""

    name = "ReduceMean"
    channelwise = (0,)
    wide = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        x = shapes[0]
        assert x is not None
        axes = attrs["axes"]
        if not axes or list(axes) != sorted(set(axes)) or axes[0] < 0 or axes[-1] >= len(x):
            raise ValueError(
                f"axes must be sorted, distinct and within 0..{len(x) - 1}, got {axes}"
            )
        if attrs["keepdims"]:
            return tuple(1 if i in axes else d for i, d in enumerate(x))
        return tuple(d for i, d in enumerate(x) if i not in axes)

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        axes = tuple(attrs["axes"])
        y: Array = xs[0].mean(axis=axes, keepdims=attrs["keepdims"], dtype=np.float64)
        return y.astype(np.float32)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x = xs[0]
        assert x is not None
        axes = tuple(node.attrs["axes"])
        total = (x.astype(np.int64) - q_of(ins[0]).zero_point).sum(
            axis=axes, keepdims=node.attrs["keepdims"]
        )
        count = np.asarray(np.prod([x.shape[a] for a in axes]))
        return mean_requantized(total, count, q_of(ins[0]), q_of(out))
