"""Turn layers into commands over views: one command per layer, LAYOUT copies where an address will not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import Any

import numpy as np

from edgeq.compiler.fuse import Layer
from edgeq.compiler.pack import pack_conv, pack_depthwise
from edgeq.compiler.views import View, Views
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Graph, Node, QParams, Shape, Value
from edgeq.ops.base import clamp_bounds, q_of
from edgeq.ops.movement import pad_integers
from edgeq.ops.resize import linear_tables, nearest_tables
from edgeq.ops.unary import accumulator_table, unary_table
from edgeq.runtime import isa
from edgeq.runtime.numerics import LUT8_ENTRIES, exp_tables, multiplier


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """One command before it becomes bytes. `rows` are per-channel arrays by name."""

    opcode: str
    node: str
    op: str
    ins: tuple[View, ...]
    out: View
    fields: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, Array] = field(default_factory=dict)
    constants: bytes = b""
    lut: bytes = b""
    lut_kind: int = 0
    flags: int = 0
    macs: int = 0


def lower(graph: Graph, layers: list[Layer], views: Views) -> list[Command]:
    """Lower every layer in order. Raises CompileError naming the node."""
    out: list[Command] = []
    for layer in layers:
        rule = _RULES.get(layer.node.op)
        if rule is None:
            raise CompileError(
                f"node {layer.node.name} ({layer.node.op}): target cpu has no command for it."
            )
        out.extend(rule(_Context(graph, views, layer)))
    return out


@dataclass(frozen=True, slots=True)
class _Context:
    graph: Graph
    views: Views
    layer: Layer

    @property
    def node(self) -> Node:
        return self.layer.node

    def value(self, i: int) -> Value:
        return self.graph.values[self.node.inputs[i]]

    @property
    def out(self) -> Value:
        return self.graph.values[self.layer.output]

    def view(self, i: int) -> View:
        return self.views.of(self.node.inputs[i])

    @property
    def out_view(self) -> View:
        return self.views.of(self.layer.output)

    def command(self, opcode: str, ins: tuple[View, ...], out: View, **rest: Any) -> Command:
        return Command(opcode, self.node.name, self.node.op, ins, out, **rest)


def _conv(c: _Context) -> Iterator[Command]:
    w = np.asarray(c.value(1).data)  # (oc, kh, kw, ic/group)
    yield _window_command(
        c,
        "CONV",
        c.view(0),
        c.out_view,
        w,
        c.node.attrs["group"],
        _window(c.node.attrs, w.shape[1:3]),
    )


def _depthwise(c: _Context) -> Iterator[Command]:
    w = np.asarray(c.value(1).data)  # (kh, kw, c)
    yield _window_command(
        c, "DWCONV", c.view(0), c.out_view, w, 0, _window(c.node.attrs, w.shape[:2])
    )


def _fully_connected(c: _Context) -> Iterator[Command]:
    w = np.asarray(c.value(1).data)[:, None, None, :]  # (n, 1, 1, k)
    x, out = _as_rows(c, c.view(0)), _as_rows(c, c.out_view)
    yield _window_command(c, "CONV", x, out, w, 1, _WINDOW_1X1)


def _as_rows(c: _Context, view: View) -> View:
    rows = view.reshape((1, 1, int(np.prod(view.dims[:-1], dtype=np.int64)), view.dims[-1]))
    if rows is None:
        raise CompileError(
            f"node {c.node.name} ({c.node.op}): its rows must be evenly spaced in memory, got strides {view.strides}."
        )
    return rows


def _conv_transpose(c: _Context) -> Iterator[Command]:
    """One stride-1 convolution per output phase, each writing every sh-th row and sw-th column.

    Where the phases of a row read the same inputs and their outputs adjoin, they are one convolution
    with sw times the channels.
    """
    a, w = c.node.attrs, np.asarray(c.value(1).data)  # (oc, kh, kw, ic/group)
    out, (sh, sw) = c.out_view, a["strides"]
    batch, oh, ow, oc = out.dims
    columns = [_phase(w.shape[2], sw, a["dilations"][1], px + a["pads"][1]) for px in range(sw)]
    joined = (
        a["group"] == 1
        and ow % sw == 0
        and out.strides[2:] == (oc, 1)
        and len({(len(xs), dx, pl) for xs, dx, pl in columns}) == 1
    )
    for py in range(min(sh, oh)):
        ys, dy, pt = _phase(w.shape[1], sh, a["dilations"][0], py + a["pads"][0])
        for px in range(1 if joined else min(sw, ow)):
            xs, dx, pl = columns[px]
            parts = [w[:, ys][:, :, p[0]] for p in (columns if joined else [columns[px]])]
            part = np.concatenate(parts)
            if not (ys and xs):
                part = np.zeros((len(part), 1, 1, w.shape[3]), w.dtype)
            rows = -(-(oh - py) // sh)
            phase = out.slice(
                (0, py, px, 0), (1, sh, sw, 1), (batch, rows, -(-(ow - px) // sw), oc)
            )
            if joined:
                phase = View(
                    phase.root, phase.dtype, phase.offset, (*phase.dims[:3], oc * sw), phase.strides
                )
            window = {
                "kh": part.shape[1],
                "kw": part.shape[2],
                "sh": 1,
                "sw": 1,
                "dh": dy,
                "dw": dx,
                "pt": pt,
                "pl": pl,
            }
            yield _window_command(
                c, "CONV", c.view(0), phase, part, a["group"], window, repeat=len(parts)
            )


def _phase(k: int, stride: int, dilation: int, start: int) -> tuple[list[int], int, int]:
    """Taps that reach output rows o = start (mod stride), nearest input row first; their spacing; rows above."""
    taps = [t for t in range(k) if (start - t * dilation) % stride == 0][::-1]
    if not taps:
        return [], 1, 0
    return (
        taps,
        max(dilation // gcd(dilation, stride), 1),
        -((start - taps[0] * dilation) // stride),
    )


def _window_command(
    c: _Context,
    opcode: str,
    x: View,
    out: View,
    w: Array,
    groups: int,
    window: Mapping[str, int],
    *,
    repeat: int = 1,
) -> Command:
    """CONV or DWCONV: fold the input zero point into the bias, pack weights, attach the epilogue.

    `w` may hold the output channels `repeat` times.
    """
    qx, qw = q_of(c.value(0)), q_of(c.value(1))
    depthwise = opcode == "DWCONV"
    wide = w.astype(np.int64)
    wsum = wide.sum(axis=(0, 1) if depthwise else (1, 2, 3))  # (oc,)
    bias = np.zeros(len(wsum), np.int64)
    if len(c.node.inputs) > 2 and c.node.inputs[2]:
        bias = np.tile(np.asarray(c.value(2).data, np.int64), repeat)
    folded = bias - wsum * qx.zero_point.astype(np.int64)
    _prove_accumulator(c.node, wide, folded, depthwise=depthwise)
    pads = np.broadcast_to(qx.zero_point, (x.dims[3],)).astype(np.int8)
    packed = pack_depthwise(w, pads) if depthwise else pack_conv(w, groups, pads)
    fields, rows, lut, lut_kind, flags = _epilogue(c, len(wsum) // repeat, qx.scale, qw.scale)
    rows = {k: np.tile(v, repeat) for k, v in rows.items()}
    rows |= {"bias": folded.astype(np.int32), "wsum": wsum.astype(np.int32)}
    if not depthwise:
        rows = {k: _group_lanes(v, groups) for k, v in rows.items()}
    fields |= dict(window) | ({} if depthwise else {"groups": groups})
    macs = int(np.prod(out.dims)) * (
        w.shape[0] * w.shape[1] if depthwise else int(np.prod(w.shape[1:]))
    )
    return c.command(
        opcode,
        (x,),
        out,
        fields=fields,
        rows=rows,
        constants=packed,
        lut=lut,
        lut_kind=lut_kind,
        flags=flags,
        macs=macs,
    )


def _epilogue(
    c: _Context, n: int, *over: Array
) -> tuple[dict[str, Any], dict[str, Array], bytes, int, int]:
    """Fields, rows, table, table kind and flags of a convolution's output stage."""
    unary, q = c.layer.unary, q_of(c.out)
    if unary is None:
        lo, hi = clamp_bounds(q, c.node.attrs.get("clip"))
        rows: dict[str, Any] = {
            "m": multiplier(*over, under=(q.scale,)),
            "zp": q.zero_point,
            "lo": lo,
            "hi": hi,
            "r": np.float32(0),
        }
        return {"pre_zero": 0}, _broadcast(rows, n), b"", isa.LUT_KINDS["NONE"], 0
    if "clip" in c.node.attrs:
        raise CompileError(
            f"node {c.node.name} ({c.node.op}): a clip and a table cannot both be fused behind it."
        )
    pre = q_of(c.graph.values[c.node.outputs[0]])
    if pre.dtype == "int32":
        a = accumulator_table(unary, pre, q)
        rows = {"m": a.m, "r": a.r, "zp": q.zero_point, "lo": q.lo, "hi": q.hi}
        flags = isa.FLAG_LUT_GATE if a.gate else isa.FLAG_LUT_STEP
        return {"pre_zero": 0}, _broadcast(rows, n), *_table(a.table, flags)
    table, step = unary_table(unary, pre, q)
    rows = {"m": multiplier(*over, under=(pre.scale,)), "zp": q.zero_point, "lo": q.lo, "hi": q.hi}
    rows["r"] = np.float32(0) if step is None else step
    flags = 0 if step is None else isa.FLAG_LUT_STEP
    return {"pre_zero": int(pre.zero_point)}, _broadcast(rows, n), *_table(table, flags)


def _table(table: Array, flags: int) -> tuple[bytes, int, int]:
    kind = isa.LUT_KINDS["LUT8" if len(table) == LUT8_ENTRIES else "LUT16"]
    return table.astype("<i2").tobytes(), kind, flags


def _broadcast(rows: Mapping[str, Any], n: int) -> dict[str, Array]:
    return {k: np.broadcast_to(np.asarray(v), (n,)) for k, v in rows.items()}


def _group_lanes(row: Array, groups: int) -> Array:
    """(oc,) -> (groups * lanes(oc/groups),): every group starts on a fresh panel."""
    per = len(row) // groups
    out = np.zeros((groups, isa.lanes(per)), row.dtype)
    out[:, :per] = row.reshape(groups, per)
    return out.reshape(-1)


def _prove_accumulator(node: Node, w: Array, folded: Array, *, depthwise: bool) -> None:
    """sum |w| * 128 + |bias| < 2**31 for every channel, so int32 never wraps."""
    worst = np.abs(w).sum(axis=(0, 1) if depthwise else (1, 2, 3)) * 128 + np.abs(folded)
    if int(worst.max()) >= 2**31:
        raise CompileError(
            f"node {node.name} ({node.op}): accumulators must fit int32, got up to {int(worst.max())}. Check its bias."
        )


_WINDOW_1X1 = {"kh": 1, "kw": 1, "sh": 1, "sw": 1, "dh": 1, "dw": 1, "pt": 0, "pl": 0}


def _window(attrs: Mapping[str, Any], kernel: Shape) -> dict[str, int]:
    (sh, sw), (top, left, _, _) = attrs["strides"], attrs["pads"]
    dh, dw = attrs.get("dilations", (1, 1))
    return {
        "kh": kernel[0],
        "kw": kernel[1],
        "sh": sh,
        "sw": sw,
        "dh": dh,
        "dw": dw,
        "pt": top,
        "pl": left,
    }


def _matmul(c: _Context) -> Iterator[Command]:
    qa, qb, q = q_of(c.value(0)), q_of(c.value(1)), q_of(c.out)
    lo, hi = clamp_bounds(q, c.node.attrs.get("clip"))
    rows = {
        "m": multiplier(qa.scale, qb.scale, under=(q.scale,)),
        "zp": q.zero_point,
        "lo": lo,
        "hi": hi,
    }
    fields = {"za": int(qa.zero_point), "zb": int(qb.zero_point)}
    macs = int(np.prod(c.out.shape)) * c.value(0).shape[-1]
    yield c.command(
        "GEMM",
        (c.view(0), c.view(1)),
        c.out_view,
        fields=fields,
        rows=_broadcast(rows, c.out.shape[-1]),
        macs=macs,
    )


def _elementwise(kind: str) -> Callable[[_Context], Iterator[Command]]:
    def rule(c: _Context) -> Iterator[Command]:
        n = c.out.shape[-1] if c.out.shape else 1
        qa, q = q_of(c.value(0)), q_of(c.out)
        lo, hi = clamp_bounds(q, c.node.attrs.get("clip"))
        rows: dict[str, Any] = {
            "za": qa.zero_point,
            "zb": 0,
            "rb": np.float32(0),
            "zp": q.zero_point,
            "lo": lo,
            "hi": hi,
        }
        ins: tuple[View, ...] = (c.view(0),)
        if kind == "PRELU":
            slope = np.asarray(c.value(1).data)
            rows |= {
                "ra": multiplier(qa.scale, under=(q.scale,)),
                "rb": multiplier(qa.scale, slope, under=(q.scale,)),
            }
        elif kind == "REQUANT":
            rows |= {"ra": multiplier(qa.scale, under=(q.scale,))}
        else:
            qb = q_of(c.value(1))
            ins = (c.view(0), c.view(1))
            rows |= {"zb": qb.zero_point} | _ratios(c.node.op, qa, qb, q)
        yield c.command(
            "ELEMENTWISE",
            ins,
            c.out_view,
            fields={"kind": isa.ELEMENTWISE_KINDS[kind]},
            rows=_broadcast(rows, n),
        )

    return rule


def _ratios(op: str, qa: QParams, qb: QParams, q: QParams) -> dict[str, Array]:
    if op == "Mul":
        return {"ra": multiplier(qa.scale, qb.scale, under=(q.scale,))}
    if op == "Div":
        return {"ra": multiplier(qa.scale, under=(qb.scale, q.scale))}
    rb = multiplier(qb.scale, under=(q.scale,))
    return {"ra": multiplier(qa.scale, under=(q.scale,)), "rb": -rb if op == "Sub" else rb}


def _unary(c: _Context) -> Iterator[Command]:
    q = q_of(c.out)
    table, step = unary_table(c.node, q_of(c.value(0)), q)
    rows = {
        "zp": q.zero_point,
        "lo": q.lo,
        "hi": q.hi,
        "r": np.float32(0) if step is None else step,
    }
    lut, kind, flags = _table(table, 0 if step is None else isa.FLAG_LUT_STEP)
    n = c.out.shape[-1] if c.out.shape else 1
    yield c.command(
        "LUT",
        (c.view(0),),
        c.out_view,
        fields={"pre_zero": 0},
        rows=_broadcast(rows, n),
        lut=lut,
        lut_kind=kind,
        flags=flags,
    )


def _pool(kind: str) -> Callable[[_Context], Iterator[Command]]:
    def rule(c: _Context) -> Iterator[Command]:
        a, rows = c.node.attrs, {}
        if kind == "AVG":
            rows = _mean_rows(c, c.out.shape[-1])
        fields = {"kind": isa.POOL_KINDS[kind], **_window(a, a["kernel"])}
        flags = isa.FLAG_COUNT_PAD if a.get("count_include_pad") else 0
        yield c.command("POOL", (c.view(0),), c.out_view, fields=fields, rows=rows, flags=flags)

    return rule


def _reduce_mean(c: _Context) -> Iterator[Command]:
    axes = c.node.attrs["axes"]
    out = c.out_view.reshape(tuple(1 if i in axes else d for i, d in enumerate(c.value(0).shape)))
    assert out is not None  # axes of length 1 never need a copy
    n = 1 if len(c.value(0).shape) - 1 in axes else c.value(0).shape[-1]
    yield c.command(
        "REDUCE",
        (c.view(0),),
        out,
        fields={"axes": sum(1 << a for a in axes)},
        rows=_mean_rows(c, n),
    )


def _mean_rows(c: _Context, n: int) -> dict[str, Array]:
    qx, q = q_of(c.value(0)), q_of(c.out)
    ratio = qx.scale.astype(np.float64) / q.scale.astype(np.float64)
    return _broadcast(
        {"ratio": ratio, "zx": qx.zero_point, "zp": q.zero_point, "lo": q.lo, "hi": q.hi}, n
    )


def _softmax(c: _Context) -> Iterator[Command]:
    qx, q = q_of(c.value(0)), q_of(c.out)
    fine, coarse = exp_tables(float(qx.scale), wide=qx.dtype == "int16")
    fields = {"zp": int(q.zero_point), "inv_scale": 1.0 / np.float64(q.scale)}
    yield c.command(
        "SOFTMAX",
        (c.view(0),),
        c.out_view,
        fields=fields,
        lut=np.concatenate([fine, coarse]).astype("<u4").tobytes(),
    )


def _resize(c: _Context) -> Iterator[Command]:
    a, shape = c.node.attrs, c.value(0).shape
    tables: tuple[Array, ...]
    if a["mode"] == "nearest":
        tables = nearest_tables(a, shape)
    else:
        rows, columns = linear_tables(a, shape)
        tables = (*rows, *columns)
    fields = {"kind": isa.RESIZE_KINDS[a["mode"].upper()]}
    yield c.command(
        "RESIZE",
        (c.view(0),),
        c.out_view,
        fields=fields,
        constants=np.concatenate(tables).astype("<i4").tobytes(),
    )


def _alias_or_copy(c: _Context) -> Iterator[Command]:
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


def _concat(c: _Context) -> Iterator[Command]:
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


def _transpose(c: _Context) -> Iterator[Command]:
    view, perm = c.view(0), c.node.attrs["perm"]
    turned = View(
        view.root, view.dtype, view.offset, c.out.shape, tuple(view.strides[p] for p in perm)
    )
    yield _copy(c, view, c.out_view, turned)


def _pad(c: _Context) -> Iterator[Command]:
    out, x = c.out_view, c.view(0)
    value = np.broadcast_to(pad_integers(c.node, c.out), (out.dims[-1],))
    yield c.command("FILL", (), out, rows={"value": value})
    pads = c.node.attrs["pads"]
    dims = tuple(d + min(a, 0) + min(b, 0) for d, (a, b) in zip(x.dims, pads, strict=True))
    ones = (1,) * len(dims)
    source = x.slice(tuple(max(-a, 0) for a, _ in pads), ones, dims)
    yield _copy(c, x, out.slice(tuple(max(a, 0) for a, _ in pads), ones, dims), source)


def _gather(c: _Context) -> Iterator[Command]:
    axis, indices = c.node.attrs["axis"], np.asarray(c.node.attrs["indices"], "<i4")
    x = c.view(0)
    out = c.out_view.reshape((*x.dims[:axis], len(indices), *x.dims[axis + 1 :]))
    assert out is not None  # merging the index axes of a fresh buffer never copies
    yield c.command("GATHER", (x,), out, fields={"axis": axis}, constants=indices.tobytes())


def _copy(c: _Context, x: View, out: View, source: View) -> Command:
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


_RULES: dict[str, Callable[[_Context], Iterator[Command]]] = {
    "Add": _elementwise("ADD"),
    "AvgPool": _pool("AVG"),
    "Concat": _concat,
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "DepthwiseConv": _depthwise,
    "Div": _elementwise("DIV"),
    "FullyConnected": _fully_connected,
    "Gather": _gather,
    "MatMul": _matmul,
    "MaxPool": _pool("MAX"),
    "Mul": _elementwise("MUL"),
    "PRelu": _elementwise("PRELU"),
    "Pad": _pad,
    "ReduceMean": _reduce_mean,
    "Requantize": _elementwise("REQUANT"),
    "Reshape": _alias_or_copy,
    "Resize": _resize,
    "Slice": _alias_or_copy,
    "Softmax": _softmax,
    "Sub": _elementwise("ADD"),
    "Transpose": _transpose,
    "Unary": _unary,
}
