"""Statistics: the histogram's layout, and files that may be damaged."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.errors import QuantizeError
from edgeq.quantizer.statistics import (
    BINS,
    Statistics,
    ValueStatistics,
    histogram,
    layout,
    merged,
    rebinned,
)

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)


def made(seed: int = 0, scale: float = 1.0) -> ValueStatistics:
    x = (np.random.default_rng(seed).normal(size=(500, 3)) * scale).astype(np.float32)
    low, high = x.min(axis=0), x.max(axis=0)
    counts = histogram(x, float(low.min()), float(high.max()))
    return ValueStatistics(low, high, x.mean(axis=0, dtype=np.float64), False, counts)


@given(st.lists(FLOATS, min_size=1, max_size=20))
def test_every_value_seen_falls_into_a_bin(values: list[float]) -> None:
    x = np.array(values, np.float32)
    counts = histogram(x, float(x.min()), float(x.max()))
    assert counts.shape == (BINS,)
    assert counts.sum() == len(values)


@given(st.lists(FLOATS, min_size=2, max_size=20), st.integers(1, 19))
def test_growing_in_any_order_gives_the_histogram_of_all(values: list[float], cut: int) -> None:
    x = np.array(values, np.float32)
    parts = [p for p in (x[:cut], x[cut:]) if p.size]
    whole = layout(float(x.min()), float(x.max()))
    grown = np.zeros(BINS, np.int64)
    for p in parts:
        edges = float(p.min()), float(p.max())
        grown += rebinned(histogram(p, *edges), layout(*edges), whole)
    np.testing.assert_array_equal(grown, histogram(x, float(x.min()), float(x.max())))


def test_a_histogram_resolves_an_eighth_of_an_int8_step() -> None:
    for low, high in ((0.0, 6.0), (-0.278, 11.3), (-1.0, 1.0), (5.0, 5.001)):
        start, exponent = layout(low, high)
        assert 2.0**exponent <= (high - low) / BINS * 2
        assert start * 2.0**exponent <= low < high < (start + BINS) * 2.0**exponent


def test_merging_adds_the_counts() -> None:
    centers, counts = merged([made(1), made(2, 100.0)])
    assert counts.sum() == 3000
    assert np.all(np.diff(centers) > 0)


def test_statistics_read_back_as_written(tmp_path: Path) -> None:
    stats = Statistics({"a": made(1), "b/ü": made(2)}, 7)
    stats.save(tmp_path / "s.npz")
    back = Statistics.load(tmp_path / "s.npz")
    assert back.samples == 7
    assert list(back.values) == ["a", "b/ü"]
    for name, v in stats.values.items():
        for key in ("low", "high", "mean", "counts"):
            np.testing.assert_array_equal(getattr(v, key), getattr(back.values[name], key))
    back.save(tmp_path / "t.npz")
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "t.npz").read_bytes()


def arrays(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return dict(file)


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("format", lambda a: np.int64(2)),
        ("samples", lambda a: np.int64(0)),
        ("samples", lambda a: np.array([1, 2])),
        ("names", lambda a: np.array(["a", "a"])),
        ("names", lambda a: a[:1]),
        ("names", lambda a: np.array([1, 2])),
        ("channels", lambda a: -a),
        ("channels", lambda a: a + 1),
        ("channels", lambda a: a.astype(np.float64)),
        ("low", lambda a: a * np.float32(np.nan)),
        ("low", lambda a: a + np.float32(1e6)),
        ("high", lambda a: a[:-1]),
        ("mean", lambda a: a + np.inf),
        ("counts", lambda a: a[:, 1:]),
        ("counts", lambda a: a - 1),
        ("counts", lambda a: a.astype(object)),
        ("integral", lambda a: a[:1]),
        ("integral", None),
    ],
)
def test_a_tampered_file_is_refused(tmp_path: Path, key: str, change: object) -> None:
    Statistics({"a": made(1), "b": made(2)}, 7).save(tmp_path / "s.npz")
    found = arrays(tmp_path / "s.npz")
    if change is None:
        del found[key]
    else:
        found[key] = change(found[key])  # type: ignore[operator]
    np.savez(tmp_path / "bad.npz", **found)
    with pytest.raises(QuantizeError, match=r"bad\.npz"):
        Statistics.load(tmp_path / "bad.npz")


def test_a_damaged_or_missing_file_is_refused(tmp_path: Path) -> None:
    Statistics({"a": made(1)}, 7).save(tmp_path / "s.npz")
    good = (tmp_path / "s.npz").read_bytes()
    rng = np.random.default_rng(0)
    bad = tmp_path / "bad.npz"
    for data in (b"", b"PK", good[:100], good[: len(good) // 2], good[:-10]):
        bad.write_bytes(data)
        with pytest.raises(QuantizeError):
            Statistics.load(bad)
    for _ in range(200):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << int(rng.integers(8))
        bad.write_bytes(bytes(data))
        with contextlib.suppress(QuantizeError):
            Statistics.load(bad)
    with pytest.raises(QuantizeError, match="cannot be read"):
        Statistics.load(tmp_path / "none.npz")
