"""The integer law of every op stays within a rounding step or two of its float law."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.graph.ir import Graph, Value
from edgeq.graph.reference import dequantize_outputs, run_float, run_integer
from edgeq.runtime import numerics
from tests.cases import CASES, Case, build

# a table or blend rounds twice; interpolation between 513 knots adds its own error
STEPS = {"Softmax": 2, "Resize": 1, "Unary": 2}


def _as_float(graph: Graph) -> Graph:
    """The same graph with float constants and no clipping by integer ranges."""
    values = {}
    for v in graph.values.values():
        data = None if v.data is None else np.asarray(v.data)
        if data is not None and v.q is not None:
            shape = (
                (-1, *(1,) * (data.ndim - 1))
                if v.q.per_channel and v.q.axis == 0
                else v.q.scale.shape
            )
            data = ((data - v.q.zero_point.reshape(shape)) * v.q.scale.reshape(shape)).astype(
                np.float32
            )
        elif data is not None and v.name == "b":
            x, w = graph.values["x0"].q, graph.values["w"].q
            assert x is not None and w is not None
            data = (data * x.scale * w.scale).astype(np.float32)
        values[v.name] = Value(v.name, v.shape, data=data)
    return Graph(graph.name, graph.nodes, values, graph.inputs, graph.outputs)


SINGLE = [
    c for c in CASES if not c.add
]  # a sum reads a clamped value, which the float law knows not


@pytest.mark.parametrize("case", SINGLE, ids=lambda c: c.id)
def test_integer_law_follows_float_law(case: Case) -> None:
    graph, inputs = build(case)
    name = graph.outputs[0]
    q = graph.values[name].q
    assert q is not None
    y = run_integer(graph, inputs)[name].astype(np.int64)
    real = run_float(_as_float(graph), dequantize_outputs(graph, inputs))[name]
    expected = numerics.quantize(real, q.scale, q.zero_point, q.lo, q.hi).astype(np.int64)
    allowed = STEPS.get(case.op, 1)
    if (
        case.unary
    ):  # an int8 value before the function costs up to half its own step times the slope
        pre = graph.values["y"].q
        assert pre is not None
        allowed = 2 + (
            int(np.ceil(1.2 * np.max(pre.scale / q.scale))) if pre.dtype == "int8" else 0
        )
        if case.unary == "Sigmoid":  # its table ends at 1: a channel far below 1 sees its steps
            allowed += int(np.ceil(1 / 32767 / q.scale.min()))
    if q.dtype == "int16":
        allowed = max(allowed * 256, 64) if case.unary or case.op in ("Unary", "Softmax") else 16
    assert np.abs(y - expected).max() <= allowed


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_outputs_use_their_range(case: Case) -> None:
    """A table case that always saturates or never moves would prove nothing."""
    graph, inputs = build(case)
    y = run_integer(graph, inputs)[graph.outputs[0]]
    assert y.size < 8 or len(np.unique(y)) > 3
