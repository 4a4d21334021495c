"""What every opcode must compute, in slow numpy on dense arrays; only numerics.py decides."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.runtime import numerics

Array = NDArray[Any]
BOUNDS = {"int8": (-128, 127), "int16": (-32768, 32767)}


def taps(
    x: Array, w: dict[str, int], out_hw: tuple[int, int], pad: Array
) -> Iterator[tuple[int, int, Array, Array]]:
    """(ky, kx, pixels (n,oh,ow,c), valid (oh,ow)) of every tap of a window."""
    h, wd = x.shape[1:3]
    for ky in range(w["kh"]):
        for kx in range(w["kw"]):
            rows = np.arange(out_hw[0]) * w["sh"] - w["pt"] + ky * w["dh"]
            cols = np.arange(out_hw[1]) * w["sw"] - w["pl"] + kx * w["dw"]
            valid = ((rows >= 0) & (rows < h))[:, None] & ((cols >= 0) & (cols < wd))[None, :]
            pixels = x[:, np.clip(rows, 0, h - 1)][:, :, np.clip(cols, 0, wd - 1)]
            yield ky, kx, np.where(valid[None, :, :, None], pixels, pad), valid


def conv(
    x: Array, w: Array, win: dict[str, int], out_hw: tuple[int, int], groups: int, pad: Array
) -> Array:
    """Integer sums of a convolution; w is (oc, kh, kw, ic/groups); int64."""
    oc, _, _, icg = w.shape
    acc = np.zeros((x.shape[0], *out_hw, oc), np.int64)
    for ky, kx, pixels, _ in taps(x.astype(np.int64), win, out_hw, pad.astype(np.int64)):
        for g in range(groups):
            o = slice(g * (oc // groups), (g + 1) * (oc // groups))
            acc[..., o] += pixels[..., g * icg : (g + 1) * icg] @ w[o, ky, kx].T.astype(np.int64)
    return acc


def depthwise(
    x: Array, w: Array, win: dict[str, int], out_hw: tuple[int, int], pad: Array
) -> Array:
    """w is (kh, kw, c)."""
    acc = np.zeros((x.shape[0], *out_hw, x.shape[3]), np.int64)
    for ky, kx, pixels, _ in taps(x.astype(np.int64), win, out_hw, pad.astype(np.int64)):
        acc += pixels * w[ky, kx].astype(np.int64)
    return acc


def epilogue(acc: Array, e: dict[str, Any], dtype: str) -> Array:
    """acc includes the bias."""
    acc = acc.astype(np.int32)
    kind, m = e["lut_kind"], e["m"]
    if kind == "NONE":
        return numerics.requantize(acc, m, e["zp"], e["lo"], e["hi"])
    if kind == "LUT8":
        t = numerics.lut8(numerics.requantize(acc, m, e["pre_zero"], -128, 127), e["table"])
    else:
        t = numerics.lut16(numerics.requantize(acc, m, e["pre_zero"], -32768, 32767), e["table"])
    return step(t, e, dtype)


def step(t: Array, e: dict[str, Any], dtype: str) -> Array:
    if e["step"]:
        return numerics.requantize(t, e["r"], e["zp"], e["lo"], e["hi"])
    return np.clip(t, *BOUNDS[dtype])


def mean(s: Array, n: Any, r: dict[str, Any], dtype: str) -> Array:
    """s: sums of x - zx (int64); n: divisor, broadcastable; r: ratio, zp, lo, hi; dtype of the input."""
    with np.errstate(all="ignore"):
        quotient = np.asarray(r["ratio"], np.float64) / np.asarray(n, np.float64)
        if dtype == "int8":
            return numerics.requantize(s, quotient.astype(np.float32), r["zp"], r["lo"], r["hi"])
        return numerics.requantize64(s, quotient, r["zp"], r["lo"], r["hi"])
