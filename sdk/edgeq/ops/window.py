"""Sliding windows shared by convolutions and pools: output size, and one slab of pixels per tap."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from edgeq.graph.ir import Array, Shape

Pair = Sequence[int]


def window_size(
    hw: Pair, kernel: Pair, strides: Pair, pads: Pair, dilations: Pair = (1, 1)
) -> tuple[int, int]:
    """Output height and width. `pads` = (top, left, bottom, right)."""
    out = []
    for i in range(2):
        if min(kernel[i], strides[i], dilations[i]) < 1:
            raise ValueError(
                f"kernel, strides and dilations must be >= 1, got {kernel}, {strides}, {dilations}"
            )
        room = hw[i] + pads[i] + pads[i + 2] - dilations[i] * (kernel[i] - 1) - 1
        if room < 0:
            raise ValueError(
                f"kernel {tuple(kernel)} must fit in the padded picture, got {tuple(hw)} with pads {tuple(pads)}"
            )
        out.append(room // strides[i] + 1)
    return out[0], out[1]


def taps(
    x: Array, kernel: Pair, strides: Pair, pads: Pair, dilations: Pair, fill: Array | float
) -> Iterator[tuple[int, int, Array]]:
    """Yield (ky, kx, slab) with slab (n, oh, ow, c): the pixel under each tap; `fill` outside."""
    n, h, w, c = x.shape
    oh, ow = window_size((h, w), kernel, strides, pads, dilations)
    top, left, bottom, right = pads
    padded = np.empty((n, h + top + bottom, w + left + right, c), x.dtype)
    padded[:] = fill
    padded[:, top : top + h, left : left + w] = x
    for ky in range(kernel[0]):
        for kx in range(kernel[1]):
            y0, x0 = ky * dilations[0], kx * dilations[1]
            yield (
                ky,
                kx,
                padded[
                    :,
                    y0 : y0 + (oh - 1) * strides[0] + 1 : strides[0],
                    x0 : x0 + (ow - 1) * strides[1] + 1 : strides[1],
                ],
            )


def picture(shape: Shape | None, rank: int = 4) -> Shape:
    """Check that a shape is NHWC."""
    if shape is None or len(shape) != rank:
        raise ValueError(f"the input must be NHWC, got shape {shape}")
    return shape
