"""Unary: any function of one variable; in integers a 256- or 513-entry table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from edgeq.graph.ir import Array, Node, QParams, Shape, Value
from edgeq.ops.base import Attrs, Op, q_of
from edgeq.runtime import numerics

Function = Callable[[Array, Attrs], Array]


def _sigmoid(x: Array) -> Array:
    e = np.exp(-np.abs(x))
    return np.where(x >= 0, 1 / (1 + e), e / (1 + e))


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


_erf = np.vectorize(math.erf, otypes=[np.float64])


FUNCTIONS: dict[str, Function] = {
    "Abs": lambda x, a: np.abs(x),
    "Clip": lambda x, a: np.clip(x, a["lo"], a["hi"]),
    "Elu": lambda x, a: np.where(x >= 0, x, a["alpha"] * np.expm1(np.minimum(x, 0))),
    "Erf": lambda x, a: _erf(x),
    "Exp": lambda x, a: np.exp(x),
    "Gelu": lambda x, a: 0.5 * x * (1 + _erf(x / math.sqrt(2))),
    "GeluTanh": lambda x, a: (
        0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "HardSigmoid": lambda x, a: np.clip(a["alpha"] * x + a["beta"], 0, 1),
    "HardSwish": lambda x, a: x * np.clip(x + 3, 0, 6) / 6,
    "Identity": lambda x, a: x,
    "LeakyRelu": lambda x, a: np.where(x >= 0, x, a["alpha"] * x),
    "Log": lambda x, a: np.log(x),
    "Mish": lambda x, a: x * np.tanh(_softplus(x)),
    "Neg": lambda x, a: -x,
    "Pow": lambda x, a: np.power(x, a["exponent"]),
    "Reciprocal": lambda x, a: 1 / x,
    "Relu": lambda x, a: np.maximum(x, 0),
    "Sigmoid": lambda x, a: _sigmoid(x),
    "Silu": lambda x, a: x * _sigmoid(x),
    "Softplus": lambda x, a: _softplus(x),
    "Sqrt": lambda x, a: np.sqrt(x),
    "Square": lambda x, a: x * x,
    "Tanh": lambda x, a: np.tanh(x),
}


GATES: dict[str, tuple[Function, float]] = {
    # x * g(x) with g constant beyond +-domain (0: a step at zero)
    "Gelu": (lambda x, a: 0.5 * (1 + _erf(x / math.sqrt(2))), 6.0),
    "GeluTanh": (
        lambda x, a: 0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
        6.0,
    ),
    "HardSwish": (lambda x, a: np.clip(x + 3, 0, 6) / 6, 4.0),
    "LeakyRelu": (lambda x, a: np.where(x >= 0, 1.0, a["alpha"]), 0.0),
    "Mish": (lambda x, a: np.tanh(_softplus(x)), 16.0),
    "Silu": (lambda x, a: _sigmoid(x), 16.0),
}
BOUNDED: dict[str, float] = {"Sigmoid": 16.0, "Tanh": 8.0}  # constant beyond +-domain


def takes_accumulator(attrs: Attrs) -> bool:
    """True when the function can read a convolution's int32 accumulator directly."""
    return attrs["kind"] in GATES or attrs["kind"] in BOUNDED


class Unary(Op):
    """y = FUNCTIONS[kind](x), evaluated in float64.

    An int32 input is a convolution's accumulator, real = scale[c] * acc: the compiler fuses the two.
    """

    name = "Unary"
    wide = (0,)

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        if attrs.get("kind") not in FUNCTIONS:
            raise ValueError(
                f"kind must be one of {', '.join(FUNCTIONS)}, got {attrs.get('kind')!r}"
            )
        assert shapes[0] is not None
        return shapes[0]

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        with np.errstate(all="ignore"):
            return FUNCTIONS[attrs["kind"]](xs[0].astype(np.float64), attrs).astype(np.float32)

    @staticmethod
    def integer(
        node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        x, qx, q = xs[0], q_of(ins[0]), q_of(out)
        assert x is not None
        if qx.dtype == "int32":
            a = accumulator_table(node, qx, q)
            t = numerics.lut16(numerics.requantize(x, a.m, 0, -32768, 32767), a.table)
            if a.gate:
                return numerics.gate(x, a.r, t, q.zero_point, q.lo, q.hi)
            return numerics.requantize(t, a.r, q.zero_point, q.lo, q.hi)
        table, step = unary_table(node, qx, q)
        t = (
            numerics.lut8(x, table)
            if len(table) == numerics.LUT8_ENTRIES
            else numerics.lut16(x, table)
        )
        if step is None:
            return np.clip(t, q.lo, q.hi)
        return numerics.requantize(t, step, q.zero_point, q.lo, q.hi)


@dataclass(frozen=True, slots=True, eq=False)
class AccumulatorTable:
    """How a function reads accumulators: p = requantize(acc, m) indexes `table` (513 int16 entries).

    gate: y = numerics.gate(acc, r, table(p)); else y = requantize(table(p), r). m, r float32 (C,).
    """

    m: Array
    table: Array
    r: Array
    gate: bool


def accumulator_table(node: Node, qx: QParams, q: QParams) -> AccumulatorTable:
    """Make the table of a Unary node that reads accumulators; its domain is fixed by its kind.

    A gated function x * g(x) tabulates g, so that the precision of y is relative to x in every
    channel. A step at zero (LeakyRelu) gets a domain in which it is far below an output step.
    """
    kind, attrs = node.attrs["kind"], node.attrs
    gate = kind in GATES
    if q.dtype == "int8" and (gate or q.scale.min() >= 1 / 512):
        return _coarse_table(node, qx, q)
    function, domain = GATES[kind] if gate else (FUNCTIONS[kind], BOUNDED[kind])
    domain = domain or float(q.scale.min()) * 8
    on = QParams(np.asarray(domain / 32768, np.float32), np.asarray(0, np.int32), "int16")
    x = numerics.table_points(float(on.scale), 0, entries=numerics.LUT16_ENTRIES)
    f = _centred(function, function(x, attrs), attrs, on)
    far = np.array([-1e30, 1e30])
    f[[0, -1]] = function(far, attrs)
    fine = max(float(np.abs(f).max()), 1e-30) / 32767.0
    table = np.clip(np.rint(f / fine), -32767, 32767).astype(np.int16)
    over = (qx.scale, fine) if gate else (fine,)
    shape = np.broadcast_shapes(qx.scale.shape, q.scale.shape)
    r = np.broadcast_to(numerics.multiplier(*over, under=(q.scale,)), shape)
    return AccumulatorTable(numerics.multiplier(qx.scale, under=(on.scale,)), table, r, gate)


COARSE = 8  # entries of a 513-entry table that one straight piece of a gate spans


def _coarse_table(node: Node, qx: QParams, q: QParams) -> AccumulatorTable:
    """A table for int8 outputs: 64 straight pieces, so that kernels hold its knots in registers.

    Knots are multiples of COARSE and the entries between them lie exactly on the line. For SiLU on
    +-8 the error stays below 4e-4 of x, a few hundredths of an output step. LeakyRelu's multiplier
    sends every accumulator but 0 to an end: it is exact up to the rounding of alpha.
    """
    kind = node.attrs["kind"]
    gate = kind in GATES
    function, domain = GATES[kind] if gate else (FUNCTIONS[kind], BOUNDED[kind])
    domain = min(domain, 4.0 if kind == "Tanh" else 8.0)
    m = np.full(qx.scale.shape, 65536, np.float32)
    if domain:
        m = numerics.multiplier(qx.scale, under=(np.float32(domain / 32768),))
    pieces = (numerics.LUT16_ENTRIES - 1) // COARSE
    knots = np.linspace(-domain, domain, pieces + 1)
    f = function(knots, node.attrs)
    if not domain:
        below, above = function(np.array([-1.0, 1.0]), node.attrs)
        f = np.where(np.arange(pieces + 1) <= pieces // 2, below, above)
    else:
        inside = np.arange(1, 128) / 128
        x = knots[:-1, None] + np.diff(knots)[:, None] * inside
        error = function(x, node.attrs) - (f[:-1, None] + np.diff(f)[:, None] * inside)
        mean = np.where(np.abs(error.mean(axis=1)) > 1e-12, error.mean(axis=1), 0.0)
        f = f + (np.append(mean[:1], mean) + np.append(mean, mean[-1:])) / 2
        f[[0, -1]] = function(np.array([-1e30, 1e30]), node.attrs)
    fine = (
        max(float(np.abs(f).max()), 1e-30) / 32640.0
    )  # 6 * 8 * COARSE divides it: HardSwish is exact
    coarse = np.rint(f / fine / COARSE).astype(np.int64) * COARSE
    table = np.interp(np.arange(numerics.LUT16_ENTRIES), np.arange(pieces + 1) * COARSE, coarse)
    shape = np.broadcast_shapes(qx.scale.shape, q.scale.shape)
    over = (qx.scale, fine) if gate else (fine,)
    r = np.broadcast_to(numerics.multiplier(*over, under=(q.scale,)), shape)
    return AccumulatorTable(m, np.rint(table).astype(np.int16), r, gate)


def unary_table(node: Node, qx: QParams, q: QParams) -> tuple[Array, Array | None]:
    """Make the table of a Unary node: (int16 entries, per-channel step or None).

    int8 to per-tensor: the entries are the output's integers and there is no step.
    Otherwise the entries hold f(x) on one fine symmetric scale, max|f| / 32767, and the step
    r[c] = fine / s_y[c] follows. Entries where f is not finite take the nearest finite neighbour.
    int16 inputs interpolate between 513 entries; `_centred` moves those so that the error of each
    interval has mean zero.
    """
    wide = qx.dtype == "int16"
    entries = numerics.LUT16_ENTRIES if wide else numerics.LUT8_ENTRIES
    x = numerics.table_points(float(qx.scale), int(qx.zero_point), entries=entries)
    with np.errstate(all="ignore"):
        f = _finite(FUNCTIONS[node.attrs["kind"]](x, node.attrs))
    if not wide and not q.per_channel:
        exact = np.rint(f / np.float64(q.scale)) + int(q.zero_point)
        return np.clip(exact, q.lo, q.hi).astype(np.int16), None
    if wide:
        f = _centred(FUNCTIONS[node.attrs["kind"]], f, node.attrs, qx)
    # beyond what the output can hold nothing needs to be told apart
    reach = float(
        np.max(
            (np.maximum(abs(q.lo - q.zero_point), abs(q.hi - q.zero_point)) + 1)
            * q.scale.astype(np.float64)
        )
    )
    fine = max(min(float(np.abs(f).max()), reach), 1e-30) / 32767.0
    table = np.clip(np.rint(f / fine), -32767, 32767).astype(np.int16)
    step = np.asarray(np.float64(fine) / q.scale.astype(np.float64), np.float32)
    return table, step


def _centred(function: Function, f: Array, attrs: Attrs, qx: QParams) -> Array:
    """Move the function's knots f by the mean error of the intervals beside them.

    Straight pieces stay exact, also where they meet in a knot. Intervals with non-finite values stay.
    """
    step = 65536 // (numerics.LUT16_ENTRIES - 1)
    inside = np.arange(1, step, dtype=np.float64)
    x = (np.arange(-32768.0, 32768.0, step)[:, None] + inside - int(qx.zero_point)) * np.float64(
        qx.scale
    )
    with np.errstate(all="ignore"):
        error = function(x, attrs) - (f[:-1, None] + np.diff(f)[:, None] * (inside / step))
    mean = error.mean(axis=1)  # (512,)
    # what is left of rounding on straight pieces is no error
    mean = np.where(np.isfinite(mean) & (np.abs(mean) > 1e-12 * np.abs(f).max()), mean, 0.0)
    return np.asarray(f + (np.append(mean[:1], mean) + np.append(mean, mean[-1:])) / 2)


def _finite(f: Array) -> Array:
    good = np.flatnonzero(np.isfinite(f))
    if good.size == 0:
        return np.zeros_like(f)
    nearest = good[np.abs(good[None, :] - np.arange(len(f))[:, None]).argmin(axis=1)]
    return np.asarray(f[nearest])
