"""The integer law, written once in Python. `csrc/numerics.h` says the same in C, bit for bit.

Only integer arithmetic and single IEEE-754 operations (+ - * /, round half to even) are used, never
a fused multiply-add, so every machine computes the same bytes. Arrays are channels-last.
Notation: acc int32 or int64; m, r float32 multipliers; zp zero points; lo, hi clamp bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]

LUT8_ENTRIES = 256
LUT16_ENTRIES = 513
LERP_BITS = 11  # bilinear weights are integers out of 2**11 per axis
SOFTMAX_BITS = 30  # exp tables are Q0.30


def rint_clamp(x: Array, zp: Array | int, lo: Array | int, hi: Array | int) -> Array:
    """Round float `x` half to even, add `zp`, clamp to [lo, hi]; int32.

    NaN becomes zp; values beyond the int32 range clamp like any other.
    """
    wide = np.nan_to_num(np.rint(x), nan=0.0, posinf=2.0**30, neginf=-(2.0**30))
    wide = np.clip(wide, -(2.0**30), 2.0**30).astype(np.int64)
    y: Array = np.clip(wide + np.asarray(zp, np.int64), lo, hi).astype(np.int32)
    return y


def requantize(acc: Array, m: Array, zp: Array | int, lo: Array | int, hi: Array | int) -> Array:
    """RNE_F32: y = clamp(rint_even(float32(acc) * m) + zp, lo, hi), m float32 scalar or (C,)."""
    return rint_clamp(acc.astype(np.float32) * np.asarray(m, np.float32), zp, lo, hi)


def requantize64(acc: Array, m: Array, zp: Array | int, lo: Array | int, hi: Array | int) -> Array:
    """The same rule in float64, for sums of int16 values; m is float64."""
    return rint_clamp(acc.astype(np.float64) * np.asarray(m, np.float64), zp, lo, hi)


def multiplier(*over: Any, under: Any = (1.0,)) -> Array:
    """float32 of the float64 quotient prod(over) / prod(under); operands broadcast."""
    top: Any = np.float64(1.0)
    bottom: Any = np.float64(1.0)
    for s in over:
        top = top * np.asarray(s, np.float64)
    for s in under:
        bottom = bottom * np.asarray(s, np.float64)
    return np.asarray(top / bottom, np.float32)


def lut8(x: Array, table: Array) -> Array:
    """Look int8 `x` up in a 256-entry int16 table indexed by x + 128; int32."""
    y: Array = table.astype(np.int32)[x.astype(np.int32) + 128]
    return y


def lut16(x: Array, table: Array) -> Array:
    """Interpolate int16 `x` in a 513-entry int16 table; int32.

    u = x + 32768; i = u >> 7; f = u & 127; y = T[i] + (((T[i+1] - T[i]) * f + 64) >> 7).
    """
    u = x.astype(np.int32) + 32768
    i, f = u >> 7, u & 127
    t = table.astype(np.int32)
    y: Array = t[i] + (((t[i + 1] - t[i]) * f + 64) >> 7)
    return y


def gate(acc: Array, r: Array, t: Array, zp: Any, lo: Any, hi: Any) -> Array:
    """A gated activation x * g(x): y = clamp(rint_even((f32(acc) * r) * f32(t)) + zp).

    acc int32 stands for x and t (int32, from a table) for g; r float32 holds both scales over s_y.
    """
    x = acc.astype(np.float32) * np.asarray(r, np.float32)
    return rint_clamp(x * t.astype(np.float32), zp, lo, hi)


def table_points(scale: float, zero_point: int, *, entries: int) -> Array:
    """Real inputs (float64) at which a table of 256 (int8) or 513 (int16) entries is sampled."""
    if entries == LUT8_ENTRIES:
        q = np.arange(-128, 128, dtype=np.float64)
    else:
        q = np.arange(LUT16_ENTRIES, dtype=np.float64) * 128.0 - 32768.0
    return (q - zero_point) * np.float64(scale)


def quantize(x: Array, scale: Array, zero_point: Array, lo: int, hi: int) -> Array:
    """Edge rule (ONNX QuantizeLinear): clamp(rint_even(x / scale) + zp); float32 in, int32 out."""
    with np.errstate(over="ignore", invalid="ignore"):
        return rint_clamp(x.astype(np.float32) / np.asarray(scale, np.float32), zero_point, lo, hi)


def dequantize(q: Array, scale: Array, zero_point: Array) -> Array:
    """Edge rule: float32(q - zp) * scale."""
    return (q.astype(np.int32) - zero_point).astype(np.float32) * np.asarray(scale, np.float32)


def add(
    a: Array, b: Array, ra: Array, rb: Array, za: Any, zb: Any, zp: Any, lo: Any, hi: Any
) -> Array:
    """y = clamp(rint_even(f32(a-za)*ra + f32(b-zb)*rb) + zp); subtraction passes a negative rb."""
    x = (a.astype(np.int32) - za).astype(np.float32) * np.asarray(ra, np.float32)
    y = (b.astype(np.int32) - zb).astype(np.float32) * np.asarray(rb, np.float32)
    return rint_clamp(x + y, zp, lo, hi)


def mul(a: Array, b: Array, r: Array, za: Any, zb: Any, zp: Any, lo: Any, hi: Any) -> Array:
    """y = clamp(rint_even(f32((a-za)*(b-zb)) * r) + zp); the product fits int32 (17 bits each at most)."""
    p = (a.astype(np.int64) - za) * (b.astype(np.int64) - zb)
    return rint_clamp(p.astype(np.float32) * np.asarray(r, np.float32), zp, lo, hi)


def div(a: Array, b: Array, r: Array, za: Any, zb: Any, zp: Any, lo: Any, hi: Any) -> Array:
    """y = clamp(rint_even(f32(a-za)/f32(b-zb) * r) + zp); x/0 saturates by sign, 0/0 is zp."""
    x = (a.astype(np.int32) - za).astype(np.float32)
    y = (b.astype(np.int32) - zb).astype(np.float32)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return rint_clamp((x / y) * np.asarray(r, np.float32), zp, lo, hi)


def exp_tables(scale: float, *, wide: bool) -> tuple[Array, Array]:
    """Q0.30 tables: fine[i] = exp(-i*scale), coarse[i] = exp(-256*i*scale), i = 0..255; uint32.

    int8 inputs use `fine` alone (coarse[0] = 2**30 is the neutral factor).
    """
    i = np.arange(256, dtype=np.float64)
    fine = np.rint(np.exp(-i * scale) * 2.0**SOFTMAX_BITS).astype(np.uint32)
    coarse = np.rint(np.exp(-256.0 * i * scale) * 2.0**SOFTMAX_BITS).astype(np.uint32)
    if not wide:
        coarse = np.zeros(256, np.uint32)
        coarse[0] = 1 << SOFTMAX_BITS
    return fine, coarse


def softmax(
    x: Array, fine: Array, coarse: Array, inv_scale: float, zp: int, lo: int, hi: int
) -> Array:
    """Softmax over the last axis of int8 or int16 `x`.

    d = max - x; e = (fine[d & 255] * coarse[d >> 8]) >> 30; k = f32(inv_scale / float64(sum e));
    y = clamp(rint_even(f32(e) * k) + zp).
    """
    d = x.astype(np.int32).max(axis=-1, keepdims=True) - x.astype(np.int32)
    e = (fine.astype(np.uint64)[d & 255] * coarse.astype(np.uint64)[d >> 8]) >> np.uint64(
        SOFTMAX_BITS
    )
    total = e.sum(axis=-1, keepdims=True, dtype=np.uint64)
    k = (np.float64(inv_scale) / total.astype(np.float64)).astype(np.float32)
    return rint_clamp(e.astype(np.uint32).astype(np.float32) * k, zp, lo, hi)


def lerp_axis(n_in: int, n_out: int, scale: float, mode: str) -> tuple[Array, Array, Array]:
    """Positions and weights of a linear resize along one axis, in integers.

    Returns (i0, i1, w1): int32 source indices and the weight of i1 out of 2**LERP_BITS.
    `scale` = out/in. Modes: half_pixel, pytorch_half_pixel, align_corners, asymmetric.
    """
    o = np.arange(n_out, dtype=np.float64)
    if mode == "align_corners":
        pos = o * (n_in - 1) / (n_out - 1) if n_out > 1 else o * 0
    elif mode == "asymmetric":
        pos = o / scale
    elif mode == "pytorch_half_pixel" and n_out == 1:
        pos = o * 0
    else:
        pos = (o + 0.5) / scale - 0.5
    pos = np.clip(pos, 0, n_in - 1)
    fixed = np.rint(pos * (1 << LERP_BITS)).astype(np.int64)
    i0 = np.minimum(fixed >> LERP_BITS, n_in - 1)
    i1 = np.minimum(i0 + 1, n_in - 1)
    return (
        i0.astype(np.int32),
        i1.astype(np.int32),
        (fixed & ((1 << LERP_BITS) - 1)).astype(np.int32),
    )


def nearest_axis(n_in: int, n_out: int, scale: float, mode: str, rounding: str) -> Array:
    """Source index of each output position of a nearest resize along one axis; int32."""
    o = np.arange(n_out, dtype=np.float64)
    if mode == "align_corners":
        pos = o * (n_in - 1) / (n_out - 1) if n_out > 1 else o * 0
    elif mode == "asymmetric":
        pos = o / scale
    elif mode == "pytorch_half_pixel" and n_out == 1:
        pos = o * 0
    else:
        pos = (o + 0.5) / scale - 0.5
    rules: dict[str, Callable[[Array], Array]] = {
        "floor": np.floor,
        "ceil": np.ceil,
        "round_prefer_floor": lambda p: np.ceil(p - 0.5),
        "round_prefer_ceil": lambda p: np.floor(p + 0.5),
    }
    y: Array = np.clip(rules[rounding](pos), 0, n_in - 1).astype(np.int32)
    return y


def lerp(x: Array, rows: tuple[Array, Array, Array], cols: tuple[Array, Array, Array]) -> Array:
    """Bilinear blend of int8 (N,H,W,C): rows first, exact in int32, one rounding (half up) at 22 bits."""
    one = 1 << LERP_BITS
    v = x.astype(np.int32)
    y0, y1, wy = rows
    x0, x1, wx = cols
    wy = wy[:, None, None]
    wx = wx[:, None]
    top = v[:, y0] * (one - wy) + v[:, y1] * wy
    full = top[:, :, x0] * (one - wx) + top[:, :, x1] * wx
    y: Array = (full + (1 << (2 * LERP_BITS - 1))) >> (2 * LERP_BITS)
    return y
