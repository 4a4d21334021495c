"""Small float graphs for the quantizer's tests, made node by node, with made-up weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgeq.graph.ir import Array, Graph, Node, Value, constant
from edgeq.graph.reference import (
    dequantize_outputs,
    quantize_inputs,
    run_float,
    run_integer,
)
from edgeq.ops import OPS
from edgeq.quantizer import flow
from edgeq.quantizer.statistics import Statistics, ValueStatistics, histogram


class Net:
    """Build a graph; every method returns the name of the value it makes."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.inputs: list[str] = []

    def input(self, *shape: int, name: str = "x") -> str:
        self.values[name] = Value(name, shape)
        self.inputs.append(name)
        return name

    def const(self, data: Any, name: str = "") -> str:
        name = name or f"k{len(self.values)}"
        self.values[name] = constant(name, np.asarray(data, np.float32))
        return name

    def node(self, op: str, inputs: list[str], name: str = "", **attrs: Any) -> str:
        name = name or f"{op.lower()}{len(self.nodes)}"
        shapes = [self.values[i].shape if i else None for i in inputs]
        self.values[name] = Value(name, OPS[op].shape(attrs, shapes))
        self.nodes.append(Node(op, f"n_{name}", tuple(inputs), (name,), attrs))
        return name

    def conv(
        self,
        x: str,
        channels: int,
        *,
        size: int = 1,
        w: Any = None,
        bias: Any = None,
        name: str = "",
        **attrs: Any,
    ) -> str:
        ic = self.values[x].shape[-1]
        if w is None:
            w = self.rng.normal(size=(channels, size, size, ic)) / np.sqrt(size * size * ic)
        if bias is None:
            bias = self.rng.normal(size=channels) * 0.1
        p = size // 2
        args = {"strides": (1, 1), "pads": (p, p, p, p), "dilations": (1, 1), "group": 1, **attrs}
        return self.node("Conv", [x, self.const(w), self.const(bias)], name, **args)

    def depthwise(self, x: str, *, name: str = "", w: Any = None) -> str:
        c = self.values[x].shape[-1]
        w = self.rng.normal(size=(3, 3, c)) / 3 if w is None else w
        args = {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1)}
        return self.node("DepthwiseConv", [x, self.const(w), self.const(np.zeros(c))], name, **args)

    def unary(self, x: str, kind: str, *, name: str = "", **params: Any) -> str:
        return self.node("Unary", [x], name, kind=kind, **params)

    def graph(self, *outputs: str) -> Graph:
        return Graph("net", tuple(self.nodes), self.values, tuple(self.inputs), outputs)


def samples(graph: Graph, count: int = 8, *, seed: int = 1) -> list[dict[str, Array]]:
    rng = np.random.default_rng(seed)
    return [
        {n: rng.normal(size=graph.value(n).shape).astype(np.float32) for n in graph.inputs}
        for _ in range(count)
    ]


def observe(graph: Graph, batch: list[dict[str, Array]]) -> Statistics:
    """Statistics by the slow truth, every element counted."""
    rows: dict[str, list[Array]] = {}
    for sample in batch:
        made = run_float(graph, sample, keep=True)
        for name in flow.activations(graph):
            rows.setdefault(name, []).append(made[name].reshape(-1, flow.channels(graph, name)))
    found = {}
    for name, parts in rows.items():
        x = np.concatenate(parts).astype(np.float32)
        low, high = x.min(axis=0), x.max(axis=0)
        counts = histogram(x, float(low.min()), float(high.max()))
        whole = bool((x == np.rint(x)).all())
        found[name] = ValueStatistics(low, high, x.mean(axis=0, dtype=np.float64), whole, counts)
    return Statistics(found, len(batch))


def snr(float_graph: Graph, graph: Graph, batch: list[dict[str, Array]]) -> float:
    """Signal to noise of the integer outputs against the float ones, in dB."""
    signal = noise = 0.0
    for sample in batch:
        real = run_float(float_graph, sample)
        ours = dequantize_outputs(graph, run_integer(graph, quantize_inputs(graph, sample)))
        for name, y in real.items():
            signal += float(np.square(y, dtype=np.float64).sum())
            noise += float(np.square(y - ours[name], dtype=np.float64).sum())
    return float(10 * np.log10(signal / max(noise, 1e-30)))


def detector(seed: int = 0) -> Graph:
    """Two levels in the manner of YOLOX: stem, depthwise, residual, heads joined on two axes."""
    net = Net(seed)
    x = net.input(1, 16, 16, 3)
    stem = net.unary(net.conv(x, 8, size=3), "Silu")
    deep = net.unary(net.conv(net.unary(net.depthwise(stem), "Silu"), 8), "Silu")
    levels = []
    for k, side in enumerate((16, 8)):
        feature = deep
        if k:
            args = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)}
            feature = net.node("MaxPool", [net.node("Add", [deep, deep])], "pooled", **args)
        reg = net.conv(feature, 4, name=f"reg{k}")
        obj = net.unary(net.conv(feature, 1, name=f"obj{k}"), "Sigmoid", name=f"sobj{k}")
        cls = net.unary(net.conv(feature, 5, name=f"cls{k}"), "Sigmoid", name=f"scls{k}")
        head = net.node("Concat", [reg, obj, cls], name=f"head{k}", axis=3)
        levels.append(net.node("Reshape", [head], shape=(1, side * side, 10)))
    return net.graph(net.node("Concat", levels, name="out", axis=1))
