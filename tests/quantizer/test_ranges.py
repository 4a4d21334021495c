"""Ranges and scales of single values."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.graph.ir import Array, Node, QParams
from edgeq.ops.unary import FUNCTIONS, unary_table
from edgeq.quantizer.ranges import affine8, input_scale, mse_range, symmetric16
from edgeq.quantizer.statistics import histogram, layout
from edgeq.quantizer.tables import Reader, table_scale
from edgeq.runtime import numerics


def counted(x: Array) -> tuple[Array, Array]:
    low, high = float(x.min()), float(x.max())
    start, exponent = layout(low, high)
    return np.ldexp(start + np.arange(2048) + 0.5, exponent), histogram(x, low, high)


def error(x: Array, low: float, high: float) -> float:
    scale, zero = affine8(low, high)
    q = numerics.quantize(x, scale, zero, -128, 127)
    return float(np.square(numerics.dequantize(q, scale, zero) - x).mean())


def test_mse_range_beats_min_max_on_outliers() -> None:
    rng = np.random.default_rng(0)
    x = np.append(rng.normal(size=500_000), [40.0, -25.0]).astype(np.float32)
    low, high = mse_range(*counted(x), -25.0, 40.0)
    assert error(x, low, high) < error(x, -25.0, 40.0) / 2
    assert -25.0 < low < 0 < high < 40.0


def test_mse_range_keeps_all_of_an_even_distribution() -> None:
    x = np.linspace(0, 6, 10_000, dtype=np.float32)
    assert mse_range(*counted(x), 0.0, 6.0) == (0.0, 6.0)


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 0.0), (0.0, 1e-30), (-1e-20, 1e-20), (-1e30, 1e38), (0.0, 6.0), (-3.0, 0.0)],
)
def test_every_range_gives_a_usable_scale(low: float, high: float) -> None:
    scale, zero = affine8(low, high)
    assert scale.dtype == np.float32
    assert scale * 1.0001 >= 1e-12
    assert np.isfinite(scale)
    assert -128 <= zero <= 127
    assert np.isfinite(symmetric16(high)[0])
    assert symmetric16(high)[0] > 0


def test_pixels_from_minus_one_to_one_are_not_merged_in_pairs() -> None:
    pixels = (np.arange(256, dtype=np.float32) / np.float32(127.5) - 1).astype(np.float32)
    scale = input_scale(*counted(pixels), -1.0, 1.0)
    q = numerics.quantize(pixels, np.float32(scale), 0, -128, 127)
    assert len(np.unique(q)) > 250


KINDS = [
    ("Silu", {}, -60, 30),
    ("HardSwish", {}, -20, 12),
    ("Sigmoid", {}, -30, 20),
    ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}, -7, 9),
    ("LeakyRelu", {"alpha": 0.1}, -20, 30),
    ("Mish", {}, -20, 10),
    ("Gelu", {}, -9, 9),
    ("Tanh", {}, -8, 8),
]


@pytest.mark.parametrize(("kind", "params", "low", "high"), KINDS, ids=[k[0] for k in KINDS])
def test_a_table_behind_int16_rounds_like_the_function(
    kind: str, params: dict[str, float], low: float, high: float
) -> None:
    attrs = {"kind": kind, **params}
    x = np.linspace(low, high, 20_001)
    y = FUNCTIONS[kind](x, attrs)
    q = QParams(*affine8(min(y.min(), 0.0), max(y.max(), 0.0)))
    qx = QParams(*table_scale([Reader(attrs, q)], low, high), "int16")
    assert int(qx.zero_point) % 128 == 0
    table, step = unary_table(Node("Unary", "u", ("a",), ("b",), attrs), qx, q)
    assert step is not None
    xi = numerics.quantize(x.astype(np.float32), qx.scale, qx.zero_point, qx.lo, qx.hi)
    out = numerics.requantize(numerics.lut16(xi, table), step, q.zero_point, q.lo, q.hi)
    exact = np.clip(y / float(q.scale) + int(q.zero_point), -128, 127)
    assert np.abs(out - exact).max() < 0.65
    assert abs((out - np.rint(exact)).mean()) < 0.01


def test_flat_tails_are_cut_off_the_table() -> None:
    q = QParams(*affine8(-0.28, 12.0))
    scale, zero = table_scale([Reader({"kind": "Silu"}, q)], -200.0, 15.0)
    assert (-32768 - int(zero)) * float(scale) > -12
    wide, at = table_scale([Reader({"kind": "Silu"}, None)], -200.0, 15.0)
    assert (-32768 - int(at)) * float(wide) <= -200


def test_kinks_lie_on_knots() -> None:
    q = QParams(*affine8(-0.375, 8.0))
    scale, _ = table_scale([Reader({"kind": "HardSwish"}, q)], -20.0, 8.0)
    knots = 3.0 / (float(scale) * 128)
    assert abs(knots - round(knots)) < 1e-4
