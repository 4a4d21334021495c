"""What calibration saw: per value the extremes and means of its channels and one histogram.

A histogram's layout depends only on the smallest and largest value seen: bins are 2**exponent wide
and start at `start` widths, with the smallest exponent that needs at most BINS bins. So statistics
do not depend on the order of the samples, up to the rounding of the float64 sums behind the means.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Array

BINS = 2048
FORMAT = 1
MAX_FILE_BYTES = 1 << 30  # unpacked

_ARRAYS = {
    "format": "int64", "samples": "int64", "names": "U", "channels": "int64", "low": "float32", "high": "float32",
    "mean": "float64", "integral": "bool", "counts": "int64",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class ValueStatistics:
    """One value. low, high float32 (C,), mean float64 (C,): per channel of the last axis, exact.

    counts: int64 (BINS,), a histogram of an evenly strided part of the elements.
    integral: every element seen was a whole number.
    """

    low: Array
    high: Array
    mean: Array
    integral: bool
    counts: Array

    @property
    def extremes(self) -> tuple[float, float]:
        return float(self.low.min()), float(self.high.max())

    @property
    def centers(self) -> Array:
        """The middle of each bin, float64 (BINS,)."""
        start, exponent = layout(*self.extremes)
        return np.asarray(np.ldexp(start + np.arange(BINS) + 0.5, exponent))


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Everything seen, by value name, over `samples` samples."""

    values: Mapping[str, ValueStatistics]
    samples: int

    def save(self, path: str | Path) -> None:
        """Write an npz file; the same statistics give the same bytes."""
        seen = list(self.values.values())
        arrays: dict[str, Any] = {
            "format": np.int64(FORMAT),
            "samples": np.int64(self.samples),
            "names": np.array(list(self.values), "U") if self.values else np.zeros(0, "U1"),
            "channels": np.array([len(v.low) for v in seen], np.int64),
            "low": _joined([v.low for v in seen], "float32"),
            "high": _joined([v.high for v in seen], "float32"),
            "mean": _joined([v.mean for v in seen], "float64"),
            "integral": np.array([v.integral for v in seen], bool),
            "counts": np.array([v.counts for v in seen], np.int64).reshape(-1, BINS),
        }
        target = Path(path)
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez_compressed(file, **arrays)
            os.replace(temporary, target)
        finally:
            Path(temporary).unlink(missing_ok=True)

    @staticmethod
    def load(path: str | Path) -> Statistics:
        """Read an npz file. Raises QuantizeError for one that is missing, damaged or inconsistent."""
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(part.file_size for part in archive.infolist())
            if size > MAX_FILE_BYTES:
                raise ValueError(f"it unpacks to more than {MAX_FILE_BYTES >> 20} MiB")
            with np.load(path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in _ARRAYS}
            return _checked(arrays)
        except OSError as broken:
            why = broken.strerror or broken
            raise QuantizeError(f"{path}: cannot be read, {why}. Check the path.") from None
        # numpy's and zipfile's readers raise a dozen kinds of errors on damaged bytes
        except Exception as broken:
            why = " ".join(str(broken).split()) or type(broken).__name__
            raise QuantizeError(
                f"{path}: must be saved statistics, {why}. Calibrate again."
            ) from None


def merged(parts: Sequence[ValueStatistics]) -> tuple[Array, Array]:
    """The middle of the bins and the summed counts of several histograms: float64, int64 (BINS,)."""
    low, high = min(p.extremes[0] for p in parts), max(p.extremes[1] for p in parts)
    counts = np.sum(
        [rebinned(p.counts, layout(*p.extremes), layout(low, high)) for p in parts], axis=0
    )
    start, exponent = layout(low, high)
    return np.ldexp(start + np.arange(BINS) + 0.5, exponent), counts


def layout(low: float, high: float) -> tuple[int, int]:
    """The start and exponent of the finest histogram that holds [low, high].

    A larger range never has a smaller exponent, so histograms only ever get coarser.
    """
    width = max((high - low) / BINS, max(abs(low), abs(high)) * 2.0**-30, 2.0**-140)
    exponent = int(np.frexp(width)[1]) - 1
    while _bin(high, exponent) - _bin(low, exponent) >= BINS:
        exponent += 1
    return _bin(low, exponent), exponent


def histogram(x: Array, low: float, high: float) -> Array:
    """Count float32 values, all within [low, high], in the layout of that range: int64 (BINS,)."""
    start, exponent = layout(low, high)
    bins = np.floor(np.ldexp(x.astype(np.float64), -exponent)).astype(np.int64) - start
    return np.bincount(bins.ravel(), minlength=BINS)


def rebinned(counts: Array, old: tuple[int, int], new: tuple[int, int]) -> Array:
    """Bring counts into another layout with bins at least as wide."""
    if old == new:
        return counts
    used = np.flatnonzero(counts)
    at = ((used + old[0]) >> (new[1] - old[1])) - new[0]
    out = np.zeros(BINS, np.int64)
    np.add.at(out, at, counts[used])
    return out


def _bin(x: float, exponent: int) -> int:
    return int(np.floor(np.ldexp(np.float64(x), -exponent)))


def _joined(parts: list[Array], dtype: str) -> Array:
    return np.concatenate(parts).astype(dtype) if parts else np.zeros(0, dtype)


def _checked(arrays: Mapping[str, Array]) -> Statistics:
    """Rebuild statistics from untrusted arrays; raises ValueError with the broken rule."""
    for name, dtype in _ARRAYS.items():
        found = arrays[name].dtype
        if found.kind != "U" if dtype == "U" else found != dtype:
            raise ValueError(f"{name} has the type {found}")
    if arrays["format"].shape or int(arrays["format"]) != FORMAT:
        raise ValueError(f"format is not {FORMAT}")
    names, channels = arrays["names"], arrays["channels"]
    if names.ndim != 1 or channels.shape != names.shape or arrays["integral"].shape != names.shape:
        raise ValueError("names, channels and integral have different lengths")
    if len(set(names.tolist())) != len(names) or not np.all((channels > 0) & (channels < 2**31)):
        raise ValueError("names repeat or channels are not positive")
    total = int(channels.sum())
    if any(arrays[name].shape != (total,) for name in ("low", "high", "mean")):
        raise ValueError("low, high and mean do not fit the channels")
    if arrays["counts"].shape != (len(names), BINS) or not np.all(
        (arrays["counts"] >= 0) & (arrays["counts"] < 2**50)
    ):
        raise ValueError("counts do not fit the names or are out of bounds")
    low, high, mean = arrays["low"], arrays["high"], arrays["mean"]
    if not (np.isfinite(low) & np.isfinite(high) & np.isfinite(mean) & (low <= high)).all():
        raise ValueError("low, high and mean are not finite or low exceeds high")
    if arrays["samples"].shape or not 0 < int(arrays["samples"]) < 2**40:
        raise ValueError("samples is not positive")
    ends = np.cumsum(channels).tolist()
    values = {}
    for i, (name, end, count) in enumerate(
        zip(names.tolist(), ends, channels.tolist(), strict=True)
    ):
        part = slice(end - count, end)
        values[name] = ValueStatistics(
            low[part], high[part], mean[part], bool(arrays["integral"][i]), arrays["counts"][i]
        )
    return Statistics(values, int(arrays["samples"]))
