"""The scale of int16 values that are read by a table of 513 interpolated entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeq.graph.ir import Array, QParams
from edgeq.ops.unary import FUNCTIONS
from edgeq.quantizer.ranges import bounded

STEP = 128  # integers between two knots
POINTS = 4097
FLAT = 0.1  # of an output step: a smaller difference is none
FEW_KNOTS = 8  # up to the kink: fewer would widen the range too much to meet it


@dataclass(frozen=True, slots=True, eq=False)
class Reader:
    """A Unary node that reads the value: its attrs, and the output's QParams if they are known."""

    attrs: Mapping[str, Any]
    q: QParams | None


def table_scale(readers: Sequence[Reader], low: float, high: float) -> tuple[Array, Array]:
    """Scale and zero point of int16 reals in [low, high] so that tables lose least.

    Tails where no reader's output changes are left out: beyond them the input saturates. Zero, and
    the kinks of piecewise functions, lie on knots: the zero point is a multiple of 128.
    """
    cuts = [_cut(reader, low, high) for reader in readers]
    low, high = min(a for a, _ in cuts), max(b for _, b in cuts)
    if not low < high:
        low, high = min(low, -1.0), max(high, 1.0)
    knots = np.arange(-32768, 32768, STEP)
    with np.errstate(divide="ignore", invalid="ignore"):
        below = np.where(knots > -32768, -low / (knots + 32768), 0.0 if low == 0 else np.inf)
        above = high / (32767 - knots)
    scales = np.maximum(below, above)
    at = int(np.argmin(scales))
    return bounded(_meeting(scales[at], readers)), np.asarray(knots[at], np.int32)


def _cut(reader: Reader, low: float, high: float) -> tuple[float, float]:
    """Shrink [low, high] to where the function still changes by more than FLAT output steps."""
    if reader.q is None:
        return low, high
    x = np.linspace(low, high, POINTS)
    with np.errstate(all="ignore"):
        f = np.asarray(FUNCTIONS[reader.attrs["kind"]](x, reader.attrs))
    if not np.isfinite(f).all():
        return low, high
    scale = reader.q.scale.astype(np.float64)
    f = np.clip(
        f,
        ((reader.q.lo - reader.q.zero_point - 1) * scale).min(),
        ((reader.q.hi - reader.q.zero_point + 1) * scale).max(),
    )
    near = FLAT * float(scale.min())
    left = x[_flat(f, near)]
    right = x[::-1][_flat(f[::-1], near)]
    return min(float(left), 0.0), max(float(right), 0.0)


def _flat(f: Array, near: float) -> int:
    """Index of the last point that all earlier ones differ from by at most `near`."""
    spread = np.maximum(np.maximum.accumulate(f) - f, f - np.minimum.accumulate(f))
    return int(np.flatnonzero(spread <= near)[-1])


def _meeting(scale: float, readers: Sequence[Reader]) -> float:
    """Widen the scale slightly so that the readers' kinks lie on knots."""
    kinks = sorted({k for r in readers for k in _kinks(r.attrs)})
    for kink in kinks[:1]:
        count = np.floor(kink / (scale * STEP))
        if count >= FEW_KNOTS:
            return float(kink / count / STEP)
    return scale


def _kinks(attrs: Mapping[str, Any]) -> list[float]:
    """Distances from zero at which the function bends, other than zero itself."""
    match attrs["kind"]:
        case "HardSwish":
            return [3.0]
        case "HardSigmoid" if attrs["alpha"]:
            ends = [-attrs["beta"] / attrs["alpha"], (1 - attrs["beta"]) / attrs["alpha"]]
        case "Clip":
            ends = [attrs["lo"], attrs["hi"]]
        case _:
            return []
    return sorted({abs(float(e)) for e in ends if e and np.isfinite(e)})
