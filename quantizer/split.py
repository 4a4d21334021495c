"""Requantize nodes where sharing a Concat's scale would cost a value its own readers' precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from edgeq.graph.ir import Graph, Node, Value
from edgeq.quantizer import flow
from edgeq.quantizer.assign import Seen, observed_constants, seen_values
from edgeq.quantizer.recipe import Recipe
from edgeq.quantizer.scales import scale_groups
from edgeq.quantizer.statistics import Statistics

RATIO = 4.0  # two bits of eight


def split_groups(graph: Graph, statistics: Statistics, recipe: Recipe) -> Graph:
    """Cut a Concat's input off its group where the group is 4 times as wide and others read it too.

    The value keeps its own scale for those readers, and a Requantize node brings a copy to the
    Concat's. Where the Concat is the only reader nothing would be won.
    """
    seen = seen_values(graph, observed_constants(graph, statistics))
    groups = scale_groups(graph, recipe)
    values, nodes = dict(graph.values), list[Node]()
    for node in graph.nodes:
        if node.op != "Concat" or len(np.unique(groups.of[node.outputs[0]])) > 1:
            nodes.append(node)
            continue
        inputs = list(node.inputs)
        for k, name in enumerate(node.inputs):
            if not _narrow(seen, name, node.outputs[0]) or not _has_other_reader(graph, name, node):
                continue
            inputs[k] = _fresh(values, f"{name}.requantized")
            values[inputs[k]] = Value(inputs[k], graph.value(name).shape)
            nodes.append(Node("Requantize", f"{node.name}.requantize_{k}", (name,), (inputs[k],)))
        nodes.append(replace(node, inputs=tuple(inputs)))
    return replace(graph, nodes=tuple(nodes), values=values)


def _narrow(seen: dict[str, Seen], name: str, out: str) -> bool:
    def width(s: Seen) -> float:
        return float(max(s.high.max(), 0.0) - min(s.low.min(), 0.0))

    return name in seen and width(seen[name]) * RATIO < width(seen[out])


def _has_other_reader(graph: Graph, name: str, node: Node) -> bool:
    """True when an op that computes reads the value, or what it was moved from, beside `node`."""
    producers, uses = graph.producers(), graph.consumers()
    while True:
        if name in graph.outputs or any(not flow.moves(n) for n in uses[name] if n is not node):
            return True
        producer = producers.get(name)
        if producer is None or not flow.moves(producer) or producer.op == "Concat":
            return False
        name = producer.inputs[0]


def _fresh(values: dict[str, Value], name: str) -> str:
    """`name`, or with a number behind it where it is taken."""
    fresh, k = name, 1
    while fresh in values:
        k, fresh = k + 1, f"{name}_{k}"
    return fresh
