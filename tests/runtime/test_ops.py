"""Every other opcode: each variant and thread count equals numerics.py, bit for bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeq.runtime import _engine, isa, numerics
from tests.runtime import law
from tests.runtime.builder import Builder, Tensor, window

Array = NDArray[Any]
LEVELS = _engine.isa_list()
DTYPES = ("int8", "int16")
SHAPES: list[tuple[int, ...]] = [
    (1, 1),
    (5, 3),
    (1, 4, 5, 15),
    (2, 3, 4, 16),
    (1, 2, 3, 33),
    (7, 300),
    (2, 1, 3, 2, 2, 17),
]
# fmt: off
POOLS = [
    (window((2, 2), (2, 2)), (3, 4)), (window((3, 3), (2, 2), pad=(1, 1)), (4, 4)),
    (window((3, 2), (1, 1), (2, 2), (2, 1)), (7, 9)), (window((7, 8)), (1, 1)), (window((5, 5), pad=(2, 2)), (7, 8)),
    (window((2, 2), (4, 4), pad=(3, 3)), (3, 4)),  # first windows lie wholly outside
    (window((2, 2), pad=(-2, -3)), (4, 4)),
]
# fmt: on


def integers(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> Array:
    lo, hi = law.BOUNDS[dtype]
    x = rng.integers(lo, hi + 1, shape).astype(dtype)
    x.reshape(-1)[:: 7 if x.size > 7 else 1] = rng.choice([lo, hi])
    return x


def rows_of(rng: np.random.Generator, n: int, dtype: str, *, r: float = 1.0) -> dict[str, Array]:
    """Clamp bounds and zero points of `n` output channels."""
    lo, hi = law.BOUNDS[dtype]
    bound = np.sort(rng.integers(lo, hi + 1, (2, n)), axis=0)
    bound[:, ::2] = [[lo], [hi]]
    return {
        "zp": rng.integers(-120, 120, n),
        "lo": bound[0],
        "hi": bound[1],
        "r": np.float32(rng.uniform(0.3, 1.0, n) * r),
    }


def check(b: Builder, inputs: list[Array], expected: Array, *, view: Tensor | None = None) -> None:
    """Run on every level with 1 and 3 threads; compare the output."""
    program = b.build()
    out = b.outputs[0]
    for level in LEVELS:
        for threads in (1, 3):
            engine = _engine.Engine(program, threads=threads, isa=level)
            for i, x in enumerate(inputs):
                engine.set_input(i, np.ascontiguousarray(x))
            engine.run()
            got = np.empty(out.shape, out.dtype)
            engine.get_output(0, got)
            np.testing.assert_array_equal(got, expected, err_msg=f"{level} threads={threads}")


@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("a", "b", "batch"),
    [
        ((3, 5), (5, 7), ()),
        ((2, 9, 33), (2, 33, 300), (2,)),
        ((1, 4, 8), (3, 8, 16), (3,)),
        ((3, 2, 4, 16), (1, 2, 16, 1), (3, 2)),
    ],
)
def test_gemm(
    a: tuple[int, ...], b: tuple[int, ...], batch: tuple[int, ...], dtype: str, transpose: bool
) -> None:
    rng = np.random.default_rng(1)
    x, y = integers(rng, a, "int8"), integers(rng, b, "int8")
    za, zb, n, k = -7, 100, b[-1], b[-2]
    r = rows_of(rng, n, dtype)
    m = (r["r"] * law.BOUNDS[dtype][1] / (60 * 127 * k**0.5)).astype(np.float32)
    out = (*batch, a[-2], n)
    build = Builder()
    ta = build.tensor("in", a, pixel=a[-1] + 3)
    tb = build.tensor("in", (*b[:-2], n, k) if transpose else b, pixel=(k if transpose else n) + 1)
    ty = build.tensor("out", out, dtype, pixel=n + 2)
    build.command("GEMM", in0=ta, in1=tb, out=ty, za=za, zb=zb, flags=isa.FLAG_TRANSPOSE_B if transpose else 0,
                  qparams=build.rows("GEMM", n, m=m, **{k: r[k] for k in ("zp", "lo", "hi")}))  # fmt: skip
    acc = (x.astype(np.int64) - za) @ (y.astype(np.int64) - zb)
    expected = numerics.requantize(acc, m, r["zp"], r["lo"], r["hi"])
    check(build, [x, y.swapaxes(-1, -2) if transpose else y], expected)


@pytest.mark.parametrize("kind", isa.ELEMENTWISE_KINDS)
@pytest.mark.parametrize("types", [(a, b, y) for a in DTYPES for b in DTYPES for y in DTYPES])
def test_elementwise(kind: str, types: tuple[str, str, str]) -> None:
    binary = kind in ("ADD", "MUL", "DIV")
    for seed, shape in enumerate(SHAPES):
        rng = np.random.default_rng(seed)
        n = shape[-1]
        broadcast = [shape, (1,) * len(shape), (n,), (*shape[:-1], 1)][seed % 4]
        a, b = integers(rng, shape, types[0]), integers(rng, broadcast, types[1])
        r = rows_of(rng, n, types[2])
        ranges = [law.BOUNDS[t] for t in types[:2]]
        za, zb = (rng.integers(lo, hi + 1, n) for lo, hi in ranges)
        high = law.BOUNDS[types[2]][1]
        ra = (rng.uniform(0.1, 1.2, n) * high / ranges[0][1]).astype(np.float32)
        rb = (rng.uniform(-1.2, 1.2, n) * high / ranges[1][1]).astype(np.float32)
        if kind == "MUL":
            ra = (ra / ranges[1][1]).astype(np.float32)
        ra[::3] = 0.5 if kind != "MUL" else ra[::3]
        rb[::3] = -0.5
        with np.errstate(all="ignore"):
            if kind == "ADD":
                expected = numerics.add(a, b, ra, rb, za, zb, r["zp"], r["lo"], r["hi"])
            elif kind == "MUL":
                expected = numerics.mul(a, b, ra, za, zb, r["zp"], r["lo"], r["hi"])
            elif kind == "DIV":
                expected = numerics.div(a, b, ra, za, zb, r["zp"], r["lo"], r["hi"])
            else:
                v = (a.astype(np.int32) - za).astype(np.float32)
                slope = np.where(v < 0, rb, ra) if kind == "PRELU" else ra
                expected = numerics.rint_clamp(v * slope, r["zp"], r["lo"], r["hi"])
        build = Builder()
        gap = seed % 3
        ta = build.tensor("in", shape, types[0], pixel=n + gap)
        tb = build.tensor("in", broadcast, types[1]) if binary else isa.NONE16
        ty = build.tensor("out", shape, types[2], pixel=n + gap)
        values = {k: r[k] for k in ("zp", "lo", "hi")}
        build.command("ELEMENTWISE", in0=ta, in1=tb, out=ty, kind=isa.ELEMENTWISE_KINDS[kind],
                      qparams=build.rows("ELEMENTWISE", n, za=za, zb=zb, ra=ra, rb=rb, **values))  # fmt: skip
        check(build, [a, b] if binary else [a], expected)


def test_infinite_products_become_the_zero_point_or_the_bounds() -> None:
    """inf - inf is NaN and becomes zp; x / 0 saturates by sign."""
    a = np.arange(-128, 128, dtype=np.int8).reshape(16, 16)
    for kind, rb in (("ADD", -3e38), ("DIV", 0.0), ("DIV", 1.0)):
        build = Builder()
        ta, ty = build.tensor("in", a.shape), build.tensor("out", a.shape)
        values: dict[str, Any] = {
            "ra": np.float32(3e38),
            "rb": np.float32(rb),
            "zp": 5,
            "lo": -100,
            "hi": 99,
        }
        build.command("ELEMENTWISE", in0=ta, in1=ta, out=ty, kind=isa.ELEMENTWISE_KINDS[kind],
                      qparams=build.rows("ELEMENTWISE", 16, za=0, zb=0, **values))  # fmt: skip
        with np.errstate(all="ignore"):
            if kind == "ADD":
                expected = numerics.add(a, a, values["ra"], values["rb"], 0, 0, 5, -100, 99)
            else:
                expected = numerics.div(a, a, values["ra"], 0, 0, 5, -100, 99)
        check(build, [a], expected)


def test_elementwise_in_place() -> None:
    rng = np.random.default_rng(3)
    a, c = integers(rng, (4, 5, 33), "int8"), integers(rng, (33,), "int8")
    build = Builder()
    ta = build.tensor("in", a.shape, pixel=40)
    ty = build.tensor("out", a.shape, pixel=40)
    ty.offset = ta.offset
    tc = build.tensor("const", c.shape, data=c)
    build.command("ELEMENTWISE", in0=ta, in1=tc, out=ty, kind=isa.ELEMENTWISE_KINDS["ADD"],
                  qparams=build.rows("ELEMENTWISE", 33, ra=0.5, rb=0.25, zp=1, lo=-128, hi=127))  # fmt: skip
    half, quarter = np.float32(0.5), np.float32(0.25)
    check(build, [a], numerics.add(a, c, half, quarter, 0, 0, 1, -128, 127))


@pytest.mark.parametrize("step", [False, True])
@pytest.mark.parametrize("out", DTYPES)
@pytest.mark.parametrize(("kind", "dtype"), [("LUT8", "int8"), ("LUT16", "int16")])
def test_lut(kind: str, dtype: str, out: str, step: bool) -> None:
    every = np.arange(law.BOUNDS[dtype][0], law.BOUNDS[dtype][1] + 1).astype(dtype)
    for seed, x in enumerate(
        [every.reshape(-1, 16), integers(np.random.default_rng(0), (3, 5, 33), dtype)]
    ):
        rng = np.random.default_rng(seed)
        table = rng.integers(-32768, 32768, 256 if kind == "LUT8" else 513).astype(np.int16)
        e: dict[str, Any] = {
            **rows_of(rng, x.shape[-1], out, r=law.BOUNDS[out][1] / 30000),
            "step": step,
        }
        build = Builder()
        tx, ty = (
            build.tensor("in", x.shape, dtype),
            build.tensor("out", x.shape, out, pixel=x.shape[-1] + 2),
        )
        values = {k: e[k] for k in ("zp", "lo", "hi", "r")}
        build.command("LUT", in0=tx, out=ty, lut=build.lut(table), lut_kind=isa.LUT_KINDS[kind],
                      flags=isa.FLAG_LUT_STEP if step else 0, qparams=build.rows("LUT", x.shape[-1], **values))  # fmt: skip
        t = numerics.lut8(x, table) if kind == "LUT8" else numerics.lut16(x, table)
        check(build, [x], law.step(t, e, out))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("channels", [1, 3, 17, 300])
@pytest.mark.parametrize(("win", "out_hw"), POOLS)
def test_max_pool(win: dict[str, int], out_hw: tuple[int, int], channels: int, dtype: str) -> None:
    x = integers(np.random.default_rng(0), (2, 7, 8, channels), dtype)
    build = Builder()
    tx = build.tensor("in", x.shape, dtype, pixel=channels + 3)
    ty = build.tensor("out", (2, *out_hw, channels), dtype, pixel=channels + 1)
    build.command("POOL", in0=tx, out=ty, kind=isa.POOL_KINDS["MAX"], **win)
    low = np.full(channels, law.BOUNDS[dtype][0])
    check(build, [x], np.max([p for _, _, p, _ in law.taps(x, win, out_hw, low)], axis=0))


@pytest.mark.parametrize("count_pad", [False, True])
@pytest.mark.parametrize("out", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("win", "out_hw"), POOLS)
def test_average_pool(
    win: dict[str, int], out_hw: tuple[int, int], dtype: str, out: str, count_pad: bool
) -> None:
    for channels in (1, 17, 260):
        rng = np.random.default_rng(channels)
        x = integers(rng, (2, 7, 8, channels), dtype)
        zx = rng.integers(*law.BOUNDS[dtype], channels)
        r: dict[str, Any] = {
            **rows_of(rng, channels, out),
            "ratio": rng.uniform(0.3, 1.2, channels),
        }
        r["ratio"] *= law.BOUNDS[out][1] / law.BOUNDS[dtype][1]
        build = Builder()
        tx = build.tensor("in", x.shape, dtype, pixel=channels + 3)
        ty = build.tensor("out", (2, *out_hw, channels), out)
        values = {k: r[k] for k in ("ratio", "zp", "lo", "hi")}
        build.command("POOL", in0=tx, out=ty, kind=isa.POOL_KINDS["AVG"], flags=isa.FLAG_COUNT_PAD if count_pad else 0,
                      qparams=build.rows("POOL", channels, zx=zx, **values), **win)  # fmt: skip
        parts = list(law.taps(x.astype(np.int64) - zx, win, out_hw, np.zeros(channels, np.int64)))
        s = sum(p for _, _, p, _ in parts)
        n = (
            win["kh"] * win["kw"]
            if count_pad
            else sum(v.astype(int) for *_, v in parts)[None, :, :, None]
        )
        check(build, [x], law.mean(s, n, r, dtype))


@pytest.mark.parametrize("keep", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("shape", "axes"),
    [((2, 7, 8, 17), (1, 2)), ((2, 7, 8, 300), (1,)), ((2, 3, 300), (2,)), ((5,), (0,)),
     ((1, 19, 5, 300), (0, 1, 2)), ((1, 600, 41), (1,)), ((3, 4, 5), (0, 1, 2)),
     ((3, 4, 5), (0, 2)), ((2, 3, 2, 3, 4), (1, 3))],
)  # fmt: skip
def test_reduce(shape: tuple[int, ...], axes: tuple[int, ...], dtype: str, keep: bool) -> None:
    rng = np.random.default_rng(5)
    x = integers(rng, shape, dtype)
    last = len(shape) - 1 in axes
    n = 1 if last else shape[-1]
    zx = rng.integers(*law.BOUNDS[dtype], n)
    r: dict[str, Any] = {
        **rows_of(rng, n, "int8"),
        "ratio": rng.uniform(0.5, 4.0, n) / law.BOUNDS[dtype][1] * 127,
    }
    s = (x.astype(np.int64) - zx).sum(axis=axes, keepdims=keep)
    if s.ndim == 0:
        s = s.reshape(1)
    build = Builder()
    tx, ty = build.tensor("in", shape, dtype, pixel=shape[-1] + 1), build.tensor("out", s.shape)
    values = {k: r[k] for k in ("ratio", "zp", "lo", "hi")}
    build.command("REDUCE", in0=tx, out=ty, axes=sum(1 << i for i in axes),
                  qparams=build.rows("REDUCE", n, zx=zx, **values))  # fmt: skip
    check(build, [x], law.mean(s, int(np.prod([shape[i] for i in axes])), r, dtype))


@pytest.mark.parametrize("value", [-128, 127])
def test_a_mean_of_many_equal_extremes_is_that_value(value: int) -> None:
    x = np.full((1, 3, 600, 61), value, np.int8)
    build = Builder()
    tx, ty = build.tensor("in", x.shape), build.tensor("out", (1, 1, 1, 61))
    rows = build.rows("REDUCE", 61, ratio=1.0, lo=-128, hi=127)
    build.command("REDUCE", in0=tx, out=ty, axes=0b0110, qparams=rows)
    check(build, [x], np.full((1, 1, 1, 61), value, np.int8))


@pytest.mark.parametrize("out", DTYPES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1), (4, 10), (2, 3, 257)])
def test_softmax(shape: tuple[int, ...], dtype: str, out: str) -> None:
    rng = np.random.default_rng(2)
    x = integers(rng, shape, dtype)
    scale = 0.07 if dtype == "int8" else 0.0003
    fine, coarse = numerics.exp_tables(scale, wide=dtype == "int16")
    inv, zp = (256.0, -128) if out == "int8" else (32768.0, 0)
    build = Builder()
    tx, ty = (
        build.tensor("in", shape, dtype, pixel=shape[-1] + 1),
        build.tensor("out", shape, out, pixel=shape[-1] + 3),
    )
    build.command(
        "SOFTMAX",
        in0=tx,
        out=ty,
        lut=build.lut(np.concatenate([fine, coarse])),
        zp=zp,
        inv_scale=inv,
    )
    check(build, [x], numerics.softmax(x, fine, coarse, inv, zp, *law.BOUNDS[out]))


@pytest.mark.parametrize("mode", ["half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("channels", [1, 3, 17, 70])
def test_resize(mode: str, channels: int) -> None:
    for out_hw in ((14, 9), (3, 2), (7, 20), (1, 1)):
        for dtype in DTYPES:
            x = integers(np.random.default_rng(0), (2, 7, 5, channels), dtype)
            scales = [o / i for o, i in zip(out_hw, (7, 5), strict=True)]
            ys, xs = (
                numerics.nearest_axis(i, o, s, mode, "floor")
                for i, o, s in zip((7, 5), out_hw, scales, strict=True)
            )
            build = Builder()
            tx = build.tensor("in", x.shape, dtype, pixel=channels + 1)
            ty = build.tensor("out", (2, *out_hw, channels), dtype, pixel=channels + 2)
            build.command(
                "RESIZE", in0=tx, out=ty, kind=0, constants=build.constant(np.concatenate([ys, xs]))
            )
            check(build, [x], x[:, ys][:, :, xs])
            if dtype == "int16":
                continue
            rows, cols = (
                numerics.lerp_axis(i, o, s, mode)
                for i, o, s in zip((7, 5), out_hw, scales, strict=True)
            )
            build = Builder()
            tx = build.tensor("in", x.shape, pixel=channels + 1)
            ty = build.tensor("out", (2, *out_hw, channels), pixel=channels + 2)
            build.command(
                "RESIZE",
                in0=tx,
                out=ty,
                kind=1,
                constants=build.constant(np.concatenate([*rows, *cols])),
            )
            check(build, [x], numerics.lerp(x, rows, cols))


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "float32"])
def test_layout_moves_any_dtype(dtype: str) -> None:
    """A transpose into the middle of a larger tensor that was there before."""
    x = (np.arange(2 * 3 * 4 * 5) - 50).astype(dtype).reshape(2, 3, 4, 5)
    expected = np.full((5, 2, 6, 4), 0, dtype)
    expected[:, :, 1:4, :] = x.transpose(3, 0, 1, 2)
    build = Builder()
    tx, ty = (
        build.tensor("in", x.shape, dtype, scale=[]),
        build.tensor("out", expected.shape, dtype, scale=[]),
    )
    table = [1, 1, 5, 2, 3, 4, 0, 0, 1, 60, 20, 5, 0, 0, 48, 24, 4, 1, 0, 4]
    build.command("LAYOUT", in0=tx, out=ty, constants=build.constant(np.array(table, np.int32)))
    check(build, [x], expected)


def test_layout_with_negative_stride_reverses() -> None:
    x = np.arange(12, dtype=np.int8).reshape(3, 4)
    build = Builder()
    tx, ty = build.tensor("in", x.shape), build.tensor("out", x.shape)
    table = [1, 1, 1, 1, 3, 4, 0, 0, 0, 0, 4, -1, 0, 0, 0, 0, 4, 1, 3, 0]
    build.command("LAYOUT", in0=tx, out=ty, constants=build.constant(np.array(table, np.int32)))
    check(build, [x], x[:, ::-1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_fill(dtype: str) -> None:
    value = np.arange(-10, 9)
    build = Builder()
    ty = build.tensor("out", (2, 3, 19), dtype, pixel=24)
    build.command("FILL", out=ty, qparams=build.rows("FILL", 19, value=value))
    check(build, [], np.broadcast_to(value, (2, 3, 19)).astype(dtype))


@pytest.mark.parametrize("axis", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", ["int8", "int16", "float32"])
def test_gather(axis: int, dtype: str) -> None:
    x = np.arange(2 * 3 * 4 * 5).astype(dtype).reshape(2, 3, 4, 5)
    index = np.array([1, 0, 1, 1, 0], np.int32) if axis == 0 else np.array([2, 0, 2, 1], np.int32)
    expected = np.take(x, index, axis)
    build = Builder()
    tx = build.tensor("in", x.shape, dtype, pixel=7, scale=[])
    ty = build.tensor("out", expected.shape, dtype, pixel=9, scale=[])
    build.command("GATHER", in0=tx, out=ty, axis=axis, constants=build.constant(index))
    check(build, [x], expected)
