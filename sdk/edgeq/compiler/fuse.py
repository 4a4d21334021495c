"""Decide which nodes become one command: a table function and a sum behind a convolution run as its epilogue."""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeq.graph.ir import Graph, Node, Value

CONV_LIKE = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")
ADDABLE = ("Conv", "DepthwiseConv")


@dataclass(frozen=True, slots=True)
class Layer:
    """A node, the Unary fused behind it, and the Add behind that with its other operand, if any."""

    node: Node
    unary: Node | None = None
    add: Node | None = None
    addend: str = ""

    @property
    def result(self) -> str:
        """What the node and its Unary make."""
        return (self.unary or self.node).outputs[0]

    @property
    def output(self) -> str:
        return self.add.outputs[0] if self.add else self.result


def fuse(graph: Graph, *, sums: bool = True) -> list[Layer]:
    """Group the nodes into layers, in order; `sums` fuses residual Adds too."""
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
    layers = [Layer(n, fused.get(n.outputs[0])) for n in graph.nodes if id(n) not in taken]
    return _fuse_sums(graph, layers) if sums else layers


def _fuse_sums(graph: Graph, layers: list[Layer]) -> list[Layer]:
    """Move every Add of two int8 values of one shape behind the later of its operands, if that convolves."""
    made = {layer.output: i for i, layer in enumerate(layers)}
    consumers, dropped = graph.consumers(), set()
    for at, layer in enumerate(layers):
        add = layer.node
        if add.op != "Add":
            continue
        last = max(add.inputs, key=lambda n: made.get(n, -1))
        (other,) = [n for n in add.inputs if n != last] or [last]
        ends = [graph.values[n] for n in (last, other, add.outputs[0])]
        behind = layers[made[last]] if last in made else layer
        if (
            behind.node.op in ADDABLE
            and behind.add is None
            and other != last
            and consumers[last] == [add]
            and last not in graph.outputs
            and len({v.shape for v in ends}) == 1
            and all(v.q is not None and v.q.dtype == "int8" for v in ends)
            and not graph.values[other].is_constant
        ):
            layers[made[last]] = replace(behind, add=add, addend=other)
            made[add.outputs[0]] = made[last]
            dropped.add(at)
    return [layer for i, layer in enumerate(layers) if i not in dropped]


def _fusable(value: Value) -> bool:
    """True for accumulators and for integers on one scale."""
    return value.q is not None and (value.q.dtype == "int32" or not value.q.per_channel)
