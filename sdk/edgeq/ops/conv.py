"""Conv: x (n,h,w,ic) * w (oc,kh,kw,ic/group) + bias (oc,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, clipped, q_of, requantized
from edgeq.ops.window import picture, taps, window_size


class Conv(Op):
    """2-D convolution, grouped, dilated, with asymmetric padding."""

    name = "Conv"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        n, h, w, ic = picture(shapes[0])
        oc, kh, kw, icg = picture(shapes[1])
        group = attrs["group"]
        if icg * group != ic or oc % group:
            raise ValueError(
                f"group {group} must divide {oc} outputs and take {ic} inputs as {group} x {icg}"
            )
        return (
            n,
            *window_size((h, w), (kh, kw), attrs["strides"], attrs["pads"], attrs["dilations"]),
            oc,
        )

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        y = correlate(x, w, attrs, 0.0)
        return clipped(y if bias is None else y + bias, attrs)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        qx, qw = q_of(ins[0]), q_of(ins[1])
        # float64 products and sums of integers below 2**53 are exact
        acc = correlate(x.astype(np.float64) - qx.zero_point, w.astype(np.float64), node.attrs, 0.0)
        acc = acc.astype(np.int64) + (0 if bias is None else bias)
        return requantized(acc, (qx.scale, qw.scale), out, node.attrs)


def correlate(x: Array, w: Array, attrs: Attrs, fill: float) -> Array:
    """Sum of taps, group by group: (n, oh, ow, oc) in the dtype of `x`."""
    group = attrs["group"]
    oc, kh, kw, icg = w.shape
    ocg = oc // group
    parts = []
    for g in range(group):
        xg, wg = x[..., g * icg : (g + 1) * icg], w[g * ocg : (g + 1) * ocg]
        total: Array | float = 0.0
        for ky, kx, slab in taps(
            xg, (kh, kw), attrs["strides"], attrs["pads"], attrs["dilations"], fill
        ):
            total = total + slab @ wg[:, ky, kx].T  # (n, oh, ow, ocg)
        parts.append(total)
    return np.concatenate(parts, axis=-1)
