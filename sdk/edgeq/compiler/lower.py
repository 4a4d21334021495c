"""Turn layers into commands over views: one command per layer, LAYOUT copies where an address will not do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from edgeq.compiler.command import Command, Context, broadcast, table_bytes
from edgeq.compiler.fuse import Layer
from edgeq.compiler.lower_conv import (
    lower_conv,
    lower_conv_transpose,
    lower_depthwise,
    lower_fully_connected,
    window_fields,
)
from edgeq.compiler.lower_movement import (
    lower_alias_or_copy,
    lower_concat,
    lower_gather,
    lower_pad,
    lower_transpose,
)
from edgeq.compiler.pair_rows import pair_rows
from edgeq.compiler.views import View, Views
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Graph, QParams
from edgeq.ops.base import clamp_bounds, q_of
from edgeq.ops.resize import linear_tables, nearest_tables
from edgeq.ops.unary import unary_table
from edgeq.runtime import isa
from edgeq.runtime.numerics import exp_tables, multiplier


def lower(graph: Graph, layers: list[Layer], views: Views) -> list[Command]:
    """Lower every layer in order. Raises CompileError naming the node."""
    out: list[Command] = []
    for layer in layers:
        rule = _RULES.get(layer.node.op)
        if rule is None:
            raise CompileError(
                f"node {layer.node.name} ({layer.node.op}): target cpu has no command for it."
            )
        out.extend(rule(Context(graph, views, layer)))
    return out


def _matmul(c: Context) -> Iterator[Command]:
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
        rows=broadcast(rows, c.out.shape[-1]),
        macs=macs,
    )


def _pair(kind: str) -> Callable[[Context], Iterator[Command]]:
    """Two activations."""

    def rule(c: Context) -> Iterator[Command]:
        qs = q_of(c.value(0)), q_of(c.value(1)), q_of(c.out)
        rows = pair_rows(c.node.op, *qs, c.node.attrs.get("clip"))
        yield _elementwise(c, kind, (c.view(0), c.view(1)), rows)

    return rule


def _prelu(c: Context) -> Iterator[Command]:
    qa, q = q_of(c.value(0)), q_of(c.out)
    slope = np.asarray(c.value(1).data)
    rb = multiplier(qa.scale, slope, under=(q.scale,))
    yield _elementwise(c, "PRELU", (c.view(0),), _scaled(c, qa, q) | {"rb": rb})


def _requantize(c: Context) -> Iterator[Command]:
    rows = _scaled(c, q_of(c.value(0)), q_of(c.out))
    yield _elementwise(c, "REQUANT", (c.view(0),), rows)


def _scaled(c: Context, qa: QParams, q: QParams) -> dict[str, Any]:
    lo, hi = clamp_bounds(q, c.node.attrs.get("clip"))
    rows = {"za": qa.zero_point, "zb": 0, "rb": 0.0, "zp": q.zero_point, "lo": lo, "hi": hi}
    return rows | {"ra": multiplier(qa.scale, under=(q.scale,))}


def _elementwise(c: Context, kind: str, ins: tuple[View, ...], rows: dict[str, Any]) -> Command:
    n = c.out.shape[-1] if c.out.shape else 1
    fields = {"kind": isa.ELEMENTWISE_KINDS[kind]}
    return c.command("ELEMENTWISE", ins, c.out_view, fields=fields, rows=broadcast(rows, n))


def _unary(c: Context) -> Iterator[Command]:
    q = q_of(c.out)
    table, step = unary_table(c.node, q_of(c.value(0)), q)
    rows = {
        "zp": q.zero_point,
        "lo": q.lo,
        "hi": q.hi,
        "r": np.float32(0) if step is None else step,
    }
    lut, kind, flags = table_bytes(table, 0 if step is None else isa.FLAG_LUT_STEP)
    n = c.out.shape[-1] if c.out.shape else 1
    yield c.command(
        "LUT",
        (c.view(0),),
        c.out_view,
        fields={"pre_zero": 0},
        rows=broadcast(rows, n),
        lut=lut,
        lut_kind=kind,
        flags=flags,
    )


def _pool(kind: str) -> Callable[[Context], Iterator[Command]]:
    def rule(c: Context) -> Iterator[Command]:
        a, rows = c.node.attrs, {}
        if kind == "AVG":
            rows = _mean_rows(c, c.out.shape[-1])
        fields = {"kind": isa.POOL_KINDS[kind], **window_fields(a, a["kernel"])}
        flags = isa.FLAG_COUNT_PAD if a.get("count_include_pad") else 0
        yield c.command("POOL", (c.view(0),), c.out_view, fields=fields, rows=rows, flags=flags)

    return rule


def _reduce_mean(c: Context) -> Iterator[Command]:
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


def _mean_rows(c: Context, n: int) -> dict[str, Array]:
    qx, q = q_of(c.value(0)), q_of(c.out)
    ratio = qx.scale.astype(np.float64) / q.scale.astype(np.float64)
    return broadcast(
        {"ratio": ratio, "zx": qx.zero_point, "zp": q.zero_point, "lo": q.lo, "hi": q.hi}, n
    )


def _softmax(c: Context) -> Iterator[Command]:
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


def _resize(c: Context) -> Iterator[Command]:
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


_RULES: dict[str, Callable[[Context], Iterator[Command]]] = {
    "Add": _pair("ADD"),
    "AvgPool": _pool("AVG"),
    "Concat": lower_concat,
    "Conv": lower_conv,
    "ConvTranspose": lower_conv_transpose,
    "DepthwiseConv": lower_depthwise,
    "Div": _pair("DIV"),
    "FullyConnected": lower_fully_connected,
    "Gather": lower_gather,
    "MatMul": _matmul,
    "MaxPool": _pool("MAX"),
    "Mul": _pair("MUL"),
    "PRelu": _prelu,
    "Pad": lower_pad,
    "ReduceMean": _reduce_mean,
    "Requantize": _requantize,
    "Reshape": lower_alias_or_copy,
    "Resize": _resize,
    "Slice": lower_alias_or_copy,
    "Softmax": _softmax,
    "Sub": _pair("ADD"),
    "Transpose": lower_transpose,
    "Unary": _unary,
}
