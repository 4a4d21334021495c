"""Scale-sharing groups: which channels of which values must have one scale and zero point.

Every channel of every value starts as a group of its own. Movements join the channels they carry;
readers and producers that need one scale per tensor join a value's channels. What is left apart is
per channel. Union-find (Tarjan 1975) over channels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Array, Graph, Node
from edgeq.quantizer import flow
from edgeq.quantizer.recipe import Recipe


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """of: per value, the group of each channel, int64 (C,). wide: values stored as int16."""

    of: Mapping[str, Array]
    wide: frozenset[str]


class _Partition:
    """Disjoint sets of the integers 0..size-1."""

    def __init__(self, size: int) -> None:
        self._parent = list(range(size))

    def root(self, item: int) -> int:
        parent = self._parent
        while parent[item] != item:
            parent[item] = item = parent[parent[item]]
        return item

    def roots(self, items: Array) -> Array:
        return np.array([self.root(i) for i in items.tolist()], np.int64)

    def join(self, a: Array, b: Array) -> None:
        """Join a[i] with b[i]; the smaller root stays."""
        for x, y in zip(*(v.tolist() for v in np.broadcast_arrays(a, b)), strict=True):
            rx, ry = self.root(x), self.root(y)
            self._parent[max(rx, ry)] = min(rx, ry)


def scale_groups(graph: Graph, recipe: Recipe) -> Groups:
    """Find the groups of a float graph, and which of its values are int16."""
    members = shared_values(graph)
    cells, size = {}, 0
    for name in members:
        count = flow.channels(graph, name)
        cells[name] = (
            np.arange(size, size + count) if count <= flow.MAX_CHANNELS else np.full(count, size)
        )
        size += count if count <= flow.MAX_CHANNELS else 1
    partition = _Partition(size)
    labels = flow.destinations(graph)
    for name, whole in _per_tensor(graph, recipe).items():
        for label in [None] if whole else np.unique(labels[name]).tolist():
            mine = cells[name] if label is None else cells[name][labels[name] == label]
            partition.join(mine, mine[:1])
    for node in filter(flow.moves, graph.nodes):
        _join_moved(partition, cells, graph, node)
    return Groups(
        {name: partition.roots(ids) for name, ids in cells.items()},
        frozenset(wide_values(graph, recipe)),
    )


def shared_values(graph: Graph) -> list[str]:
    """The values that belong to groups: activations, and constants that a movement joins with them."""
    joined = [
        i for n in graph.nodes if flow.moves(n) for i in n.inputs if graph.value(i).is_constant
    ]
    return list(dict.fromkeys([*flow.activations(graph), *joined]))


def _per_tensor(graph: Graph, recipe: Recipe) -> dict[str, bool]:
    """Values whose channels are joined: all of them (True), or those with the same readers (False).

    All of them where a reader needs it; a producer that could give every channel its own scale
    does so for depthwise readers only, else it tells apart what goes different ways.
    """
    needed = dict.fromkeys(graph.inputs, True)
    useful = flow.depthwise_only(graph)
    for node in graph.nodes:
        for name in flow.data_inputs(graph, node):
            if not flow.takes_per_channel(graph, node, name) and not _own_constant(
                graph, node, name
            ):
                needed[name] = True
        out = node.outputs[0]
        wanted = recipe.overriding("per_channel", out, node.name)
        if wanted is None:
            wanted = recipe.activations.per_channel_depthwise and out in useful
        if not flow.moves(node) and not wanted:
            needed.setdefault(out, False)
        if node.op == "Softmax":
            needed[out] = True
    return needed


def _own_constant(graph: Graph, node: Node, name: str) -> bool:
    """True for a constant operand, which has QParams of its own."""
    return graph.value(name).is_constant and not flow.moves(node)


def _join_moved(
    partition: _Partition, cells: Mapping[str, Array], graph: Graph, node: Node
) -> None:
    out, maps = cells[node.outputs[0]], flow.channel_maps(graph, node)
    if maps is None:
        for name in (*node.inputs, node.outputs[0]):
            partition.join(cells[name], out[:1])
        return
    for name, (taken, become) in zip(node.inputs, maps, strict=True):
        partition.join(cells[name][taken], out[become])


def wide_values(graph: Graph, recipe: Recipe) -> set[str]:
    """Values to be int16: heads, inputs of tables and softmax, squares, divisors.

    Values that movements join have one width: int16 if one of them wants it and all of them can.
    Raises QuantizeError for an override that no kernel can obey.
    """
    members = shared_values(graph)
    index = {name: i for i, name in enumerate(members)}
    partition = _Partition(len(members))
    for node in filter(flow.moves, graph.nodes):
        at = np.array([index[i] for i in node.inputs])
        partition.join(at, np.array([index[node.outputs[0]]]))
    roots = {name: partition.root(i) for name, i in index.items()}
    uses, producers = graph.consumers(), graph.producers()
    asked = {n: _asked_width(recipe, n, producers.get(n)) for n in flow.activations(graph)}
    refused = {
        roots[name]
        for name in members
        if not graph.value(name).is_constant
        and not (flow.makes_wide(producers.get(name)) and all(map(flow.takes_wide, uses[name])))
    }
    for name, width in asked.items():
        if width == "int16" and roots[name] in refused:
            raise QuantizeError(
                f"value {name}: cannot be int16 as the recipe's override asks, a node that shares or reads"
                " it computes with int8 only. Narrow the override."
            )
    wanted = {roots[name] for name in _want_wide(graph, recipe)} | {
        roots[name] for name, width in asked.items() if width == "int16"
    }
    refused |= {roots[name] for name, width in asked.items() if width == "int8"}
    return {name for name, root in roots.items() if root in wanted - refused}


def _asked_width(recipe: Recipe, name: str, producer: Node | None) -> str | None:
    width: str | None = recipe.overriding("activation", name, producer.name if producer else name)
    return width


def _want_wide(graph: Graph, recipe: Recipe) -> list[str]:
    uses, producers = graph.consumers(), graph.producers()
    heads = flow.heads(graph) if recipe.activations.heads == "int16" else set()
    wanted = []
    for name in flow.activations(graph):
        producer, readers = producers.get(name), uses[name]
        tables = [n for n in readers if n.op == "Unary"]
        # a table fused behind a product reads the accumulator's int16: that costs no memory
        fused = producer is not None and producer.op in flow.WEIGHTED and bool(tables)
        only = bool(readers) and len(tables) == len(readers) == 1
        softmax = bool(readers) and all(n.op == "Softmax" for n in readers)
        divides = any(n.op == "Div" and n.inputs[1] == name for n in readers)
        if name in heads or fused or only or softmax or divides or _squares(producer):
            wanted.append(name)
    return wanted


def _squares(producer: Node | None) -> bool:
    """Squares span twice the dynamic range: 8 bits are too few before a mean (norms, lprnet)."""
    return producer is not None and producer.op == "Unary" and producer.attrs["kind"] == "Square"
