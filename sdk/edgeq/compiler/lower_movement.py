"""Ops that move integers: nothing where an address will do, else LAYOUT, FILL and GATHER commands."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from edgeq.compiler.command import Command, Context
from edgeq.compiler.views import View
from edgeq.errors import CompileError
from edgeq.ops.movement import pad_integers
from edgeq.runtime import isa


def lower_alias_or_copy(c: Context) -> Iterator[Command]:
    """Reshape and Slice: nothing at all when the output already is an address into the input."""
    if not c.views.needs_copy(c.node):
        return
    if c.node.op == "Slice":
        source = c.view(0).slice(c.node.attrs["starts"], c.node.attrs["steps"], c.out.shape)
        yield _copy(c, c.view(0), c.out_view, source)
        return
    source_view, out = c.view(0), c.out_view
    aliased = source_view.reshape(out.dims)
    target = out.reshape(source_view.dims)
    if aliased is not None:
        yield _copy(c, source_view, out, aliased)
    elif target is not None:
        yield _copy(c, source_view, target, source_view)
    else:
        raise CompileError(
            f"node {c.node.name} (Reshape): {source_view.dims} to {out.dims} needs two copies. Please report it."
        )


def lower_concat(c: Context) -> Iterator[Command]:
    start, axis, out = 0, c.node.attrs["axis"], c.out_view
    for i in range(len(c.node.inputs)):
        view = c.view(i)
        part = out.slice(
            tuple(start if k == axis else 0 for k in range(len(out.dims))),
            (1,) * len(out.dims),
            view.dims,
        )
        if not view.same(part):
            yield _copy(c, view, part, view)
        start += view.dims[axis]


def lower_transpose(c: Context) -> Iterator[Command]:
    view, perm = c.view(0), c.node.attrs["perm"]
    turned = View(
        view.root, view.dtype, view.offset, c.out.shape, tuple(view.strides[p] for p in perm)
    )
    yield _copy(c, view, c.out_view, turned)


def lower_pad(c: Context) -> Iterator[Command]:
    out, x = c.out_view, c.view(0)
    value = np.broadcast_to(pad_integers(c.node, c.out), (out.dims[-1],))
    yield c.command("FILL", (), out, rows={"value": value})
    pads = c.node.attrs["pads"]
    dims = tuple(d + min(a, 0) + min(b, 0) for d, (a, b) in zip(x.dims, pads, strict=True))
    ones = (1,) * len(dims)
    source = x.slice(tuple(max(-a, 0) for a, _ in pads), ones, dims)
    yield _copy(c, x, out.slice(tuple(max(a, 0) for a, _ in pads), ones, dims), source)


def lower_gather(c: Context) -> Iterator[Command]:
    axis, indices = c.node.attrs["axis"], np.asarray(c.node.attrs["indices"], "<i4")
    x = c.view(0)
    out = c.out_view.reshape((*x.dims[:axis], len(indices), *x.dims[axis + 1 :]))
    assert out is not None  # merging the index axes of a fresh buffer never copies
    yield c.command("GATHER", (x,), out, fields={"axis": axis}, constants=indices.tobytes())


def _copy(c: Context, x: View, out: View, source: View) -> Command:
    """LAYOUT: out[...] = source[...]; `source` is addressed from the start of view `x`."""
    if len(source.dims) > isa.MAX_DIMS:
        raise CompileError(
            f"node {c.node.name} ({c.node.op}): at most {isa.MAX_DIMS} axes, got {len(source.dims)}."
        )
    fill = isa.MAX_DIMS - len(source.dims)
    table = [
        *(1,) * fill,
        *source.dims,
        *(0,) * fill,
        *source.strides,
        *(0,) * fill,
        *out.strides,
        source.offset - x.offset,
        0,
    ]
    return c.command("LAYOUT", (x,), out, constants=np.asarray(table, "<i4").tobytes())
