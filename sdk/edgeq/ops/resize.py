"""Resize: nearest or linear in height and width of x (n,h,w,c)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op
from edgeq.ops.window import picture
from edgeq.runtime import numerics


class Resize(Op):
    """Positions are fixed at compile time; integers keep their scale."""

    name = "Resize"
    moves = True
    channelwise = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        n, _, _, c = picture(shapes[0])
        if min(attrs["size"]) < 1 or min(attrs["scales"]) <= 0:
            raise ValueError(
                f"size and scales must be positive, got {attrs['size']} and {attrs['scales']}"
            )
        return (n, attrs["size"][0], attrs["size"][1], c)

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x = xs[0]
        assert x is not None
        if attrs["mode"] == "nearest":
            ys, cols = nearest_tables(attrs, x.shape)
            return x[:, ys][:, :, cols]
        (y0, y1, wy), (x0, x1, wx) = linear_tables(attrs, x.shape)
        one = np.float32(1 << numerics.LERP_BITS)
        fy, fx = (
            (wy / one).astype(np.float32)[:, None, None],
            (wx / one).astype(np.float32)[:, None],
        )
        rows = x[:, y0] * (1 - fy) + x[:, y1] * fy
        return rows[:, :, x0] * (1 - fx) + rows[:, :, x1] * fx

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x = xs[0]
        assert x is not None
        if node.attrs["mode"] == "nearest":
            return Resize.real(node.attrs, xs)
        return numerics.lerp(x, *linear_tables(node.attrs, x.shape))


def nearest_tables(attrs: Attrs, shape: Shape) -> tuple[Array, Array]:
    """Source row of each output row, source column of each output column."""
    y, x = (
        numerics.nearest_axis(
            shape[1 + i],
            attrs["size"][i],
            attrs["scales"][i],
            attrs["coordinate"],
            attrs["nearest_mode"],
        )
        for i in range(2)
    )
    return y, x


def repetition(attrs: Attrs, shape: Shape) -> tuple[int, int] | None:
    """How often each row and each column of x appears, or None where they are not just repeated."""
    if attrs["mode"] != "nearest":
        return None
    size, (h, w) = attrs["size"], shape[1:3]
    fy, fx = size[0] // h, size[1] // w
    if (fy * h, fx * w) != tuple(size):
        return None
    ys, xs = nearest_tables(attrs, shape)
    plain = np.array_equal(ys, np.arange(size[0]) // fy) and np.array_equal(
        xs, np.arange(size[1]) // fx
    )
    return (fy, fx) if plain else None


def linear_tables(
    attrs: Attrs, shape: Shape
) -> tuple[tuple[Array, Array, Array], tuple[Array, Array, Array]]:
    """(i0, i1, w1) for rows and for columns."""
    y, x = (
        numerics.lerp_axis(shape[1 + i], attrs["size"][i], attrs["scales"][i], attrs["coordinate"])
        for i in range(2)
    )
    return y, x
