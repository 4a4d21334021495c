"""The slow truth: run a graph with numpy, in float or in the integers of the law."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edgeq.graph.ir import Array, Graph
from edgeq.ops import OPS
from edgeq.ops.base import q_of
from edgeq.runtime import numerics


def run_float(graph: Graph, inputs: Mapping[str, Array], *, keep: bool = False) -> dict[str, Array]:
    """Run the float law. Returns the outputs by name, or every value with `keep`."""
    values = {v.name: np.asarray(v.data) for v in graph.values.values() if v.data is not None}
    values.update({k: np.asarray(x, np.float32) for k, x in inputs.items()})
    for node in graph.nodes:
        values[node.outputs[0]] = OPS[node.op].real(
            node.attrs, [values[i] if i else None for i in node.inputs]
        )
    return values if keep else {o: values[o] for o in graph.outputs}


def run_integer(
    graph: Graph, inputs: Mapping[str, Array], *, keep: bool = False
) -> dict[str, Array]:
    """Run the integer law on a quantized graph: integers in, integers out (native dtypes)."""
    values = {v.name: np.asarray(v.data) for v in graph.values.values() if v.data is not None}
    values.update(inputs)
    for node in graph.nodes:
        ins = [graph.values[i] if i else None for i in node.inputs]
        out = graph.values[node.outputs[0]]
        y = OPS[node.op].integer(node, [values[i] if i else None for i in node.inputs], ins, out)
        values[out.name] = y.astype(q_of(out).dtype)
    return values if keep else {o: values[o] for o in graph.outputs}


def quantize_inputs(graph: Graph, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Float pictures to the graph's input integers, by the edge rule."""
    out = {}
    for name, x in inputs.items():
        q = q_of(graph.values[name])
        out[name] = numerics.quantize(x, q.scale, q.zero_point, q.lo, q.hi).astype(q.dtype)
    return out


def dequantize_outputs(graph: Graph, outputs: Mapping[str, Array]) -> dict[str, Array]:
    """Integer outputs to float32, by the edge rule."""
    qs = {name: q_of(graph.values[name]) for name in outputs}
    return {
        name: numerics.dequantize(y, qs[name].scale, qs[name].zero_point)
        for name, y in outputs.items()
    }
