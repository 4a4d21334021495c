"""CONV and DWCONV: every kernel variant and thread count equals numerics.py, bit for bit."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edgeq.runtime import _engine, isa
from tests.runtime import law
from tests.runtime.builder import Builder, group_rows, pack_conv, pack_dw, window

Array = NDArray[Any]


@dataclass(frozen=True)
class Case:
    ic: int
    oc: int
    hw: tuple[int, int] = (7, 6)
    kernel: tuple[int, int] = (3, 3)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pad: tuple[int, int] = (1, 1)
    out_hw: tuple[int, int] = (7, 6)
    groups: int = 1
    batch: int = 1
    dtype: str = "int8"
    lut: str = "NONE"
    step: bool = False
    gap: int = 0  # extra elements between pixels, in and out
    extreme: bool = False  # every x and w at the end of its range
    bits: int = 8  # of a weight


CONV = [
    *[Case(ic, 17) for ic in (1, 3, 4, 15, 16, 17, 33)],
    *[Case(8, oc) for oc in (1, 3, 15, 16, 31, 32, 33, 48, 65)],
    Case(16, 32, kernel=(1, 1), pad=(0, 0)),
    Case(64, 64, kernel=(1, 1), pad=(0, 0), hw=(1, 25), out_hw=(1, 25)),
    Case(64, 100, kernel=(1, 1), pad=(0, 0), hw=(1, 1), out_hw=(1, 1)),
    Case(19, 21, stride=(2, 2), out_hw=(4, 3)),
    Case(5, 6, stride=(2, 1), kernel=(5, 3), pad=(2, 1), out_hw=(4, 6)),
    Case(5, 20, dilation=(2, 3), pad=(2, 3)),
    Case(5, 20, pad=(-1, -2), out_hw=(4, 3)),
    Case(5, 20, pad=(4, 5), out_hw=(9, 12)),  # whole windows outside
    Case(4, 20, batch=3),
    # output rows of quads, which overlap where they are not whole
    *[Case(8, oc, hw=(13, 16), out_hw=(13, 16)) for oc in (9, 16, 24, 36)],
    Case(3, 16, hw=(5, 32), stride=(2, 2), out_hw=(3, 16), batch=2),
    Case(16, 20, hw=(9, 8), dilation=(3, 1), pad=(2, -1), out_hw=(7, 4)),
    Case(4, 16, hw=(2, 300), pad=(5, 6), out_hw=(10, 300)),
    Case(16, 48, hw=(3, 500), out_hw=(3, 500)),  # lines of whole rows are many
    Case(96, 24, hw=(4, 301), out_hw=(4, 301)),  # and do not fit
    Case(520, 20, hw=(5, 9), out_hw=(5, 9)),  # few fit near
    Case(40, 17, kernel=(1, 900), pad=(0, 450), hw=(2, 900), out_hw=(2, 900)),  # none do
    *[Case(6, 33, hw=(5, w), out_hw=(5, w), gap=2, dtype="int16") for w in (4, 5, 7, 9, 27)],
    Case(32, 32, hw=(9, 13), out_hw=(9, 13), pad=(1, 1), extreme=True),
    Case(12, 32, hw=(9, 13), kernel=(1, 1), stride=(2, 2), pad=(0, 0), out_hw=(5, 7)),
    # three windows meet in a step of k: 3x3 with stride 1, 6x6 with stride 2
    Case(3, 16, hw=(9, 27), out_hw=(9, 27)),
    Case(3, 16, hw=(9, 30), kernel=(6, 6), stride=(2, 2), pad=(2, 2), out_hw=(5, 15)),
    Case(12, 48, hw=(9, 14), kernel=(2, 3), pad=(0, 1), out_hw=(8, 14)),
    Case(12, 20, hw=(9, 14), kernel=(1, 1), stride=(3, 2), pad=(3, 2), out_hw=(4, 9), batch=2),
    Case(12, 20, hw=(9, 14), kernel=(1, 1), stride=(1, 2), pad=(0, -2), out_hw=(9, 6)),
    Case(12, 20, hw=(9, 14), kernel=(1, 1), stride=(1, 2), pad=(0, 1), out_hw=(9, 8)),
    Case(12, 20, hw=(9, 14), kernel=(3, 1), stride=(2, 1), pad=(1, 0), out_hw=(5, 14)),
    Case(12, 20, hw=(9, 14), kernel=(1, 3), stride=(2, 1), pad=(0, 1), out_hw=(5, 14)),
    # a panel and a half; a last block of few channels
    *[
        Case(ic, oc, hw=(5, 13), out_hw=(5, 13))
        for ic in (3, 24, 96)
        for oc in (18, 20, 24, 40, 56)
    ],
    *[
        Case(20, oc, dtype=d, lut=k, gap=3)
        for oc in (20, 24)
        for d in ("int8", "int16")
        for k in ("NONE", "LUT16")
    ],
    # few channels
    *[
        Case(ic, oc, hw=(9, 37), stride=(2, 2), out_hw=(5, 19))
        for ic in (3, 8)
        for oc in (1, 2, 3, 4, 5, 8)
    ],
    *[
        Case(ic, oc, (5, 37), (1, 1), pad=(0, 0), out_hw=(5, 37), gap=g)
        for ic in (3, 8, 16, 24)
        for oc in (1, 2, 4, 5, 8)
        for g in (0, 3)
    ],
    *[
        Case(ic, oc, (3, 70), k, pad=(k[0] // 2, k[1] // 2), out_hw=(3, 70), dtype=d, lut=lut)
        for ic, k in ((4, (3, 3)), (8, (1, 1)), (24, (1, 1)), (12, (5, 3)))
        for oc in (1, 2, 4, 8)
        for d in ("int8", "int16")
        for lut in ("NONE", "LUT8", "LUT16")
    ],
    Case(12, 36, groups=3),
    Case(6, 12, groups=6),
    Case(6, 6, groups=2, gap=5),
    Case(3, 40, stride=(2, 2), out_hw=(4, 3), gap=1),
    Case(17, 33, gap=7),
    Case(40, 64, extreme=True),
    Case(16, 33, dtype="int16"),
    *[
        Case(16, 33, lut=k, step=s, dtype=d)
        for k in ("LUT8", "LUT16")
        for s in (False, True)
        for d in ("int8", "int16")
    ],
    Case(16, 6, groups=2, lut="LUT8", step=True),
    *[Case(9, oc, bits=4) for oc in (1, 15, 16, 17, 32, 33, 65)],
    Case(64, 100, kernel=(1, 1), pad=(0, 0), hw=(1, 1), out_hw=(1, 1), bits=4),
    Case(96, 48, bits=4),  # more panels than are unpacked together
    Case(96, 48, hw=(9, 7), out_hw=(9, 7), bits=4),
    Case(12, 36, groups=3, bits=4),
    Case(40, 64, extreme=True, bits=4),
]
DW = [
    *[Case(c, c) for c in (1, 3, 15, 16, 17, 32, 33, 65, 130)],
    Case(24, 24, kernel=(5, 5), pad=(2, 2), stride=(2, 2), out_hw=(4, 3)),
    Case(24, 24, kernel=(1, 1), pad=(0, 0)),
    Case(24, 24, kernel=(2, 2), pad=(0, 0)),
    Case(24, 24, kernel=(7, 9), pad=(3, 4)),
    Case(8, 8, kernel=(17, 17), pad=(8, 8)),  # more taps than the SIMD kernels keep
    Case(20, 20, dilation=(2, 3), pad=(2, 3), batch=2, gap=3),
    Case(20, 20, pad=(-1, -1), out_hw=(4, 3)),
    Case(64, 64, extreme=True),
    Case(33, 33, dtype="int16"),
    *[Case(33, 33, lut=k, step=s, dtype=d) for k in ("LUT8", "LUT16") for s in (False, True) for d in ("int8", "int16")],
    *[Case(c, c, bits=4) for c in (1, 15, 16, 17, 33, 130)],
    Case(24, 24, kernel=(7, 9), pad=(3, 4), bits=4),
]  # fmt: skip


def epilogue(case: Case, rng: np.random.Generator, spread: float) -> dict[str, Any]:
    """Random rows; multipliers land some sums on ties and saturate others."""
    lo, hi = law.BOUNDS[case.dtype]
    n, wide = case.oc, case.lut == "LUT16" or (case.lut == "NONE" and case.dtype == "int16")
    m = (rng.uniform(0.2, 2.0, n) * (20000 if wide else 80) / spread).astype(np.float32)
    m[::3] = 2.0 ** np.round(np.log2(m[::3]))  # powers of two: exact ties
    bound = np.sort(rng.integers(lo, hi + 1, (2, n)), axis=0).astype(np.int32)
    bound[:, ::2] = [[lo], [hi]]
    entries = 256 if case.lut == "LUT8" else 513
    table_range = (-128, 128) if case.dtype == "int8" and not case.step else (-32768, 32768)
    return {
        "bias": rng.integers(-1000, 1000, n).astype(np.int32),
        "m": m,
        "zp": rng.integers(-100, 100, n).astype(np.int32),
        "lo": bound[0],
        "hi": bound[1],
        "r": (rng.uniform(0.5, 1.5, n) * hi / 30000).astype(np.float32),
        "table": rng.integers(*table_range, entries).astype(np.int16),
        "lut_kind": case.lut,
        "step": case.step,
        "pre_zero": int(rng.integers(-20, 20)),
    }


def ends(rng: np.random.Generator, low: int, shape: tuple[int, ...]) -> Array:
    return rng.choice(np.array([low, 127], np.int8), shape)


def make(case: Case, *, depthwise: bool, seed: int) -> tuple[bytes, Array, Array]:
    """(program, input, expected output)."""
    rng = np.random.default_rng(seed)
    icg = case.ic // case.groups
    x = rng.integers(-128, 128, (case.batch, *case.hw, case.ic)).astype(np.int8)
    least = -127 if case.bits == 8 else -8  # the packers never write -8; the kernels take it
    w = rng.integers(
        least,
        128 if case.bits == 8 else 8,
        (*case.kernel, case.ic) if depthwise else (case.oc, *case.kernel, icg),
    ).astype(np.int8)
    if case.extreme:
        x, w = ends(rng, -128, x.shape), ends(rng, -127, w.shape)
        w = w if case.bits == 8 else np.where(w < 0, -8, 7).astype(np.int8)
        x[..., : case.ic // 2] = -128
    pad = rng.integers(-128, 128, case.ic if depthwise else 1).astype(np.int8)
    win = window(case.kernel, case.stride, case.dilation, case.pad)
    taps = case.kernel[0] * case.kernel[1] * (1 if depthwise else icg)
    e = epilogue(case, rng, 127 * (127 if case.bits == 8 else 7) * taps**0.5)
    b = Builder()
    tx = b.tensor("in", x.shape, pixel=case.ic + case.gap, row=case.gap)
    ty = b.tensor(
        "out",
        (case.batch, *case.out_hw, case.oc),
        case.dtype,
        pixel=case.oc + case.gap,
        row=2 * case.gap,
    )
    if depthwise:
        acc = law.depthwise(x, w, win, case.out_hw, pad)
        sums = w.astype(np.int32).sum(axis=(0, 1))
        constants, opcode, groups = pack_dw(w, pad, case.bits), "DWCONV", 1
    else:
        acc = law.conv(x, w, win, case.out_hw, case.groups, pad)
        sums = w.reshape(case.oc, -1).astype(np.int32).sum(axis=1)
        constants, opcode, groups = pack_conv(w, case.groups, pad, case.bits), "CONV", case.groups
    rows = {k: group_rows(np.asarray(e[k]), groups) for k in ("bias", "m", "zp", "lo", "hi", "r")}
    fields: dict[str, Any] = dict(win)
    if not depthwise:
        fields["groups"] = groups
    if case.lut != "NONE":
        fields["lut"], fields["pre_zero"] = b.lut(e["table"]), e["pre_zero"]
    b.command(
        opcode, in0=tx, out=ty, constants=b.constant(constants), lut_kind=isa.LUT_KINDS[case.lut],
        flags=(isa.FLAG_LUT_STEP if case.step else 0) | (isa.FLAG_WEIGHTS4 if case.bits == 4 else 0),
        qparams=b.rows(opcode, len(rows["m"]), wsum=group_rows(sums, groups), **rows), **fields,
    )  # fmt: skip
    return b.build(), x, law.epilogue(acc + e["bias"], e, case.dtype)


def run(
    program: bytes, x: Array, shape: tuple[int, ...], dtype: str, *, level: str, threads: int = 1
) -> Array:
    engine = _engine.Engine(program, threads=threads, isa=level)
    engine.set_input(0, x)
    engine.run()
    out = np.empty(shape, dtype)
    engine.get_output(0, out)
    return out


@pytest.mark.parametrize("level", _engine.isa_list())
@pytest.mark.parametrize(
    ("depthwise", "case"), [(False, c) for c in CONV] + [(True, c) for c in DW], ids=repr
)
def test_convolutions_equal_the_law(case: Case, depthwise: bool, level: str) -> None:
    for seed in range(3):
        program, x, expected = make(case, depthwise=depthwise, seed=seed)
        got = run(program, x, expected.shape, case.dtype, level=level)
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("level", _engine.isa_list())
@pytest.mark.parametrize(
    ("depthwise", "case"),
    [(False, Case(32, 64, hw=(30, 31), out_hw=(30, 31))), (False, Case(64, 400, hw=(2, 3), out_hw=(2, 3))),
     (False, Case(32, 96, hw=(20, 20), out_hw=(20, 20), groups=2)), (True, Case(200, 200, hw=(30, 31), out_hw=(30, 31))),
     (False, Case(64, 400, hw=(6, 9), out_hw=(6, 9), bits=4)), (False, Case(32, 96, hw=(20, 20), out_hw=(20, 20), bits=4)),
     (False, Case(8, 64, hw=(20, 20), out_hw=(20, 20), bits=4)), (True, Case(200, 200, hw=(30, 31), out_hw=(30, 31), bits=4))],
    ids=repr,
)  # fmt: skip
def test_any_thread_count_gives_the_same_bytes(case: Case, depthwise: bool, level: str) -> None:
    program, x, expected = make(case, depthwise=depthwise, seed=0)
    for threads in (1, 2, 3, 4):
        got = run(program, x, expected.shape, case.dtype, level=level, threads=threads)
        np.testing.assert_array_equal(got, expected)


small = st.integers(1, 4)
pairs = st.tuples(small, small)


@settings(max_examples=80)
@given(
    case=st.builds(
        Case,
        ic=st.integers(1, 40),
        oc=st.integers(1, 40),
        hw=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        kernel=pairs,
        stride=pairs,
        dilation=pairs,
        pad=st.tuples(st.integers(-3, 5), st.integers(-3, 5)),
        out_hw=st.tuples(st.integers(1, 7), st.integers(1, 7)),
        batch=st.integers(1, 2),
        dtype=st.sampled_from(["int8", "int16"]),
        lut=st.sampled_from(["NONE", "LUT8", "LUT16"]),
        step=st.booleans(),
        gap=st.integers(0, 3),
        bits=st.sampled_from([8, 8, 4]),
    ),
    groups=st.integers(1, 3),
    depthwise=st.booleans(),
    seed=st.integers(0, 2**32 - 1),
)
def test_any_shape_gives_the_same_bytes(
    case: Case, groups: int, depthwise: bool, seed: int
) -> None:
    if depthwise:
        case = replace(case, oc=case.ic)
    else:
        case = replace(case, ic=case.ic * groups, oc=case.oc * groups, groups=groups)
    program, x, expected = make(case, depthwise=depthwise, seed=seed)
    for level in _engine.isa_list():
        got = run(program, x, expected.shape, case.dtype, level=level)
        np.testing.assert_array_equal(got, expected, err_msg=level)


@pytest.mark.parametrize("level", _engine.isa_list())
def test_requantize_rounds_half_to_even_and_saturates(level: str) -> None:
    """1x1 convolution with weight 1: the accumulator is the input plus the bias."""
    bias = np.array([0, 0, 0, 2**31 - 256, -(2**31) + 256, 2**24 + 1, 0], np.int32)
    m = np.array([0.5, 0.25, 1e38, 1.0, 1.0, 2.0**-24, 3.4e38], np.float32)
    x = np.arange(-128, 128, dtype=np.int8).reshape(1, 16, 16, 1)
    w = np.ones((len(m), 1, 1, 1), np.int8)
    b = Builder()
    tx, ty = b.tensor("in", x.shape), b.tensor("out", (1, 16, 16, len(m)))
    e = {
        "bias": bias,
        "m": m,
        "zp": np.int32(3),
        "lo": np.int32(-128),
        "hi": np.int32(127),
        "lut_kind": "NONE",
    }
    rows = {k: e[k] for k in ("bias", "m", "zp", "lo", "hi")}
    b.command("CONV", in0=tx, out=ty, constants=b.constant(pack_conv(w, 1, np.zeros(1, np.int8))), groups=1,
              qparams=b.rows("CONV", len(m), wsum=1, **rows), **window((1, 1)))  # fmt: skip
    with np.errstate(over="ignore"):
        expected = law.epilogue(x.astype(np.int64) + bias, e, "int8")
    np.testing.assert_array_equal(run(b.build(), x, expected.shape, "int8", level=level), expected)
