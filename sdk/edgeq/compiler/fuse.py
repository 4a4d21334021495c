"""Decide which nodes become one command: a table function behind a convolution runs as its epilogue."""

from __future__ import annotations

from dataclasses import dataclass

from edgeq.graph.ir import Graph, Node, Value

CONV_LIKE = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")


@dataclass(frozen=True, slots=True)
class Layer:
    """A node and the Unary fused behind it, if any."""

    node: Node
    unary: Node | None = None

    @property
    def output(self) -> str:
        return (self.unary or self.node).outputs[0]


def fuse(graph: Graph) -> list[Layer]:
    """Group the nodes into layers, in order."""
    consumers = graph.consumers()
    fused: dict[str, Node] = {}  # name of a Unary's input -> the Unary
    for node in graph.nodes:
        if node.op in CONV_LIKE:
            out = node.outputs[0]
            readers = consumers[out]
            if (
                len(readers) == 1
                and readers[0].op == "Unary"
                and out not in graph.outputs
                and _fusable(graph.values[out])
            ):
                fused[out] = readers[0]
    taken = {id(u) for u in fused.values()}
    return [Layer(n, fused.get(n.outputs[0])) for n in graph.nodes if id(n) not in taken]


def _fusable(value: Value) -> bool:
    """True for accumulators and for integers on one scale."""
    return value.q is not None and (value.q.dtype == "int32" or not value.q.per_channel)
