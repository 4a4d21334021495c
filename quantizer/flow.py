"""How values flow: which channels a movement keeps together, and who reads a value in the end."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgeq.graph.ir import Array, Graph, Node
from edgeq.ops import OPS

WEIGHTED = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")
ELEMENTWISE = ("Add", "Sub", "Mul", "Div", "PRelu", "Unary")
MAX_CHANNELS = 1 << 14  # a longer last axis is no channel axis: such values are per tensor


def moves(node: Node) -> bool:
    """True when the output's integers are the input's."""
    return OPS[node.op].moves


def channels(graph: Graph, name: str) -> int:
    """Length of the last axis."""
    shape = graph.value(name).shape
    return shape[-1] if shape else 1


def activations(graph: Graph) -> list[str]:
    """Every computed value and graph input, in order of appearance."""
    return [*graph.inputs, *(o for n in graph.nodes for o in n.outputs)]


def data_inputs(graph: Graph, node: Node) -> list[str]:
    """The inputs that get activation QParams: not weights, biases, slopes or absent ones."""
    if node.op in WEIGHTED or node.op == "PRelu":
        return [node.inputs[0]]
    return [i for i in node.inputs if i]


def channel_maps(graph: Graph, node: Node) -> list[tuple[Array, Array]] | None:
    """Pairs (channels of input i, channels of the output they become) of a movement node.

    None when the last axis does not stay last and whole, so that channels mix.
    """
    x, out = graph.value(node.inputs[0]).shape, graph.value(node.outputs[0]).shape
    if not x or not out:
        return None
    last, every = len(x) - 1, np.arange(x[-1])
    a = node.attrs
    if node.op == "Concat":
        if a["axis"] != last:
            return [(every, every) for _ in node.inputs]
        sizes = [channels(graph, i) for i in node.inputs]
        starts = np.cumsum([0, *sizes])
        return [(np.arange(n), np.arange(n) + s) for n, s in zip(sizes, starts, strict=False)]
    if node.op == "Slice":
        step, end = a["steps"][last], a["ends"][last]
        kept = every[slice(a["starts"][last], None if step < 0 and end < 0 else end, step)]
        return [(kept, np.arange(len(kept)))]
    if node.op == "Gather" and a["axis"] == last:
        if len(a.get("index_shape", (1,))) != 1:
            return None
        return [(np.array(a["indices"]), np.arange(len(a["indices"])))]
    keeps = {
        "Reshape": x[-1] == out[-1],
        "Transpose": node.op == "Transpose" and a["perm"][-1] == last,
        "Pad": node.op == "Pad" and tuple(a["pads"][last]) == (0, 0),
    }.get(node.op, True)
    return [(every, every)] if keeps else None


def destinations(graph: Graph) -> dict[str, Array]:
    """Label the channels of every activation, int64 (C,): equal labels, same ways onward.

    Only movements that pick channels tell them apart (a Slice, or a Concat that is sliced later).
    """
    labels = {name: np.zeros(channels(graph, name), np.int64) for name in activations(graph)}
    for node in reversed(graph.nodes):
        maps = channel_maps(graph, node) if moves(node) else None
        for name, (taken, become) in zip(node.inputs, maps or [], strict=bool(maps)):
            if name not in labels:
                continue
            onward = np.zeros_like(labels[name])
            onward[taken] = 1 + labels[node.outputs[0]][become]
            pairs = np.stack([labels[name], onward], axis=1)
            labels[name] = np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)
    return labels


def picks_channels(graph: Graph, node: Node) -> bool:
    """True for a Slice or Gather that takes some channels of the last axis."""
    maps = channel_maps(graph, node) if node.op in ("Slice", "Gather") else None
    return maps is not None and len(maps[0][0]) < channels(graph, node.inputs[0])


def takes_per_channel(graph: Graph, node: Node, name: str) -> bool:
    """True when `node` may read `name` with a scale per channel."""
    if node.op == "ReduceMean":
        return len(graph.value(name).shape) - 1 not in node.attrs["axes"]
    if moves(node):
        return channel_maps(graph, node) is not None
    if node.op in ("Add", "Sub", "Mul", "Div"):
        return channels(graph, name) == channels(graph, node.outputs[0])
    return bool(OPS[node.op].channelwise)


def takes_wide(node: Node) -> bool:
    """True when `node` may read int16."""
    return bool(OPS[node.op].wide) or (node.op == "Resize" and node.attrs["mode"] == "nearest")


def makes_wide(node: Node | None) -> bool:
    """True when `node` may write int16; graph inputs (None) may not."""
    return node is not None and (node.op != "Resize" or node.attrs["mode"] == "nearest")


def ending_only(graph: Graph, through: Callable[[Node], bool], *, at_output: bool) -> set[str]:
    """Values all of whose readers are `through` nodes that lead to an accepted end only.

    at_output: an end is to be a graph output; otherwise it is a DepthwiseConv, and a graph output
    is none.
    """
    uses, found = graph.consumers(), set[str]()
    for name in reversed(activations(graph)):
        readers = uses[name]
        if name in graph.outputs and not at_output:
            continue
        if not readers and name not in graph.outputs:
            continue
        ends = (lambda n: False) if at_output else (lambda n: n.op == "DepthwiseConv")
        if all(ends(n) or (through(n) and n.outputs[0] in found) for n in readers):
            found.add(name)
    return found


def depthwise_only(graph: Graph) -> set[str]:
    """Values read by depthwise convolutions only, also through pools and movements that keep channels."""
    return ending_only(
        graph,
        lambda n: n.op == "AvgPool" or (moves(n) and channel_maps(graph, n) is not None),
        at_output=False,
    )


def heads(graph: Graph) -> set[str]:
    """Values that flow into graph outputs only, through movements and elementwise ops."""
    return ending_only(
        graph,
        lambda n: (
            takes_wide(n) and (moves(n) or n.op in (*ELEMENTWISE, "Softmax")) and n.op != "MaxPool"
        ),
        at_output=True,
    )
