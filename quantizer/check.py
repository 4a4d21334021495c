"""verify_quantized(): every rule of the quantized graph, checked."""

from __future__ import annotations

from typing import NoReturn

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.graph.ir import RANGES, Array, Graph, Node, QParams, Value
from edgeq.ops import OPS
from edgeq.quantizer import flow
from edgeq.quantizer.accumulators import accumulator_scale, may_accumulate
from edgeq.quantizer.weights import channel_axis, check_accumulator

ACTIVATIONS = ("int8", "int16")
WEIGHTS = {"int8": 127, "int4": 7}


def verify_quantized(graph: Graph) -> None:
    """Check that a quantized graph obeys the contract. Raises QuantizeError with the first broken rule."""
    for name in (*graph.inputs, *graph.outputs):
        if name not in graph.values:
            _refuse(f"value {name}", "must exist", "nothing")
    known = {*graph.inputs, *(v.name for v in graph.values.values() if v.is_constant)}
    for name in flow.activations(graph):
        _check_activation(graph.value(name))
    _check_accumulators(graph)
    for name in graph.inputs:
        if _q(graph, name).dtype != "int8" or _q(graph, name).per_channel:
            _refuse(f"input {name}", "must be int8 per tensor", _q(graph, name))
    for node in graph.nodes:
        where = f"node {node.name} ({node.op})"
        if node.op not in OPS or len(node.outputs) != 1:
            _refuse(where, "must be a known op with one output", node.outputs)
        for name in filter(None, node.inputs):
            if name not in known:
                _refuse(where, "must read values made before it", name)
        known.add(node.outputs[0])
        _check_inputs(graph, node, where)
        if flow.moves(node):
            _check_moved(graph, node, where)
        if node.op in flow.WEIGHTED:
            _check_weighted(graph, node, where)
        if node.op == "MatMul":
            _check_product(graph, node, where)
        if node.op == "Softmax" and _q(graph, node.outputs[0]).per_channel:
            _refuse(where, "must have an output per tensor", "one per channel")


def _q(graph: Graph, name: str) -> QParams:
    q = graph.value(name).q
    if q is None:
        _refuse(f"value {name}", "must have QParams", None)
    return q


def _check_activation(value: Value) -> None:
    where = f"value {value.name}"
    q = value.q
    if q is None or value.is_constant:
        _refuse(where, "must be computed and have QParams", q)
    if q.dtype not in (*ACTIVATIONS, "int32"):
        _refuse(where, "must be int8 or int16, or an int32 accumulator", q.dtype)
    _check_numbers(where, q)
    if q.per_channel and (q.axis != -1 or not value.shape or len(q.scale) != value.shape[-1]):
        _refuse(
            where,
            f"must have one scale per channel of its last axis, shape {value.shape}",
            len(q.scale),
        )


def _check_accumulators(graph: Graph) -> None:
    """An int32 value is what a Conv-like node sums up, seen by one table function alone."""
    consumers = graph.consumers()
    made = {n.outputs[0]: n for n in graph.nodes}
    for name in flow.activations(graph):
        q = _q(graph, name)
        if q.dtype != "int32":
            continue
        node = made.get(name)
        if node is None or not may_accumulate(graph, node, consumers[name]):
            _refuse(f"value {name}", "must be read by one table function to stay int32", q.dtype)
        if not q.same(accumulator_scale(graph, node)):
            _refuse(f"value {name}", "must have the scale s_x * s_w to stay int32", q.scale)


def _check_numbers(where: str, q: QParams) -> None:
    if (
        q.scale.dtype != np.float32
        or q.zero_point.dtype != np.int32
        or q.scale.shape != q.zero_point.shape
    ):
        _refuse(where, "must have a float32 scale and an int32 zero point of one shape", q)
    normal = np.isfinite(q.scale) & (q.scale >= np.finfo(np.float32).tiny)
    if q.scale.ndim > 1 or not normal.all():
        _refuse(where, "must have positive normal scales", q.scale)
    if ((q.zero_point < q.lo) | (q.zero_point > q.hi)).any():
        _refuse(where, f"must have zero points within {q.lo}..{q.hi}", q.zero_point)


def _check_constant(where: str, value: Value) -> None:
    q = value.q
    if q is None or value.data is None:
        _refuse(where, f"must have the constant {value.name} as integers", None)
    _check_numbers(where, q)
    if value.data.dtype != q.dtype and q.dtype != "int4":
        _refuse(where, f"must store {value.name} as {q.dtype}", value.data.dtype)
    low, high = RANGES[q.dtype]
    if value.data.size and (value.data.min() < low or value.data.max() > high):
        _refuse(
            where,
            f"must have {value.name} within {low}..{high}",
            (value.data.min(), value.data.max()),
        )


def _check_inputs(graph: Graph, node: Node, where: str) -> None:
    for name in flow.data_inputs(graph, node):
        value, q = graph.value(name), _q(graph, name)
        if value.is_constant:
            _check_constant(where, value)
        if q.dtype == "int32":
            continue
        if q.per_channel and not flow.takes_per_channel(graph, node, name):
            _refuse(where, f"must read {name} per tensor", "scales per channel")
        if q.dtype == "int16" and not flow.takes_wide(node):
            _refuse(where, f"must read {name} as int8", q.dtype)


def _check_moved(graph: Graph, node: Node, where: str) -> None:
    out = _q(graph, node.outputs[0])
    maps = flow.channel_maps(graph, node)
    for k, name in enumerate(node.inputs):
        q = _q(graph, name)
        if maps is None:
            same = q.same(out) and not q.per_channel
        else:
            taken, become = maps[k]
            same = q.dtype == out.dtype and all(
                np.array_equal(_at(a, taken), _at(b, become))
                for a, b in ((q.scale, out.scale), (q.zero_point, out.zero_point))
            )
        if not same:
            _refuse(where, "must keep the scale of what it moves", name)


def _at(x: Array, channels: Array) -> Array:
    return x[channels] if x.ndim else np.broadcast_to(x, channels.shape)


def _check_weighted(graph: Graph, node: Node, where: str) -> None:
    w = graph.value(node.inputs[1])
    if w.q is None or w.data is None:
        _refuse(where, "must have constant integer weights", w.name)
    axis = channel_axis(node)
    most = WEIGHTS.get(w.q.dtype)
    if (
        most is None
        or w.q.zero_point.any()
        or np.abs(w.data.astype(np.int32)).max(initial=0) > most
    ):
        _refuse(where, "must have symmetric int8 or int4 weights", w.q.dtype)
    _check_constant(where, w)
    if w.q.per_channel and (w.q.axis % w.data.ndim != axis or len(w.q.scale) != w.data.shape[axis]):
        _refuse(where, f"must have weight scales along axis {axis}", w.q.axis)
    x, rows = _q(graph, node.inputs[0]), np.moveaxis(w.data, axis, 0)
    bias = np.zeros(len(rows), np.int32)
    if len(node.inputs) > 2 and node.inputs[2]:
        stored = graph.value(node.inputs[2])
        _check_constant(where, stored)
        assert stored.data is not None
        assert stored.q is not None
        expected = x.scale.astype(np.float64) * w.q.scale.astype(np.float64)
        if (
            stored.q.dtype != "int32"
            or stored.data.shape != bias.shape
            or stored.q.zero_point.any()
        ):
            _refuse(where, f"must have {len(rows)} int32 biases", stored.data.shape)
        if not np.allclose(stored.q.scale, expected, rtol=1e-6, atol=0):
            _refuse(where, "must have biases on the scale s_x * s_w", stored.name)
        bias = stored.data
    check_accumulator(node, rows, bias, x)


def _check_product(graph: Graph, node: Node, where: str) -> None:
    depth = graph.value(node.inputs[0]).shape[-1]
    reach = [
        int(max(q.hi - q.zero_point, q.zero_point - q.lo))
        for q in (_q(graph, i) for i in node.inputs)
    ]
    if depth * reach[0] * reach[1] >= 2**31:
        _refuse(where, "must have sums below 2^31", f"{depth} products of {reach[0]} * {reach[1]}")


def _refuse(where: str, rule: str, got: object) -> NoReturn:
    raise QuantizeError(f"{where}: {rule}, got {got!r}. Quantize the float model anew.")
