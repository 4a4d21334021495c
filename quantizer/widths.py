"""How many bits the weights of each node get."""

from __future__ import annotations

from edgeq.graph.ir import Graph
from edgeq.quantizer import flow
from edgeq.quantizer.recipe import Recipe


def weight_bits(graph: Graph, recipe: Recipe) -> dict[str, int]:
    """Bits of the weights by name of node: the recipe's, 8 where it keeps them, an override above all."""
    weighted = [n for n in graph.nodes if n.op in flow.WEIGHTED]
    kept = set()
    if "depthwise" in recipe.weights.keep8:
        kept |= {n.name for n in weighted if n.op == "DepthwiseConv"}
    if "first" in recipe.weights.keep8:
        kept |= _without(graph, forward=True)
    if "last" in recipe.weights.keep8:
        kept |= _without(graph, forward=False)
    return {
        n.name: recipe.overriding("weight_bits", n.name)
        or (8 if n.name in kept else recipe.weights.bits)
        for n in weighted
    }


def _without(graph: Graph, *, forward: bool) -> set[str]:
    """Weighted nodes that no weighted node comes before (or, backwards, after)."""
    behind: set[str] = set()  # values with a weighted node before (after) them
    found = set()
    for node in graph.nodes if forward else reversed(graph.nodes):
        read, made = [i for i in node.inputs if i], list(node.outputs)
        if not forward:
            read, made = made, read
        one = bool(behind.intersection(read))
        if node.op in flow.WEIGHTED and not one:
            found.add(node.name)
        if one or node.op in flow.WEIGHTED:
            behind.update(made)
    return found
