"""MaxPool and AvgPool over windows of x (n,h,w,c)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, mean_requantized, q_of
from edgeq.ops.window import picture, taps, window_size


class _Pool(Op):
    channelwise = (0,)
    wide = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        n, h, w, c = picture(shapes[0])
        return (
            n,
            *window_size(
                (h, w),
                attrs["kernel"],
                attrs["strides"],
                attrs["pads"],
                attrs.get("dilations", (1, 1)),
            ),
            c,
        )


class MaxPool(_Pool):
    """Largest valid value of each window; integers move."""

    name = "MaxPool"
    moves = True

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        return _max(xs[0], attrs, -np.inf)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        assert xs[0] is not None
        return _max(xs[0], node.attrs, q_of(out).lo)


class AvgPool(_Pool):
    """Mean of each window, over valid pixels or over the whole window."""

    name = "AvgPool"

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        total, count = _sum(xs[0], attrs)
        return (total / count).astype(np.float32)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        assert xs[0] is not None
        total, count = _sum(xs[0].astype(np.int64) - q_of(ins[0]).zero_point, node.attrs)
        return mean_requantized(total, count, q_of(ins[0]), q_of(out))


def _max(x: Array, attrs: Attrs, least: float) -> Array:
    best: Array | None = None
    for _, _, slab in taps(
        x, attrs["kernel"], attrs["strides"], attrs["pads"], attrs.get("dilations", (1, 1)), least
    ):
        best = slab if best is None else np.maximum(best, slab)
    assert best is not None
    return best


def _sum(x: Array, attrs: Attrs) -> tuple[Array, Array]:
    """Window sums (n,oh,ow,c) and how many pixels each is divided by (1,oh,ow,1)."""
    args = attrs["kernel"], attrs["strides"], attrs["pads"], (1, 1)
    total = sum(slab for _, _, slab in taps(x, *args, 0))
    if attrs["count_include_pad"]:
        return np.asarray(total), np.full((1, 1, 1, 1), attrs["kernel"][0] * attrs["kernel"][1])
    inside = np.ones((1, *x.shape[1:3], 1), np.int64)
    return np.asarray(total), np.asarray(sum(slab for _, _, slab in taps(inside, *args, 0)))
