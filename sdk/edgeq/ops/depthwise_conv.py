"""DepthwiseConv: each channel with its own window, x (n,h,w,c) * w (kh,kw,c) + bias (c,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, clipped, q_of, requantized
from edgeq.ops.window import picture, taps, window_size


class DepthwiseConv(Op):
    """Depthwise convolution; its input may have a scale and zero point per channel."""

    name = "DepthwiseConv"
    channelwise = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        n, h, w, c = picture(shapes[0])
        kh, kw, wc = picture(shapes[1], 3)
        if wc != c:
            raise ValueError(f"weights must have {c} channels, got {wc}")
        return (
            n,
            *window_size((h, w), (kh, kw), attrs["strides"], attrs["pads"], attrs["dilations"]),
            c,
        )

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        y = _correlate(x, w, attrs)
        return clipped(y if bias is None else y + bias, attrs)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        qx, qw = q_of(ins[0]), q_of(ins[1])
        acc = _correlate(x.astype(np.int64) - qx.zero_point, w.astype(np.int64), node.attrs)
        return requantized(
            acc + (0 if bias is None else bias), (qx.scale, qw.scale), out, node.attrs
        )


def _correlate(x: Array, w: Array, attrs: Attrs) -> Array:
    total: Array | int = 0
    for ky, kx, slab in taps(
        x, w.shape[:2], attrs["strides"], attrs["pads"], attrs["dilations"], 0
    ):
        total = total + slab * w[ky, kx]
    return np.asarray(total)
