"""Convolutions and fully connected layers as CONV and DWCONV commands with their epilogue."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from math import gcd
from typing import Any

import numpy as np

from edgeq.compiler.command import Command, Context, broadcast, table_bytes
from edgeq.compiler.pack import pack_conv, pack_depthwise, weight_bits
from edgeq.compiler.pair_rows import pair_rows
from edgeq.compiler.views import View
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Node, Shape
from edgeq.ops.base import clamp_bounds, q_of
from edgeq.ops.unary import accumulator_table, unary_table
from edgeq.runtime import isa
from edgeq.runtime.numerics import multiplier


def lower_conv(c: Context) -> Iterator[Command]:
    w = np.asarray(c.value(1).data)  # (oc, kh, kw, ic/group)
    yield _window_command(
        c,
        "CONV",
        c.view(0),
        c.out_view,
        w,
        c.node.attrs["group"],
        window_fields(c.node.attrs, w.shape[1:3]),
    )


def lower_depthwise(c: Context) -> Iterator[Command]:
    w = np.asarray(c.value(1).data)  # (kh, kw, c)
    yield _window_command(
        c, "DWCONV", c.view(0), c.out_view, w, 0, window_fields(c.node.attrs, w.shape[:2])
    )


def lower_fully_connected(c: Context) -> Iterator[Command]:
    w = np.asarray(c.value(1).data)[:, None, None, :]  # (n, 1, 1, k)
    x, out = _as_rows(c, c.view(0)), _as_rows(c, c.out_view)
    yield _window_command(c, "CONV", x, out, w, 1, _WINDOW_1X1)


def _as_rows(c: Context, view: View) -> View:
    rows = view.reshape((1, 1, int(np.prod(view.dims[:-1], dtype=np.int64)), view.dims[-1]))
    if rows is None:
        raise CompileError(
            f"node {c.node.name} ({c.node.op}): its rows must be evenly spaced in memory, got strides {view.strides}."
        )
    return rows


def lower_conv_transpose(c: Context) -> Iterator[Command]:
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
    c: Context,
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
    bits = weight_bits(qw.dtype, w, groups)
    packed = (
        pack_depthwise(w, pads, bits=bits) if depthwise else pack_conv(w, groups, pads, bits=bits)
    )
    fields, rows, lut, lut_kind, flags = _epilogue(c, len(wsum) // repeat, qx.scale, qw.scale)
    flags |= isa.FLAG_WEIGHTS4 if bits == 4 else 0
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
        **_sum(c),
    )


def _sum(c: Context) -> dict[str, Any]:
    """The fused Add, if any: its other operand and its rows."""
    add = c.layer.add
    if add is None:
        return {}
    other, out = c.graph.values[c.layer.addend], c.graph.values[c.layer.output]
    rows = pair_rows(add.op, q_of(c.out), q_of(other), q_of(out), add.attrs.get("clip"))
    return {
        "addend": (c.views.of(other.name),),
        "add_rows": broadcast(rows, out.shape[-1]),
    }


def _epilogue(
    c: Context, n: int, *over: Array
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
        return {"pre_zero": 0}, broadcast(rows, n), b"", isa.LUT_KINDS["NONE"], 0
    if "clip" in c.node.attrs:
        raise CompileError(
            f"node {c.node.name} ({c.node.op}): a clip and a table cannot both be fused behind it."
        )
    pre = q_of(c.graph.values[c.node.outputs[0]])
    if pre.dtype == "int32":
        a = accumulator_table(unary, pre, q)
        rows = {"m": a.m, "r": a.r, "zp": q.zero_point, "lo": q.lo, "hi": q.hi}
        flags = isa.FLAG_LUT_GATE if a.gate else isa.FLAG_LUT_STEP
        return {"pre_zero": 0}, broadcast(rows, n), *table_bytes(a.table, flags)
    table, step = unary_table(unary, pre, q)
    rows = {"m": multiplier(*over, under=(pre.scale,)), "zp": q.zero_point, "lo": q.lo, "hi": q.hi}
    rows["r"] = np.float32(0) if step is None else step
    flags = 0 if step is None else isa.FLAG_LUT_STEP
    return {"pre_zero": int(pre.zero_point)}, broadcast(rows, n), *table_bytes(table, flags)


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


def window_fields(attrs: Mapping[str, Any], kernel: Shape) -> dict[str, int]:
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
