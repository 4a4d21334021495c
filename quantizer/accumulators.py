"""Let table functions read the accumulators of the convolution before them: nothing is lost in between."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeq.graph.ir import Graph, Node, QParams
from edgeq.ops.base import q_of
from edgeq.ops.unary import takes_accumulator
from edgeq.quantizer import flow
from edgeq.quantizer.recipe import Recipe


def read_accumulators(graph: Graph, recipe: Recipe) -> Graph:
    """Give the value between a Conv-like node and its only reader, a Unary, the accumulator's scale.

    The compiler fuses the two, and the function's precision is then relative to each channel's own
    range. Values for which the recipe asks a width are left alone.
    """
    consumers = graph.consumers()
    changed = [
        replace(graph.value(n.outputs[0]), q=accumulator_scale(graph, n))
        for n in graph.nodes
        if may_accumulate(graph, n, consumers[n.outputs[0]])
        and recipe.overriding("activation", n.outputs[0], n.name) is None
    ]
    return graph.with_values(changed)


def may_accumulate(graph: Graph, node: Node, readers: list[Node]) -> bool:
    """True when only a table function that takes accumulators sees what the node makes."""
    return (
        node.op in flow.WEIGHTED
        and "clip" not in node.attrs
        and node.outputs[0] not in graph.outputs
        and len(readers) == 1
        and readers[0].op == "Unary"
        and takes_accumulator(readers[0].attrs)
    )


def accumulator_scale(graph: Graph, node: Node) -> QParams:
    """float32 s_x[c] * s_w[c] per output channel, zero point 0, int32."""
    x, w = q_of(graph.value(node.inputs[0])), q_of(graph.value(node.inputs[1]))
    product = x.scale.astype(np.float64) * w.scale.astype(np.float64)
    scale = np.broadcast_to(product, graph.value(node.outputs[0]).shape[-1:]).astype(np.float32)
    return QParams(scale, np.zeros(scale.shape, np.int32), "int32")
