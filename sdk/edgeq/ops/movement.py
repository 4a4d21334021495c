"""Ops that move integers: Concat, Slice, Reshape, Transpose, Pad, Gather."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Node, Shape, Value
from edgeq.ops.base import Attrs, Op, q_of


class _Movement(Op):
    moves = True
    channelwise = (0,)
    wide = (0,)

    @classmethod
    def integer(
        cls, node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        return cls.real(node.attrs, xs)


class Concat(_Movement):
    """Join along `axis`. Along the last axis each input may bring its own scale."""

    name = "Concat"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        axis, first = attrs["axis"], shapes[0]
        assert first is not None
        for s in shapes:
            if (
                s is None
                or len(s) != len(first)
                or s[:axis] + s[axis + 1 :] != first[:axis] + first[axis + 1 :]
            ):
                raise ValueError(f"inputs must agree on every axis but {axis}, got {list(shapes)}")
        return (*first[:axis], sum(s[axis] for s in shapes if s is not None), *first[axis + 1 :])

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        return np.concatenate([x for x in xs if x is not None], axis=attrs["axis"])


class Slice(_Movement):
    """x[starts:ends:steps], full rank."""

    name = "Slice"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        x = shapes[0]
        assert x is not None
        if (
            not len(attrs["starts"]) == len(attrs["ends"]) == len(attrs["steps"]) == len(x)
            or 0 in attrs["steps"]
        ):
            raise ValueError(f"starts, ends and non-zero steps must have {len(x)} entries")
        out = tuple(len(range(d)[s]) for d, s in zip(x, _slices(attrs), strict=True))
        if 0 in out:
            raise ValueError(f"the slice of {x} must not be empty, got {out}")
        return out

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        return xs[0][_slices(attrs)]


class Reshape(_Movement):
    """The same elements in row-major order under another shape."""

    name = "Reshape"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        assert shapes[0] is not None
        if np.prod(shapes[0], dtype=object) != np.prod(attrs["shape"], dtype=object):
            raise ValueError(f"shape {attrs['shape']} must hold as many elements as {shapes[0]}")
        return tuple(attrs["shape"])

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        return xs[0].reshape(attrs["shape"])


class Transpose(_Movement):
    """Axes in the order `perm`."""

    name = "Transpose"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        x = shapes[0]
        assert x is not None
        if sorted(attrs["perm"]) != list(range(len(x))):
            raise ValueError(f"perm must order 0..{len(x) - 1}, got {attrs['perm']}")
        return tuple(x[p] for p in attrs["perm"])

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        return xs[0].transpose(attrs["perm"])


class Pad(_Movement):
    """Constant border; in integers the border is the quantized value."""

    name = "Pad"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        x = shapes[0]
        assert x is not None
        if len(attrs["pads"]) != len(x) or attrs.get("mode", "constant") != "constant":
            raise ValueError(f"pads must be constant with {len(x)} pairs, got {attrs['pads']}")
        out = tuple(d + a + b for d, (a, b) in zip(x, attrs["pads"], strict=True))
        if min(out, default=1) < 1:
            raise ValueError(f"the padded shape must not be empty, got {out}")
        return out

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        assert xs[0] is not None
        return _padded(xs[0], attrs["pads"], np.asarray(attrs["value"], xs[0].dtype))

    @classmethod
    def integer(
        cls, node: Node, xs: Sequence[Array | None], ins: Sequence[Value | None], out: Value
    ) -> Array:
        assert xs[0] is not None
        return _padded(xs[0], node.attrs["pads"], pad_integers(node, out))


class Gather(_Movement):
    """Constant indices along one axis."""

    name = "Gather"

    @staticmethod
    def shape(attrs: Attrs, shapes: Sequence[Shape | None]) -> Shape:
        x, axis, indices = shapes[0], attrs["axis"], attrs["indices"]
        assert x is not None
        if not 0 <= axis < len(x) or not indices or not 0 <= min(indices) <= max(indices) < x[axis]:
            raise ValueError(f"indices must lie in axis {axis} of {x}")
        return (*x[:axis], *attrs.get("index_shape", (len(indices),)), *x[axis + 1 :])

    @staticmethod
    def real(attrs: Attrs, xs: Sequence[Array | None]) -> Array:
        x = xs[0]
        assert x is not None
        y: Array = np.take(x, attrs["indices"], axis=attrs["axis"])
        return y.reshape(Gather.shape(attrs, [x.shape]))


def pad_integers(node: Node, out: Value) -> Array:
    """The integer (per channel where q is) that stands for the pad value."""
    from edgeq.runtime.numerics import quantize

    q = q_of(out)
    return quantize(
        np.full(q.scale.shape, node.attrs["value"], np.float32), q.scale, q.zero_point, q.lo, q.hi
    )


def _padded(x: Array, pads: Sequence[tuple[int, int]], value: Array) -> Array:
    out = np.empty(tuple(d + a + b for d, (a, b) in zip(x.shape, pads, strict=True)), x.dtype)
    out[:] = value
    inner = tuple(
        slice(max(a, 0), a + d + min(b, 0)) for d, (a, b) in zip(x.shape, pads, strict=True)
    )
    outer = tuple(slice(max(-a, 0), d + min(b, 0)) for d, (a, b) in zip(x.shape, pads, strict=True))
    out[inner] = x[outer]
    return out


def _slices(attrs: Attrs) -> tuple[slice, ...]:
    rows = zip(attrs["starts"], attrs["ends"], attrs["steps"], strict=True)
    return tuple(slice(s, None if step < 0 and e < 0 else e, step) for s, e, step in rows)
