"""Weights in the one order that every kernel reads."""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Array
from edgeq.runtime import isa


def pack_conv(w: Array, groups: int, pads: Array) -> bytes:
    """int8 (oc, kh, kw, icg) -> [group][panel of 16 channels][k/4][16][4], then the pad row.

    k runs over kh, kw and the input channels padded to 4 with zeros. `pads` (ic,) is the input's
    zero point, read for taps outside the picture.
    """
    oc, kh, kw, icg = w.shape
    per, deep = oc // groups, -(-icg // 4) * 4
    wide = np.zeros((groups, isa.lanes(per), kh, kw, deep), np.int8)
    wide[:, :per, :, :, :icg] = w.reshape(groups, per, kh, kw, icg)
    panels = wide.reshape(groups, -1, isa.LANES, kh * kw * deep // 4, 4).transpose(0, 1, 3, 2, 4)
    return panels.tobytes() + _pad_row(pads, 64)


def pack_depthwise(w: Array, pads: Array) -> bytes:
    """int8 (kh, kw, c) -> [kh*kw][lanes(c)], then the pad row."""
    kh, kw, c = w.shape
    wide = np.zeros((kh * kw, isa.lanes(c)), np.int8)
    wide[:, :c] = w.reshape(kh * kw, c)
    return wide.tobytes() + _pad_row(pads, isa.LANES)


def _pad_row(pads: Array, align: int) -> bytes:
    row = np.zeros(-(-len(pads) // align) * align, np.int8)
    row[: len(pads)] = pads
    return row.tobytes()
