"""ConvTranspose: the adjoint of Conv, x (n,h,w,ic), w (oc,kh,kw,ic/group), bias (oc,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, clipped, q_of, requantized
from edgeq.ops.window import picture


class ConvTranspose(Op):
    """Transposed convolution: y[o*s - pad + k*d] += x[o] * w[k]."""

    name = "ConvTranspose"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        n, h, w, ic = picture(shapes[0])
        oc, kh, kw, icg = picture(shapes[1])
        if icg * attrs["group"] != ic or oc % attrs["group"]:
            raise ValueError(
                f"group {attrs['group']} must divide {oc} outputs and take {ic} inputs as groups of {icg}"
            )
        (sh, sw), (dh, dw), (eh, ew) = attrs["strides"], attrs["dilations"], attrs["output_padding"]
        top, left, bottom, right = attrs["pads"]
        oh = (h - 1) * sh + dh * (kh - 1) + 1 + eh - top - bottom
        ow = (w - 1) * sw + dw * (kw - 1) + 1 + ew - left - right
        if oh < 1 or ow < 1:
            raise ValueError(f"the output must not be empty, got {oh} x {ow}")
        return (n, oh, ow, oc)

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        y = _scatter(x, w, attrs)
        return clipped(y if bias is None else y + bias, attrs)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x, w, bias = xs
        assert x is not None and w is not None
        qx, qw = q_of(ins[0]), q_of(ins[1])
        acc = _scatter(
            x.astype(np.float64) - qx.zero_point, w.astype(np.float64), node.attrs
        ).astype(np.int64)
        return requantized(
            acc + (0 if bias is None else bias), (qx.scale, qw.scale), out, node.attrs
        )


def _scatter(x: Array, w: Array, attrs: Attrs) -> Array:
    n, h, wd, _ = x.shape
    oc, kh, kw, icg = w.shape
    (sh, sw), (dh, dw), group = attrs["strides"], attrs["dilations"], attrs["group"]
    top, left, _, _ = attrs["pads"]
    _, oh, ow, _ = ConvTranspose.shape(attrs, [x.shape, w.shape])
    full = np.zeros((n, top + oh + kh * dh + sh, left + ow + kw * dw + sw, oc), x.dtype)
    ocg = oc // group
    for g in range(group):
        xg, wg = x[..., g * icg : (g + 1) * icg], w[g * ocg : (g + 1) * ocg]
        for ky in range(kh):
            for kx in range(kw):
                y0, x0 = ky * dh, kx * dw
                part = xg @ wg[:, ky, kx].T  # (n, h, w, ocg)
                full[:, y0 : y0 + h * sh : sh, x0 : x0 + wd * sw : sw, g * ocg : (g + 1) * ocg] += (
                    part
                )
    return full[:, top : top + oh, left : left + ow]
