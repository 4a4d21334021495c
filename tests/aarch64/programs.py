"""The programs that x86 and aarch64 must agree on: the op table, two small networks, and resnet8."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.compiler import compile_graph
from edgeq.graph.ir import Graph, Node, QParams, Value, constant
from edgeq.ops import OPS
from tests.cases import CASES, build, conv, depthwise
from tests.runtime.samples import everything

Array = NDArray[Any]
SHARED = Path(os.environ.get("EDGEQ_SHARED", Path(__file__).resolve().parents[3] / "shared"))


@dataclass(frozen=True, slots=True, eq=False)
class Item:
    """A program and its inputs: integers are native, floats go through the session's edges."""

    name: str
    kind: str  # "fixed": never changes; "table": others decide, or float sums; "foreign": from a file elsewhere
    body: bytes
    inputs: dict[str, Array]


def programs() -> Iterator[Item]:
    """All of them; resnet8 only where the folder of real models is."""
    for case in CASES:
        graph, inputs = build(case)
        yield Item(case.id, "table", compile_graph(graph).to_bytes(), inputs)
    rng = np.random.default_rng(5)
    yield Item("every opcode", "table", everything(), {"in0": _reals(rng, (1, 6, 6, 3), 60.0)})
    body = compile_graph(network()).to_bytes()
    yield Item("network", "fixed", body, {"x": _reals(rng, (2, 32, 24, 3), 1.0)})
    resnet8 = SHARED / "models" / "resnet8_cifar" / "resnet8.onnx"
    if resnet8.exists():
        yield _quantized("resnet8", resnet8)


def network() -> Graph:
    """A seeded network in the shape of a small mobile one: first convolution, two inverted residuals
    with gated activations, per-channel depthwise inputs, mean, fully connected, softmax."""
    net = _Network()
    x = net.conv("x", 24, 3, stride=2, unary="Silu")
    y = net.conv(x, 72, 1, clip=(0.0, 6.0), per_channel=True)
    y = net.depthwise(y, 3)
    y = net.conv(y, 24, 1)
    x = net.add(x, y)
    y = net.conv(x, 120, 1, unary="HardSwish", per_channel=True)
    y = net.depthwise(y, 5)
    x = net.conv(y, 40, 1)
    x = net.conv(x, 33, 3, stride=2, clip=(0.0, math.inf))
    wide = x
    x = net.node("ReduceMean", (x,), {"axes": (1, 2), "keepdims": False}, net.scale(x) / 4)
    x = net.full(x, 10)
    x = net.node("Softmax", (x,), {}, 1 / 256, zero=-128)
    return Graph("network", tuple(net.nodes), net.values, ("x",), (wide, x))


class _Network:
    """Adds nodes whose scales follow from the fan-in by + - * / and sqrt alone."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(2024)
        self.nodes: list[Node] = []
        self.values: dict[str, Value] = {"x": Value("x", (2, 32, 24, 3), q=_q(1 / 128, 3))}

    def scale(self, name: str) -> float:
        q = self.values[name].q
        assert q is not None
        return float(np.max(q.scale))

    def node(
        self,
        op: str,
        inputs: tuple[str, ...],
        attrs: dict[str, Any],
        scale: float,
        *,
        zero: int = 0,
        q: QParams | None = None,
    ) -> str:
        name = f"v{len(self.values)}"
        shape = OPS[op].shape(attrs, [self.values[n].shape for n in inputs])
        self.nodes.append(Node(op, f"n{len(self.nodes)}", inputs, (name,), attrs))
        self.values[name] = Value(name, shape, q=q or _q(scale, zero))
        return name

    def conv(self, x: str, oc: int, k: int, *, stride: int = 1, unary: str = "", per_channel: bool = False, **attrs: Any) -> str:  # fmt: skip
        ic = self.values[x].shape[-1]
        wq = self._weights(x, (oc, k, k, ic), 0)
        attrs = conv(strides=(stride, stride), pads=(k // 2,) * 4, **attrs)
        return self._finish("Conv", x, wq, attrs, k * k * ic, unary, per_channel)

    def depthwise(self, x: str, k: int) -> str:
        wq = self._weights(x, (k, k, self.values[x].shape[-1]), 2)
        return self._finish("DepthwiseConv", x, wq, depthwise(pads=(k // 2,) * 4), k * k, "", False)

    def full(self, x: str, n: int) -> str:
        ic = self.values[x].shape[-1]
        return self._finish("FullyConnected", x, self._weights(x, (n, ic), 0), {}, ic, "", False)

    def add(self, a: str, b: str) -> str:
        return self.node("Add", (a, b), {}, max(self.scale(a), self.scale(b)) * 1.4, zero=-7)

    def _weights(self, x: str, shape: tuple[int, ...], axis: int) -> QParams:
        n = shape[axis]
        q = QParams(
            self.rng.uniform(0.002, 0.004, n).astype(np.float32),
            np.zeros(n, np.int32),
            "int8",
            axis,
        )
        w = self.rng.integers(-127, 128, shape).astype(np.int8)
        self.values[f"w{len(self.nodes)}"] = constant(f"w{len(self.nodes)}", w, q)
        b = self.rng.integers(-2000, 2000, n).astype(np.int32)
        self.values[f"b{len(self.nodes)}"] = constant(f"b{len(self.nodes)}", b)
        return q

    def _finish(self, op: str, x: str, wq: QParams, attrs: dict[str, Any], fan_in: int, unary: str, per_channel: bool) -> str:  # fmt: skip
        at, channels = len(self.nodes), len(wq.scale)
        inputs: tuple[str, ...] = (x, f"w{at}", f"b{at}")
        scale = self.scale(x) * 0.003 * 60 * math.sqrt(fan_in)  # sigma of weights 73, of inputs 60
        if unary:
            xq = self.values[x].q
            assert xq is not None
            acc_scale = (xq.scale.astype(np.float64) * wq.scale).astype(np.float32)
            acc = QParams(acc_scale, np.zeros(channels, np.int32), "int32")
            x = self.node(op, inputs, attrs, 1.0, q=acc)
            op, inputs, attrs = "Unary", (x,), {"kind": unary, "alpha": 0.1}
        q = _q(scale, 5)
        if per_channel:
            spread = self.rng.uniform(0.7, 1.3, channels) * scale
            q = QParams(spread.astype(np.float32), self.rng.integers(-60, 60, channels).astype(np.int32))  # fmt: skip
        return self.node(op, inputs, attrs, scale, q=q)


def _q(scale: float, zero: int) -> QParams:
    return QParams(np.asarray(scale, np.float32), np.asarray(zero, np.int32))


def _reals(rng: np.random.Generator, shape: tuple[int, ...], most: float) -> Array:
    return rng.uniform(-most, most, shape).astype(np.float32)


def _quantized(name: str, path: Path) -> Item:
    from edgeq import calibrate, quantize, read

    graph = read(path)
    rng = np.random.default_rng(6)
    shapes = {n: graph.values[n].shape for n in graph.inputs}
    samples = [{n: _reals(rng, s, 128.0) for n, s in shapes.items()} for _ in range(4)]
    body = compile_graph(quantize(graph, calibrate(graph, samples))).to_bytes()
    return Item(name, "foreign", body, samples[0])
