"""Give values their model's names back: `x~` (made by a rewrite) becomes `x` where x is gone."""

from __future__ import annotations

from edgeq.graph.ir import Graph, Node, Value
from edgeq.passes.rewrite import plain_name


def restore_names(graph: Graph) -> Graph:
    """Strip rewrite marks from value and node names, first come first served."""
    taken = set(graph.values)
    new: dict[str, str] = {}
    for name in graph.values:
        plain = plain_name(name)
        if plain != name and plain not in taken:
            taken.add(plain)
            taken.discard(name)
            new[name] = plain
    labels = [
        n.name if "~" not in n.name else new.get(n.outputs[0], n.outputs[0]) for n in graph.nodes
    ]
    if not new and labels == [n.name for n in graph.nodes]:
        return graph
    values = {}
    for name, v in graph.values.items():
        label = new.get(name, name)
        values[label] = Value(label, v.shape, v.dtype, v.data, v.q)
    nodes = [
        Node(
            n.op,
            label,
            tuple(new.get(i, i) for i in n.inputs),
            tuple(new.get(o, o) for o in n.outputs),
            n.attrs,
        )
        for n, label in zip(graph.nodes, labels, strict=True)
    ]
    return Graph(graph.name, tuple(nodes), values, graph.inputs, graph.outputs, graph.meta)
