"""Corner cases of the integer law."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeq.runtime import numerics


def test_requantize_rounds_half_to_even() -> None:
    acc = np.array([1, 3, 5, 7, -1, -3, -5], np.int32)
    y = numerics.requantize(acc, np.float32(0.5), 0, -128, 127)
    assert y.tolist() == [0, 2, 2, 4, 0, -2, -2]


def test_requantize_saturates_and_adds_the_zero_point() -> None:
    acc = np.array([-(2**31), 2**31 - 1, 0], np.int64)
    assert numerics.requantize(acc, np.float32(1.0), 5, -128, 127).tolist() == [-128, 127, 5]


def test_nan_becomes_the_zero_point() -> None:
    x = np.array([np.nan, np.inf, -np.inf], np.float32)
    assert numerics.quantize(x, np.float32(0.1), np.int32(7), -128, 127).tolist() == [7, 127, -128]


def test_division_by_zero_saturates_by_sign() -> None:
    a, b = np.array([5, -5, 0], np.int8), np.zeros(3, np.int8)
    assert numerics.div(a, b, np.float32(1), 0, 0, 3, -128, 127).tolist() == [127, -128, 3]


def test_lut16_meets_its_knots_and_interpolates_between() -> None:
    table = np.arange(-256, 257, dtype=np.int16)
    x = np.array([-32768, -32768 + 64, 0, 32767], np.int16)
    assert numerics.lut16(x, table).tolist() == [-256, -255, 0, 256]


@given(
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from(["half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"]),
)
def test_lerp_weights_stay_inside(n_in: int, n_out: int, mode: str) -> None:
    i0, i1, w = numerics.lerp_axis(n_in, n_out, n_out / n_in, mode)
    assert i0.min() >= 0 and i1.max() < n_in and w.min() >= 0 and w.max() < 1 << numerics.LERP_BITS


@given(st.lists(st.integers(-128, 127), min_size=1, max_size=50), st.floats(1e-3, 0.3))
def test_softmax_is_close_to_the_real_one(row: list[int], scale: float) -> None:
    x = np.array([row], np.int8)
    fine, coarse = numerics.exp_tables(scale, wide=False)
    y = (numerics.softmax(x, fine, coarse, 256.0, -128, -128, 127) + 128) / 256
    e = np.exp((x.astype(np.float64) - x.max()) * scale)
    assert np.abs(y - e / e.sum()).max() <= 1 / 256
