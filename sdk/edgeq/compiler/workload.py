"""A network as the clock sees it: layers of plain Work over feature maps, made from a Graph or by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from edgeq.compiler.fuse import CONV_LIKE
from edgeq.compiler.weight_size import quantized_weights
from edgeq.compiler.work import Work
from edgeq.graph.ir import Array, Graph, Node, Shape

FREE = ("Reshape", "Concat", "Slice")  # addresses, not work
VECTOR = {
    "Add": "add",
    "Sub": "add",
    "Mul": "mul",
    "Div": "mul",
    "PRelu": "mul",
    "Requantize": "mul",
    "Unary": "lut",
}


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """One operation: `groups` times `work`, reading and writing buffers by name.

    `weights` are the integers where they are known (oc, kh, kw, ic; depthwise kh, kw, c), else None.
    """

    name: str
    op: str
    work: Work
    inputs: tuple[str, ...]
    output: str
    groups: int = 1
    weights: Array | None = None

    @property
    def macs(self) -> int:
        return self.groups * self.work.macs

    @property
    def weight_bytes(self) -> int:
        """Raw weights and, per output channel, ten bytes of scale and bias."""
        w = self.work
        if not w.weight_count:
            return 0
        return self.groups * (w.weight_count * w.weight_bits // 8 + 10 * w.oc)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Layers in order and the shape (h, w, c) of every buffer they touch."""

    name: str
    layers: tuple[Layer, ...]
    buffers: dict[str, tuple[int, int, int]]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)


@dataclass(slots=True)
class NetworkBuilder:
    """Write a topology by hand: every method appends a layer and returns the name of its output."""

    name: str
    layers: list[Layer] = field(default_factory=list)
    buffers: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    first: str = ""

    def input(self, h: int, w: int, c: int) -> str:
        self.first = "input"
        self.buffers["input"] = (h, w, c)
        return "input"

    def conv(
        self, x: str, oc: int, k: int, s: int = 1, *, pad: int | None = None, function: str = "relu"
    ) -> str:
        h, w, c = self.buffers[x]
        oh, ow = _out(h, k, s, pad), _out(w, k, s, pad)
        return self._add(
            "Conv",
            Work("conv", h, w, c, oh, ow, oc, k, k, s, s, function=function, bias=True),
            (x,),
        )

    def depthwise(self, x: str, k: int, s: int = 1, *, function: str = "relu") -> str:
        h, w, c = self.buffers[x]
        oh, ow = _out(h, k, s, None), _out(w, k, s, None)
        return self._add(
            "DepthwiseConv",
            Work("depthwise", h, w, c, oh, ow, c, k, k, s, s, function=function, bias=True),
            (x,),
        )

    def pool(self, x: str, k: int, s: int, *, pad: int | None = 0, kind: str = "pool_max") -> str:
        h, w, c = self.buffers[x]
        oh, ow = _out(h, k, s, pad), _out(w, k, s, pad)
        return self._add("Pool", Work(kind, h, w, c, oh, ow, c, k, k, s, s), (x,))

    def mean(self, x: str) -> str:
        h, w, c = self.buffers[x]
        return self._add(
            "ReduceMean", Work("pool_avg", h, w, c, 1, 1, c, h, w, function="reduce"), (x,)
        )

    def add(self, a: str, b: str) -> str:
        h, w, c = self.buffers[a]
        return self._add(
            "Add", Work("elementwise", h, w, c, h, w, c, function="add", operands=2), (a, b)
        )

    def upsample(self, x: str) -> str:
        h, w, c = self.buffers[x]
        return self._add(
            "Resize", Work("elementwise", h, w, c, 2 * h, 2 * w, c, function="copy"), (x,)
        )

    def space_to_depth(self, x: str) -> str:
        h, w, c = self.buffers[x]
        return self._add(
            "Slice", Work("elementwise", h, w, c, h // 2, w // 2, 4 * c, function="copy"), (x,)
        )

    def concat(self, *xs: str) -> str:
        """Join channels. The parts are written in place, so this costs nothing."""
        h, w, _ = self.buffers[xs[0]]
        name = f"concat{len(self.layers)}_{len(self.buffers)}"
        self.buffers[name] = (h, w, sum(self.buffers[x][2] for x in xs))
        moved = set(xs)
        for at, layer in enumerate(self.layers):
            inputs = tuple(name if i in moved else i for i in layer.inputs)
            self.layers[at] = replace(
                layer, inputs=inputs, output=name if layer.output in moved else layer.output
            )
        return name

    def build(self, *outputs: str) -> Network:
        return Network(self.name, tuple(self.layers), dict(self.buffers), (self.first,), outputs)

    def _add(self, op: str, work: Work, inputs: tuple[str, ...]) -> str:
        name = f"{op}{len(self.layers)}"
        self.buffers[name] = (work.oh, work.ow, work.oc)
        self.layers.append(Layer(name, op, work, inputs, name))
        return name


def _out(size: int, k: int, s: int, pad: int | None) -> int:
    return (size + 2 * (k // 2 if pad is None else pad) - k) // s + 1


def from_graph(graph: Graph) -> Network:
    """Read the layers of a float or quantized graph; views (reshape, concat, slice) cost nothing."""
    reader = _Reader(graph)
    layers = [layer for node in graph.nodes if (layer := reader.layer(node)) is not None]
    layers = [
        replace(a, inputs=tuple(map(reader.root, a.inputs)), output=reader.root(a.output))
        for a in layers
    ]
    names = {n for a in layers for n in (*a.inputs, a.output)} | {
        reader.root(n) for n in (*graph.inputs, *graph.outputs)
    }
    return Network(
        graph.name,
        tuple(layers),
        {n: picture_shape(graph.values[n].shape) for n in sorted(names)},
        tuple(map(reader.root, graph.inputs)),
        tuple(map(reader.root, graph.outputs)),
    )


def picture_shape(shape: Shape) -> tuple[int, int, int]:
    """Any shape as (h, w, c): leading axes fold into h."""
    if len(shape) < 3:
        return (1, prod(shape[:-1]), shape[-1]) if shape else (1, 1, 1)
    return (prod(shape[:-2]), shape[-2], shape[-1])


class _Reader:
    """Follows views and fused functions through a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.alias: dict[str, str] = {}
        self.function: dict[str, str] = {}  # value -> function fused behind its producer
        self.taken: set[str] = set()
        consumers, producers = graph.consumers(), graph.producers()
        for node in graph.nodes:
            x = next((i for i in node.inputs if i), "")
            if node.op == "Unary" and x in producers and producers[x].op in CONV_LIKE:
                if len(consumers[x]) == 1 and x not in graph.outputs:
                    self.function[x], self.alias[x] = "lut", node.outputs[0]
                    self.taken.add(node.name)
            elif node.op in FREE:
                self._view(node)

    def _view(self, node: Node) -> None:
        if node.op == "Concat":
            parts = [i for i in node.inputs if not self.graph.values[i].is_constant]
            if len(set(parts)) == len(parts) and not any(
                i in self.alias or i in self.graph.inputs for i in parts
            ):
                self.alias.update(dict.fromkeys(parts, node.outputs[0]))
                self.taken.add(node.name)
        elif not self.graph.values[node.inputs[0]].is_constant:
            self.alias[node.outputs[0]] = node.inputs[0]
            self.taken.add(node.name)

    def root(self, name: str) -> str:
        seen = set()
        while name in self.alias and name not in seen:
            seen.add(name)
            name = self.alias[name]
        return name

    def layer(self, node: Node) -> Layer | None:
        if node.name in self.taken:
            return None
        rule = _RULES.get(node.op, _moved)
        work, groups = rule(self.graph, node)
        out = node.outputs[0]
        function = self.function.get(out)
        if function is None and node.attrs.get("clip") is not None and work.weighted:
            function = "relu"
        if function is not None:
            work = replace(work, function=function)
        inputs = tuple(i for i in node.inputs if i and not self.graph.values[i].is_constant)
        weights = self._weights(node) if work.weighted and node.op != "MatMul" else None
        if weights is not None:
            value = self.graph.values[node.inputs[1]]
            bits = 4 if value.q is not None and value.q.dtype == "int4" else 8
            work = replace(work, weight_bits=bits, bias=True)
        return Layer(node.name, node.op, work, inputs, out, groups, weights)

    def _weights(self, node: Node) -> Array | None:
        value = self.graph.values[node.inputs[1]]
        if value.data is None:
            return None
        if value.q is not None:
            return np.asarray(value.data)
        return quantized_weights(np.asarray(value.data), depthwise=node.op == "DepthwiseConv")


def _conv(graph: Graph, node: Node) -> tuple[Work, int]:
    a = node.attrs
    (ih, iw, ic), (oh, ow, oc) = _shapes(graph, node)
    _, kh, kw, _ = graph.values[node.inputs[1]].shape
    (sh, sw), (dh, dw), group = a["strides"], a["dilations"], a["group"]
    if (
        node.op == "ConvTranspose"
    ):  # one stride-1 convolution per output phase, each with its share of taps
        kh, kw, sh, sw = max(-(-kh // sh), 1), max(-(-kw // sw), 1), 1, 1
    return Work("conv", ih, iw, ic // group, oh, ow, oc // group, kh, kw, sh, sw, dh, dw), group


def _depthwise(graph: Graph, node: Node) -> tuple[Work, int]:
    (ih, iw, ic), (oh, ow, oc) = _shapes(graph, node)
    kh, kw, _ = graph.values[node.inputs[1]].shape
    return Work(
        "depthwise",
        ih,
        iw,
        ic,
        oh,
        ow,
        oc,
        kh,
        kw,
        *node.attrs["strides"],
        *node.attrs["dilations"],
    ), 1


def _fully_connected(graph: Graph, node: Node) -> tuple[Work, int]:
    n, k = graph.values[node.inputs[1]].shape
    rows = prod(graph.values[node.outputs[0]].shape[:-1])
    return Work("gemm", 1, rows, k, 1, rows, n), 1


def _matmul(graph: Graph, node: Node) -> tuple[Work, int]:
    out = graph.values[node.outputs[0]].shape
    m, n, k = out[-2], out[-1], graph.values[node.inputs[0]].shape[-1]
    return Work("gemm", 1, m, k, 1, m, n), prod(out[:-2])


def _pool(graph: Graph, node: Node) -> tuple[Work, int]:
    (ih, iw, ic), (oh, ow, oc) = _shapes(graph, node)
    kind = "pool_max" if node.op == "MaxPool" else "pool_avg"
    return Work(kind, ih, iw, ic, oh, ow, oc, *node.attrs["kernel"], *node.attrs["strides"]), 1


def _mean(graph: Graph, node: Node) -> tuple[Work, int]:
    (ih, iw, ic), (oh, ow, oc) = _shapes(graph, node)
    shape, axes = graph.values[node.inputs[0]].shape, tuple(node.attrs["axes"])
    if len(shape) == 4 and axes == (1, 2):
        return Work("pool_avg", ih, iw, ic, 1, 1, ic, ih, iw, function="reduce"), 1
    return Work("reduce_sum", ih, iw, ic, oh, ow, oc, function="reduce"), 1


def _vector(graph: Graph, node: Node) -> tuple[Work, int]:
    (h, w, c), out = _shapes(graph, node)
    operands = sum(1 for i in node.inputs[:2] if i and not graph.values[i].is_constant)
    return Work("elementwise", h, w, c, *out, function=VECTOR[node.op], operands=operands), 1


def _softmax(graph: Graph, node: Node) -> tuple[Work, int]:
    (h, w, c), out = _shapes(graph, node)
    return Work("elementwise", h, w, c, *out, function="softmax"), 1


def _moved(graph: Graph, node: Node) -> tuple[Work, int]:
    (h, w, c), out = _shapes(graph, node)
    return Work("elementwise", h, w, c, *out, function="copy"), 1


def _shapes(graph: Graph, node: Node) -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    x = next((i for i in node.inputs if i and not graph.values[i].is_constant), node.inputs[0])
    return picture_shape(graph.values[x].shape), picture_shape(graph.values[node.outputs[0]].shape)


_RULES: dict[str, Callable[[Graph, Node], tuple[Work, int]]] = {
    "AvgPool": _pool,
    "Conv": _conv,
    "ConvTranspose": _conv,
    "DepthwiseConv": _depthwise,
    "FullyConnected": _fully_connected,
    "MatMul": _matmul,
    "MaxPool": _pool,
    "ReduceMean": _mean,
    "Softmax": _softmax,
    **dict.fromkeys(VECTOR, _vector),
}


def lifetimes(network: Network) -> dict[str, tuple[int, int]]:
    """First and last layer that touch each buffer; inputs live from the start, outputs to the end."""
    first: dict[str, int] = dict.fromkeys(network.inputs, 0)
    last: dict[str, int] = {}
    for at, layer in enumerate(network.layers):
        for name in (*layer.inputs, layer.output):
            first.setdefault(name, at)
            last[name] = at
    for name in _existing(network.outputs, first):
        last[name] = len(network.layers) - 1
    return {name: (first[name], last.get(name, first[name])) for name in first}


def _existing(names: Iterable[str], known: dict[str, int]) -> list[str]:
    return [n for n in names if n in known]
