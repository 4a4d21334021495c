"""Floats in and out: the edge rule on every layout, by every kernel set, with any number of threads."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeq.errors import DeviceError
from edgeq.runtime import Session, _engine, load, numerics
from tests.runtime.builder import Builder

Array = NDArray[Any]
KERNELS = _engine.isa_list()
# n, h, w, c; elements between pixels, and more of them between rows
LAYOUTS = [
    ((1, 1, 1, 1000), 1000, 0),
    ((1, 9, 33, 3), 3, 0),
    ((2, 40, 41, 3), 4, 0),
    ((2, 7, 21, 3), 4, 4),
    ((3, 1, 50, 3), 4, 0),
    ((1, 13, 17, 85), 85, 0),
    ((1, 20, 20, 16), 28, 0),
    ((2, 5, 6, 33), 40, 7),
    ((1, 4, 3, 300), 303, 1),
]


def through(
    shape: tuple[int, ...], pixel: int, row: int, dtype: str, scale: Any, zero: Any
) -> bytes:
    """A program that hands its strided input to an output with the same strides."""
    b = Builder()
    layout = {"pixel": pixel, "row": row, "scale": scale, "zero_point": zero}
    x, y = b.tensor("in", shape, dtype, **layout), b.tensor("out", shape, dtype, **layout)
    table = [1, 1, *shape, 0, 0, *x.strides, 0, 0, *y.strides, 0, 0]
    b.command("LAYOUT", in0=x, out=y, constants=b.constant(np.array(table, np.int32)))
    return b.build()


def floats(shape: tuple[int, ...], scale: Any) -> Array:
    """Values around every integer: ties, one float beside them, and what no integer holds."""
    rng = np.random.default_rng(0)
    x = (rng.integers(-300, 300, shape) * 0.5).astype(np.float32) * np.asarray(scale, np.float32)
    beside = rng.integers(0, 3, shape)
    x = np.where(beside == 1, np.nextafter(x, np.float32(np.inf)), x)
    x = np.where(beside == 2, rng.normal(size=shape) * 90 * np.asarray(scale), x)
    flat = x.astype(np.float32).ravel()
    odd = [np.inf, -np.inf, 3.4e38, -3.4e38, 1e-40, -0.0, 2.0**31, -(2.0**31)]
    flat[rng.integers(0, flat.size, 8)] = odd
    return flat.reshape(shape)


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
def test_every_layout_obeys_the_edge_rule(
    layout: tuple[tuple[int, ...], int, int], dtype: str, kernels: str
) -> None:
    shape = layout[0]
    rng = np.random.default_rng(1)
    lo, hi = (-128, 127) if dtype == "int8" else (-32768, 32767)
    each = (rng.uniform(0.01, 2, shape[3]), rng.integers(-128, 128, shape[3]))
    for scale, zero in ((0.021, -7), (1.0, 127), (1e-38, 0), (0.5, -3000), each):
        s, z = np.asarray(scale, np.float32), np.asarray(zero, np.int32)
        body = through(*layout, dtype, s, z)
        x = floats(shape, s)
        q = numerics.quantize(x, s, z, lo, hi)
        for threads in (1, 3):
            with Session(body, threads=threads, kernels=kernels) as session:
                (native,) = session.run(x, native=True).values()
                np.testing.assert_array_equal(native, q)
                (real,) = session.run(native).values()
                np.testing.assert_array_equal(real, numerics.dequantize(q, s, z))


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("pixel", [3, 4])
def test_a_nan_is_found_wherever_it_stands(pixel: int, kernels: str) -> None:
    shape = (1, 3, 50, 3)
    with Session(through(shape, pixel, 0, "int8", 0.1, 0), threads=1, kernels=kernels) as session:
        for at in range(3 * 50 * 3):
            x = np.ones(shape, np.float32)
            x.ravel()[at] = np.nan
            with pytest.raises(DeviceError, match="NaN"):
                session.run(x)


def test_arrays_of_any_kind_come_to_the_same() -> None:
    shape = (1, 4, 5, 3)
    session = load(through(shape, 4, 0, "int8", 0.1, 0))
    x = np.linspace(-9, 9, 60, dtype=np.float32).reshape(shape)
    (expected,) = session.run(x, native=True).values()
    read_only = x.copy()
    read_only.flags.writeable = False
    same: list[Any] = [x.astype(np.float64), np.asfortranarray(x), x.tolist(), {"in0": x}, read_only,
                       {"in0": np.asfortranarray(x)}, expected, np.asfortranarray(expected)]  # fmt: skip
    for other in same:
        (actual,) = session.run(other, native=True).values()
        np.testing.assert_array_equal(actual, expected)
    for wrong in (x.astype(">f4"), x.astype(np.float16), x.view(np.int32), x.astype(np.uint8)):
        with pytest.raises(DeviceError, match="dtype must be int8 or float32"):
            session.run(wrong)


def test_the_engine_takes_only_what_fits() -> None:
    shape = (1, 4, 5, 3)
    engine = _engine.Engine(through(shape, 4, 0, "int8", 0.1, 0))
    x, y = np.ones(shape, np.float32), np.zeros(shape, np.int8)
    assert engine.call([x], [y])
    assert (y == 10).all()
    for inputs in (
        [],
        [x, x],
        [x.astype(np.float64)],
        [np.asfortranarray(x)],
        [x.astype(np.int16)],
    ):
        assert not engine.call(inputs, [y])
    assert not engine.call([x], [])
    with pytest.raises(DeviceError, match="needs 60 elements, got 3"):
        engine.call([x.ravel()[:3]], [y])
    with pytest.raises(DeviceError, match="wrong dtype"):
        engine.call([x], [y.astype(np.int16)])
    y.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        engine.call([x], [y])
