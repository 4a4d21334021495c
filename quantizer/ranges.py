"""From what was seen to a range, and from a range to a scale and zero point.

Every range holds zero, so that padding and ReLU are exact.
"""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Array, QParams

LEAST_SCALE, MOST_SCALE = 1e-12, 1e12  # products of three scales stay normal float32 numbers
LEVELS8 = 255
LOW_SHARES = np.array([1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.6, 0.5, 0.4, 0.3])
HIGH_SHARES = np.concatenate([np.linspace(1.0, 0.3, 36), [0.26, 0.22, 0.18, 0.14, 0.1]])


def mse_range(centers: Array, counts: Array, low: float, high: float) -> tuple[float, float]:
    """Search both edges of an int8 range for the least squared error over a histogram.

    low <= 0 <= high are the extremes; the shares tried run from the widest range down, and the
    wider of two equally good ones wins. (Sung et al. 2015, 1511.06488, for both edges.)
    """
    used = counts > 0
    x, weight = centers[used], counts[used].astype(np.float64)
    if not x.size or low >= high:
        return low, high
    x = np.clip(x, low, high)
    lows = low * LOW_SHARES if low < 0 else np.zeros(1)
    highs = high * HIGH_SHARES if high > 0 else np.zeros(1)
    edges = np.stack(np.meshgrid(lows, highs, indexing="ij"), axis=-1).reshape(-1, 2)
    edges = edges[edges[:, 1] > edges[:, 0]]
    best, error = edges[0], np.inf
    for chunk in np.array_split(edges, max(1, len(edges) * x.size // 200_000)):
        errors = _squared_errors(x, weight, chunk)
        at = int(np.argmin(errors))
        if errors[at] < error:
            best, error = chunk[at], float(errors[at])
    return float(best[0]), float(best[1])


def _squared_errors(x: Array, weight: Array, edges: Array) -> Array:
    scale = (edges[:, 1] - edges[:, 0]) / LEVELS8  # (k,)
    zero = np.rint(edges[:, 0] / scale)
    q = np.rint(x / scale[:, None])  # (k, bins)
    np.clip(q, zero[:, None], zero[:, None] + LEVELS8, out=q)
    q *= scale[:, None]
    q -= x
    q *= q
    q *= weight
    return np.asarray(q.sum(axis=1))


def input_scale(centers: Array, counts: Array, low: float, high: float) -> float:
    """Choose the scale of a normalised picture: near (high - low) / 255, least squared error.

    Zero must be a level too, so that a range such as -1..1 puts every pixel half-way between two
    levels at the obvious scale; a slightly larger one spreads the errors.
    """
    used = counts > 0
    x, weight = centers[used], counts[used].astype(np.float64)
    best, error = (high - low) / LEVELS8, np.inf
    for share in np.linspace(1.0, 1.02, 21).tolist():
        scale = (high - low) / LEVELS8 * share
        zero = np.rint(low / scale)
        y = np.clip(np.rint(x / scale), zero, zero + LEVELS8) * scale
        found = float((np.square(y - x) * weight).sum())
        if found < error:
            best, error = scale, found
    return best


def affine8(low: float | Array, high: float | Array) -> tuple[Array, Array]:
    """Scale (float32) and zero point (int32) of int8 for ranges low <= 0 <= high.

    A range of width zero gets a width of one.
    """
    a, b = np.asarray(low, np.float64), np.asarray(high, np.float64)
    width = np.where(b > a, b - a, 1.0)
    scale = bounded(width / LEVELS8)
    zero = np.clip(np.rint(-128 - a / scale.astype(np.float64)), -128, 127)
    return scale, zero.astype(np.int32)


def symmetric16(most: float) -> tuple[Array, Array]:
    """Scale and zero point of int16 for reals in [-most, most]."""
    return bounded((most if most > 0 else 1.0) / 32767), np.asarray(0, np.int32)


def bounded(scale: float | Array) -> Array:
    """Keep scales where no product of them over- or underflows; float32."""
    return np.asarray(np.clip(scale, LEAST_SCALE, MOST_SCALE), np.float32)


def qparams(scale: Array, zero_point: Array, dtype: str) -> QParams:
    """Make QParams, per tensor when all channels agree, and per channel of the last axis otherwise."""
    scale, zero_point = np.asarray(scale, np.float32), np.asarray(zero_point, np.int32)
    if scale.ndim and (scale == scale[0]).all() and (zero_point == zero_point[0]).all():
        scale, zero_point = scale[0], zero_point[0]
    return QParams(np.asarray(scale), np.asarray(zero_point), dtype)
