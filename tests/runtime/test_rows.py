"""Row kernels on whole pixels: channel counts around register sizes, gaps, constants, rows that differ by channel."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.runtime import isa, numerics
from tests.runtime import law
from tests.runtime.builder import Builder, window
from tests.runtime.test_ops import check, integers, rows_of

CHANNELS = (5, 8, 16, 24, 40, 58, 64, 96, 130, 320)


@pytest.mark.parametrize("kind", ["ADD", "MUL"])
@pytest.mark.parametrize("rows", ["one", "per channel", "wide"])
@pytest.mark.parametrize("channels", CHANNELS)
def test_sums_and_products_of_pixels(channels: int, rows: str, kind: str) -> None:
    """`wide`: zero points or multipliers that leave what saturating packs can do."""
    rng = np.random.default_rng(channels)
    shape, n = (2, 5, 7, channels), channels
    for gaps in ((0, 0, 0), (8, 0, 0), (0, 8, 0), (0, 0, 8), (3, 1, 2)):
        for constant in (False, True):
            many = 1 if rows == "one" else n
            low, high = (-300, 300) if rows == "wide" else (-128, 128)
            za, zb = (
                np.broadcast_to(rng.integers(-128, 128, many), n).astype(np.int32) for _ in "ab"
            )
            zp = np.broadcast_to(rng.integers(low, high, many), n).astype(np.int32)
            most = 9000.0 if rows == "wide" else 0.7
            ra, rb = (np.float32(np.broadcast_to(rng.uniform(-most, most, many), n)) for _ in "ab")
            if rows != "wide":
                ra = np.where(rng.integers(0, 2, many) == 1, np.float32(0.5), ra)  # ties
                rb = np.broadcast_to(np.float32(0.5), n)
            if kind == "MUL":
                ra = np.float32(ra / 64)
            bounds = np.sort(rng.integers(-128, 128, (2, many)), axis=0)
            lo, hi = (np.broadcast_to(v, n) for v in bounds)
            a = integers(rng, shape, "int8")
            b = integers(rng, (1, 1, 1, n) if constant else shape, "int8")
            if kind == "ADD":
                expected = numerics.add(a, b, ra, rb, za, zb, zp, lo, hi)
            else:
                expected = numerics.mul(a, b, ra, za, zb, zp, lo, hi)
            build = Builder()
            ta = build.tensor("in", shape, pixel=n + gaps[0])
            tb = build.tensor("in", b.shape, pixel=n + gaps[1])
            ty = build.tensor("out", shape, pixel=n + gaps[2])
            values = {"za": za, "zb": zb, "ra": ra, "rb": rb, "zp": zp, "lo": lo, "hi": hi}
            build.command("ELEMENTWISE", in0=ta, in1=tb, out=ty, kind=isa.ELEMENTWISE_KINDS[kind],
                          qparams=build.rows("ELEMENTWISE", n, **values))  # fmt: skip
            check(build, [a, b], expected)


def smooth(pieces: bool) -> Any:
    """513 entries whose steps fit int16; 64 straight pieces or not."""
    rng = np.random.default_rng(3)
    steps = np.repeat(rng.integers(-400, 400, 64), 8) if pieces else rng.integers(-60, 60, 512)
    table = np.cumsum(np.concatenate([[0], steps])) - 20
    return np.clip(table, -32768, 32767).astype(np.int16)


@pytest.mark.parametrize("out", ["int8", "int16"])
@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("table", ["bytes", "pieces", "smooth"])
def test_tables_on_pixels(table: str, step: bool, out: str) -> None:
    rng = np.random.default_rng(1)
    dtype = "int8" if table == "bytes" else "int16"
    entries = (
        rng.integers(-32768, 32768, 256).astype(np.int16)
        if table == "bytes"
        else smooth(table == "pieces")
    )
    for n in (1, 7, 24, 32, 80, 300):
        for gaps in ((0, 0), (5, 0), (0, 2)):
            x = integers(rng, (3, 40, n), dtype)
            e: dict[str, Any] = {
                **rows_of(rng, n, out, r=law.BOUNDS[out][1] / 3000),
                "step": step,
            }
            if n % 2:
                e["r"][::2] = 3e38  # to the bounds
            build = Builder()
            tx = build.tensor("in", x.shape, dtype, pixel=n + gaps[0])
            ty = build.tensor("out", x.shape, out, pixel=n + gaps[1])
            values = {k: e[k] for k in ("zp", "lo", "hi", "r")}
            build.command("LUT", in0=tx, out=ty, lut=build.lut(entries),
                          lut_kind=isa.LUT_KINDS["LUT8" if table == "bytes" else "LUT16"],
                          flags=isa.FLAG_LUT_STEP if step else 0, qparams=build.rows("LUT", n, **values))  # fmt: skip
            t = numerics.lut8(x, entries) if table == "bytes" else numerics.lut16(x, entries)
            with np.errstate(all="ignore"):
                check(build, [x], law.step(t, e, out))


@pytest.mark.parametrize("channels", [1, 8, 24, 58, 130, 600])
@pytest.mark.parametrize(
    ("win", "hw", "out_hw"),
    [
        (window((3, 3), (2, 2), pad=(1, 1)), (20, 61), (10, 31)),
        (window((13, 13), pad=(6, 6)), (13, 13), (13, 13)),
        (window((2, 2), (2, 2)), (8, 300), (4, 150)),  # lines that do not fit at once
        (window((1, 90), pad=(0, 45)), (2, 100), (2, 101)),
        (window((3, 1), (1, 3)), (5, 40), (3, 14)),
    ],
)
def test_maxima_of_windows(
    win: dict[str, int], hw: tuple[int, int], out_hw: tuple[int, int], channels: int
) -> None:
    rng = np.random.default_rng(0)
    x = integers(rng, (1, *hw, channels), "int8")
    expected = np.full((1, *out_hw, channels), -128, np.int8)
    for _, _, pixels, valid in law.taps(x, win, out_hw, np.int8(-128)):
        expected = np.maximum(expected, np.where(valid[None, :, :, None], pixels, -128))
    for gap in (0, 3):
        build = Builder()
        tx = build.tensor("in", x.shape, pixel=channels + gap)
        ty = build.tensor("out", expected.shape, pixel=channels + gap)
        build.command("POOL", in0=tx, out=ty, kind=isa.POOL_KINDS["MAX"], **win)
        check(build, [x], expected)


def test_a_window_wider_than_any_line() -> None:
    """Taps tens of thousands of columns apart: pixel by pixel."""
    x = integers(np.random.default_rng(0), (1, 2, 5, 9), "int8")
    win = window((1, 2), pad=(0, 2))
    win["dw"] = 60000
    build = Builder()
    build.command("POOL", in0=build.tensor("in", x.shape), out=build.tensor("out", x.shape),
                  kind=isa.POOL_KINDS["MAX"], **win)  # fmt: skip
    expected = np.full(x.shape, -128, np.int8)
    expected[:, :, 2:] = x[:, :, :3]
    check(build, [x], expected)


@pytest.mark.parametrize("gap", [0, 3])
@pytest.mark.parametrize("shape", [(1, 9, 61, 24), (2, 1, 300, 8), (1, 7, 7, 320), (1, 30, 30, 57)])
def test_means_of_pictures(shape: tuple[int, ...], gap: int) -> None:
    rng = np.random.default_rng(0)
    n, count = shape[-1], shape[1] * shape[2]
    x = np.where(rng.integers(0, 5, shape) > 0, rng.choice([-128, 127], n), 3).astype(np.int8)
    r = rows_of(rng, n, "int8")
    values = {"ratio": rng.uniform(0.5, 1.5, n), "zx": rng.integers(-128, 128, n)} | {
        k: r[k] for k in ("zp", "lo", "hi")
    }
    build = Builder()
    tx = build.tensor("in", shape, pixel=n + gap, row=gap)
    ty = build.tensor("out", (shape[0], 1, 1, n))
    build.command("REDUCE", in0=tx, out=ty, axes=0b110, qparams=build.rows("REDUCE", n, **values))
    sums = (x.astype(np.int64) - values["zx"]).sum((1, 2), keepdims=True)
    check(build, [x], law.mean(sums, count, values, "int8"))


@pytest.mark.parametrize("length", [1000, 5000])
def test_softmax_of_long_rows(length: int) -> None:
    x = integers(np.random.default_rng(2), (3, length), "int16")
    fine, coarse = numerics.exp_tables(0.0003, wide=True)
    build = Builder()
    build.command("SOFTMAX", in0=build.tensor("in", x.shape, "int16"), out=build.tensor("out", x.shape, "int16"),
                  lut=build.lut(np.concatenate([fine, coarse])), zp=0, inv_scale=32768.0)  # fmt: skip
    check(build, [x], numerics.softmax(x, fine, coarse, 32768.0, 0, -32768, 32767))
