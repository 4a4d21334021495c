"""Cut a command along an axis of its output: the same work on a part, with the input that part needs.

Rows and columns of windowed operations bring their halo, channels bring their slice of weights and
rows. Cutting is exact: the parts together write what the whole command would have written.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from edgeq.compiler.command import Command
from edgeq.compiler.pack import pack_depthwise, restored
from edgeq.compiler.views import View
from edgeq.runtime import isa

WINDOWED = ("CONV", "DWCONV", "POOL")


def axes(c: Command) -> tuple[int, ...]:
    """Axes of the output along which the command may be cut, the preferred one first."""
    dims = c.out.dims
    last = len(dims) - 1
    match c.opcode:
        case "CONV" | "DWCONV" | "POOL":
            order: tuple[int, ...] = (1, 2, 0)
            if c.opcode != "CONV":
                order = (1, 2, 0, 3)
        case "RESIZE":
            order = (1, 0, 3)
        case "SOFTMAX":
            order = tuple(range(last))
        case "REDUCE":
            kept = [i for i in range(len(dims)) if not c.fields["axes"] >> i & 1]
            order = tuple(kept)
        case "GATHER":
            axis = c.fields["axis"]
            order = (*(i for i in range(len(dims)) if i != axis), axis)
        case _:
            order = tuple(range(len(dims)))
    return tuple(i for i in order if dims[i] > 1)


def cut(c: Command, axis: int, start: int, stop: int) -> Command:
    """The part [start, stop) of the output along `axis`. Channels of CONV start at whole panels."""
    if start == 0 and stop == c.out.dims[axis]:
        return c
    part = _CUTS[c.opcode](c, axis, start, stop)
    macs = c.macs * prod(part.out.dims) // max(prod(c.out.dims), 1)
    return replace(part, macs=macs)


def weight_chunk(c: Command) -> int:
    """Channels that a cut along the last axis of a CONV takes at least: a panel, or one group."""
    groups = int(c.fields["groups"])
    return isa.LANES if groups == 1 else c.out.dims[3] // groups


def span(view: View, axis: int, start: int, stop: int) -> View:
    """A view's part [start, stop) of one axis."""
    starts = tuple(start if i == axis else 0 for i in range(len(view.dims)))
    dims = tuple(stop - start if i == axis else d for i, d in enumerate(view.dims))
    return view.slice(starts, (1,) * len(dims), dims)


def _rows(c: Command, start: int, stop: int) -> dict[str, Any]:
    """Per-channel rows of the channels [start, stop)."""
    return {name: row[start:stop] if len(row) > 1 else row for name, row in c.rows.items()}


def _window(c: Command, axis: int, start: int, stop: int) -> Command:
    x, out = c.ins[0], span(c.out, axis, start, stop)
    if axis == 0:
        return replace(c, ins=(span(x, 0, start, stop),), out=out)
    if axis == 3:
        return _CHANNELS[c.opcode](c, out, start, stop)
    k, s, d, p = ("kh", "sh", "dh", "pt") if axis == 1 else ("kw", "sw", "dw", "pl")
    f = c.fields
    first = start * f[s] - f[p]
    end = (stop - 1) * f[s] - f[p] + f[d] * (f[k] - 1) + 1
    size = x.dims[axis]
    low = min(max(first, 0), size - 1)
    high = max(min(end, size), low + 1)
    return replace(c, ins=(span(x, axis, low, high),), out=out, fields={**f, p: low - first})


def _conv_channels(c: Command, out: View, start: int, stop: int) -> Command:
    x, groups = c.ins[0], int(c.fields["groups"])
    oc, ic = c.out.dims[3], x.dims[3]
    per, icg = oc // groups, ic // groups
    lanes, deep = isa.lanes(per), -(-icg // 4) * 4
    taps = c.fields["kh"] * c.fields["kw"]
    fields = dict(c.fields)
    channel = taps * deep * c.weight_bits // 8  # bytes; 4-bit weights share none with a neighbour
    pads = c.constants[groups * lanes * channel :]
    if groups == 1:
        assert start % isa.LANES == 0, "channels are cut at whole panels"
        low, high = start, isa.lanes(stop)
    else:
        g0, g1 = start // per, stop // per
        low, high = g0 * lanes, g1 * lanes
        x, fields["groups"] = span(x, 3, g0 * icg, g1 * icg), g1 - g0
        pads = pads[g0 * icg : g1 * icg]
        pads += bytes(-len(pads) % 64)
    body = c.constants[low * channel : high * channel]
    rows = {name: row[low:high] for name, row in c.rows.items()}
    return replace(c, ins=(x,), out=out, fields=fields, rows=rows, constants=body + pads)


def _depthwise_channels(c: Command, out: View, start: int, stop: int) -> Command:
    taps, lanes = c.fields["kh"] * c.fields["kw"], isa.lanes(c.out.dims[3])
    packed = taps * lanes * c.weight_bits // 8
    w = restored(c.constants[:packed], c.weight_bits).reshape(taps, lanes)[:, start:stop]
    pads = np.frombuffer(c.constants, np.int8, offset=packed)[start:stop]
    return replace(
        c,
        ins=(span(c.ins[0], 3, start, stop),),
        out=out,
        rows=_rows(c, start, stop),
        constants=pack_depthwise(w[:, None], pads, bits=c.weight_bits),
    )


def _pool_channels(c: Command, out: View, start: int, stop: int) -> Command:
    return replace(c, ins=(span(c.ins[0], 3, start, stop),), out=out, rows=_rows(c, start, stop))


_CHANNELS: dict[str, Callable[[Command, View, int, int], Command]] = {
    "CONV": _conv_channels,
    "DWCONV": _depthwise_channels,
    "POOL": _pool_channels,
}


def _same(c: Command, axis: int, start: int, stop: int) -> Command:
    """Elementwise: operands align at the end and broadcast."""
    nd = len(c.out.dims)
    ins = []
    for x in c.ins:
        mine = axis - (nd - len(x.dims))
        whole = mine < 0 or (x.dims[mine] == 1 and c.out.dims[axis] != 1)
        ins.append(x if whole else span(x, mine, start, stop))
    rows = _rows(c, start, stop) if axis == nd - 1 else c.rows
    return replace(c, ins=tuple(ins), out=span(c.out, axis, start, stop), rows=rows)


def _gemm(c: Command, axis: int, start: int, stop: int) -> Command:
    (a, b), nd = c.ins, len(c.out.dims)
    rows = c.rows
    if axis == nd - 1:
        b = span(b, nd - 2 if c.flags & isa.FLAG_TRANSPOSE_B else nd - 1, start, stop)
        rows = _rows(c, start, stop)
    elif axis == nd - 2:
        a = span(a, axis, start, stop)
    else:
        a, b = (x if x.dims[axis] == 1 else span(x, axis, start, stop) for x in (a, b))
    return replace(c, ins=(a, b), out=span(c.out, axis, start, stop), rows=rows)


def _resize(c: Command, axis: int, start: int, stop: int) -> Command:
    x, out = c.ins[0], span(c.out, axis, start, stop)
    if axis in (0, 3):
        return replace(c, ins=(span(x, axis, start, stop),), out=out)
    oh = c.out.dims[1]
    table = np.frombuffer(c.constants, "<i4")
    parts = 3 if c.fields["kind"] == isa.RESIZE_KINDS["LINEAR"] else 1
    mine = table[: parts * oh].reshape(parts, oh)[:, start:stop].copy()
    places = mine[:2] if parts == 3 else mine
    low, high = int(places.min()), int(places.max()) + 1
    places -= low
    constants = np.concatenate([mine.reshape(-1), table[parts * oh :]]).astype("<i4").tobytes()
    return replace(c, ins=(span(x, 1, low, high),), out=out, constants=constants)


def _reduce(c: Command, axis: int, start: int, stop: int) -> Command:
    last = axis == len(c.out.dims) - 1
    rows = _rows(c, start, stop) if last else c.rows
    return replace(
        c,
        ins=(span(c.ins[0], axis, start, stop),),
        out=span(c.out, axis, start, stop),
        rows=rows,
    )


def _gather(c: Command, axis: int, start: int, stop: int) -> Command:
    if axis == c.fields["axis"]:
        mine = np.frombuffer(c.constants, "<i4")[start:stop]
        low, high = int(mine.min()), int(mine.max()) + 1
        x = span(c.ins[0], axis, low, high)
        out = span(c.out, axis, start, stop)
        return replace(c, ins=(x,), out=out, constants=(mine - low).astype("<i4").tobytes())
    return replace(c, ins=(span(c.ins[0], axis, start, stop),), out=span(c.out, axis, start, stop))


def _copy(c: Command, axis: int, start: int, stop: int) -> Command:
    return replace(c, ins=(span(c.ins[0], axis, start, stop),), out=span(c.out, axis, start, stop))


_CUTS: dict[str, Callable[[Command, int, int, int], Command]] = {
    "CONV": _window,
    "COPY": _copy,
    "DWCONV": _window,
    "ELEMENTWISE": _same,
    "FILL": _same,
    "GATHER": _gather,
    "GEMM": _gemm,
    "LUT": _same,
    "POOL": _window,
    "REDUCE": _reduce,
    "RESIZE": _resize,
    "SOFTMAX": _same,
}


def as_copy(c: Command) -> Command:
    """A LAYOUT as COPY: from one view to another of the same dims, so that it can be cut and moved by DMA."""
    (x,), table = c.ins, np.frombuffer(c.constants, "<i4").astype(int).tolist()
    dims, source, target = table[0:6], table[6:12], table[12:18]
    keep = [i for i in range(6) if dims[i] > 1] or [5]
    shape = tuple(dims[i] for i in keep)
    moved = View(x.root, x.dtype, x.offset + table[18], shape, tuple(source[i] for i in keep))
    into = View(
        c.out.root, c.out.dtype, c.out.offset + table[19], shape, tuple(target[i] for i in keep)
    )
    return replace(c, opcode="COPY", ins=(moved,), out=into, constants=b"")


def as_layout(c: Command) -> Command:
    """A COPY inside one memory as a LAYOUT command."""
    (x,), fill = c.ins, isa.MAX_DIMS - len(c.out.dims)
    back = sum((d - 1) * s for d, s in zip(x.dims, x.strides, strict=True) if s < 0)
    table = [
        *(1,) * fill,
        *c.out.dims,
        *(0,) * fill,
        *x.strides,
        *(0,) * fill,
        *c.out.strides,
        -back,
        0,
    ]
    lowest = replace(x, offset=x.offset + back, strides=tuple(abs(s) for s in x.strides))
    return replace(c, opcode="LAYOUT", ins=(lowest,), constants=np.asarray(table, "<i4").tobytes())
