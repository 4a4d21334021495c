"""Bytes of weights after coding, without coding them: Golomb-Rice with a palette and zero runs.

The estimate follows the scheme that Ethos-U decoders read (Arm, MLW stream format): weights in the
array's traversal order, padded to micro blocks, each as a quotient in unary and a remainder; frequent
values through a palette of 32; runs of zeros coded apart where zero dominates.
"""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Array

PALETTE = 32
HEADER_BYTES = 8
ALIGN = 16
DEAD = 1e-6  # a channel below this share of the largest weight is quantized to zeros


def encoded_bytes(
    w: Array, *, depthwise: bool = False, part_kernel: bool = False, lanes: int = 8
) -> int:
    """Estimate the coded size of integer weights (oc, kh, kw, ic), depthwise (kh, kw, c), or (n, k)."""
    w = np.asarray(w, np.int32)  # symbols exceed int8
    stream = traversal(w, depthwise=depthwise, part_kernel=part_kernel, lanes=lanes)
    if not stream.size:
        return 0
    bits = min(_direct_bits(stream), _run_bits(stream))
    return -(-(bits // 8 + HEADER_BYTES) // ALIGN) * ALIGN


def traversal(w: Array, *, depthwise: bool, part_kernel: bool, lanes: int = 8) -> Array:
    """The weights as one stream, channels padded to `lanes` and taps to 4 where taps run innermost."""
    if depthwise:
        flat = _pad(_pad(w.reshape(-1, w.shape[-1]), 0, 4), 1, lanes)  # (taps, c)
        return flat.reshape(flat.shape[0], -1, lanes).transpose(1, 0, 2).reshape(-1)
    cube = w.reshape(w.shape[0], -1, w.shape[-1])  # (oc, taps, ic)
    cube = _pad(_pad(cube, 0, lanes), 2, lanes)
    if part_kernel:
        cube = _pad(cube, 1, 4)
    oc, taps, ic = cube.shape
    blocks = cube.reshape(oc // lanes, lanes, taps, ic // lanes, lanes)
    return blocks.transpose(0, 3, 2, 1, 4).reshape(-1)  # oc block, ic block, tap, oc, ic


def quantized_weights(w: Array, *, depthwise: bool = False) -> Array:
    """Integers that float weights become: int8, symmetric, per output channel; dead channels are zeros."""
    axes = tuple(range(w.ndim - 1)) if depthwise else tuple(range(1, w.ndim))
    top = np.abs(w).max(axis=axes, keepdims=True) if w.size else np.zeros((1,) * w.ndim)
    dead = top <= DEAD * top.max(initial=0)
    return np.asarray(np.where(dead, 0, np.rint(w / np.where(dead, 1, top) * 127)), np.int32)


def _pad(x: Array, axis: int, to: int) -> Array:
    extra = -x.shape[axis] % to
    return np.pad(x, [(0, extra if i == axis else 0) for i in range(x.ndim)]) if extra else x


def _direct_bits(stream: Array) -> int:
    """Every weight coded by itself."""
    values, counts = np.unique(stream, return_counts=True)
    return _rice_bits(_symbols(values, counts), counts)


def _run_bits(stream: Array) -> int:
    """Non-zero weights, and the length of the run of zeros before each."""
    places = np.flatnonzero(stream)
    if not places.size:
        return 64
    runs, run_counts = np.unique(np.diff(places, prepend=-1) - 1, return_counts=True)
    values, counts = np.unique(stream[places], return_counts=True)
    body = min(int((((runs >> k) + 1 + k) * run_counts).sum()) for k in range(4))
    return body + _rice_bits(_symbols(values, counts), counts)


def _symbols(values: Array, counts: Array) -> Array:
    """Index of each value: by magnitude and sign, or the palette's when that holds most weights."""
    direct = np.where(values < 0, -2 * values - 1, 2 * values)
    order = np.argsort(-counts, kind="stable")
    chosen = order[:PALETTE]
    if counts[chosen].sum() * 2 <= counts.sum():
        return np.asarray(direct - direct.min())
    ranked = np.asarray(direct + len(chosen))
    ranked[chosen] = np.arange(len(chosen))
    return ranked


def _rice_bits(symbols: Array, counts: Array) -> int:
    """Total bits with the best parameter, or as plain binary numbers."""
    plain = max(int(symbols.max()).bit_length(), 2)
    rice = min(int((((symbols >> k) + 1 + k) * counts).sum()) for k in range(6))
    return min(rice, plain * int(counts.sum()))
