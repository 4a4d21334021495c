"""Weights in the one order that every kernel reads."""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Array
from edgeq.runtime import isa


def pack_conv(w: Array, groups: int, pads: Array, *, bits: int = 8) -> bytes:
    """Integers (oc, kh, kw, icg) -> [group][panel of 16 channels][k/4][16][4], then the pad row.

    k runs over kh, kw and the input channels padded to 4 with zeros. `pads` (ic,) is the input's
    zero point, read for taps outside the picture. With 4 `bits` two weights share a byte
    (`stored`).
    """
    oc, kh, kw, icg = w.shape
    per, deep = oc // groups, -(-icg // 4) * 4
    wide = np.zeros((groups, isa.lanes(per), kh, kw, deep), np.int8)
    wide[:, :per, :, :, :icg] = w.reshape(groups, per, kh, kw, icg)
    panels = wide.reshape(groups, -1, isa.LANES, kh * kw * deep // 4, 4).transpose(0, 1, 3, 2, 4)
    return stored(panels, bits) + _pad_row(pads, 64)


def pack_depthwise(w: Array, pads: Array, *, bits: int = 8) -> bytes:
    """Integers (kh, kw, c) -> [kh*kw][lanes(c)], then the pad row; `bits` as for `pack_conv`."""
    kh, kw, c = w.shape
    wide = np.zeros((kh * kw, isa.lanes(c)), np.int8)
    wide[:, :c] = w.reshape(kh * kw, c)
    return stored(wide, bits) + _pad_row(pads, isa.LANES)


def weight_bits(dtype: str, w: Array, groups: int) -> int:
    """How weights are stored: 4 bits for int4, unless the int8 they unpack to takes too much room.

    `w` as for `pack_conv`, or with 0 groups as for `pack_depthwise`.
    """
    if dtype != "int4":
        return 8
    if groups:
        deep = -(-w.shape[3] // 4) * 4
        room = w.shape[1] * w.shape[2] * deep * min(isa.lanes(len(w) // groups), 2 * isa.LANES)
    else:
        room = w.shape[0] * w.shape[1] * isa.lanes(w.shape[2])
    return 4 if room <= isa.MAX_UNPACKED_BYTES else 8


def stored(w: Array, bits: int) -> bytes:
    """int8 weights in their order as bytes.

    With 4 bits, blocks of 64 take 32 bytes: the first 32 in the low halves, the others in the high
    halves; a last block of fewer is halved likewise.
    """
    if bits == 8:
        return w.tobytes()
    flat = w.reshape(-1)
    whole = len(flat) // 64 * 64
    blocks = flat[:whole].reshape(-1, 2, 32), flat[whole:].reshape(1, 2, -1)
    return b"".join(((b[:, 0] & 15) | (b[:, 1] << 4)).tobytes() for b in blocks)


def restored(body: bytes, bits: int) -> Array:
    """int8 weights from the bytes that `stored` made."""
    flat = np.frombuffer(body, np.int8)
    if bits == 8:
        return flat
    whole = len(flat) // 32 * 32
    blocks = flat[:whole].reshape(-1, 32), flat[whole:].reshape(1, -1)
    return np.concatenate([np.stack([b << 4 >> 4, b >> 4], axis=1).reshape(-1) for b in blocks])


def _pad_row(pads: Array, align: int) -> bytes:
    row = np.zeros(-(-len(pads) // align) * align, np.int8)
    row[: len(pads)] = pads
    return row.tobytes()
