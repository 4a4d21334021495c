"""Random graphs: whatever is connected with whatever, the result obeys the contract and computes."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.graph.ir import Graph
from edgeq.quantizer import quantize, verify_quantized
from edgeq.quantizer.recipe import Activations, Recipe, Weights
from tests.quantizer.graphs import Net, observe, samples, snr

KINDS = ["Silu", "HardSwish", "Sigmoid", "Relu", "Tanh", "Square", "Gelu", "Abs", "Identity"]


def random_graph(seed: int) -> Graph:
    """Up to 14 nodes over pictures of 8 x 8, each reading earlier values at random."""
    net = Net(seed)
    rng = np.random.default_rng(seed)
    pool = [net.input(1, 8, 8, int(rng.integers(1, 7)))]
    if rng.random() < 0.2:
        pool.append(net.input(1, 8, 8, 4, name="y"))
    for _ in range(int(rng.integers(2, 14))):
        x = str(rng.choice(pool))
        pool.append(_grow(net, x, rng, pool))
    read = {i for n in net.nodes for i in n.inputs}
    ends = [v for v in pool if v not in read and v not in net.inputs]
    outputs = [_finish(net, v, rng) for v in ends]
    extra = [v for v in pool if v in read and v not in net.inputs and rng.random() < 0.1]
    return net.graph(*dict.fromkeys([*outputs, *extra]))


def _grow(net: Net, x: str, rng: np.random.Generator, pool: list[str]) -> str:
    c = net.values[x].shape[-1]
    mates = [v for v in pool if net.values[v].shape == net.values[x].shape]
    match int(rng.integers(14)):
        case 0 | 1:
            scale = float(10.0 ** rng.integers(-2, 3))
            k = int(rng.choice([1, 3]))
            oc = int(rng.integers(1, 9))
            return net.conv(x, oc, size=k, w=rng.normal(size=(oc, k, k, c)) * scale)
        case 2 | 3:
            return net.depthwise(x)
        case 4 | 5:
            return net.unary(x, str(rng.choice(KINDS)))
        case 6:
            op = str(rng.choice(["Add", "Sub", "Mul"]))
            return net.node(op, [x, str(rng.choice(mates))])
        case 7:
            others = [str(rng.choice(pool)) for _ in range(int(rng.integers(1, 3)))]
            return net.node("Concat", [x, *others], axis=3)
        case 8 if c > 1:
            step = int(rng.integers(1, 3))
            at = int(rng.integers(0, c - 1))
            return net.node(
                "Slice", [x], starts=(0, 0, 0, at), ends=(1, 8, 8, c), steps=(1, 1, 1, step)
            )
        case 9:
            order = tuple(int(i) for i in rng.permutation(c))
            return net.node("Gather", [x], axis=3, indices=order, index_shape=(c,))
        case 10:
            args = {"kernel": (3, 3), "strides": (1, 1), "pads": (1, 1, 1, 1)}
            if rng.random() < 0.5:
                return net.node("MaxPool", [x], **args)
            return net.node("AvgPool", [x], count_include_pad=bool(rng.integers(2)), **args)
        case 11:
            pads = ((0, 0), (1, 1), (0, 2), (0, int(rng.integers(2))))
            big = net.node("Pad", [x], pads=pads, mode="constant", value=float(rng.integers(-2, 3)))
            cut = net.values[big].shape
            return net.node(
                "Slice", [big], starts=(0, 1, 0, 0), ends=(1, 9, 8, cut[3]), steps=(1, 1, 1, 1)
            )
        case 12:
            mode = str(rng.choice(["nearest", "linear"]))
            args = {"coordinate": "asymmetric", "nearest_mode": "floor"}
            up = net.node("Resize", [x], mode=mode, scales=(2.0, 2.0), size=(16, 16), **args)
            window = {"kernel": (2, 2), "strides": (2, 2), "pads": (0, 0, 0, 0)}
            return net.node("MaxPool", [up], **window)
        case 13:
            mean = net.node("ReduceMean", [x], axes=(1, 2), keepdims=True)
            gate = net.unary(net.conv(mean, c), "HardSigmoid", alpha=0.2, beta=0.5)
            return net.node("Mul", [x, gate])
    return net.node("Add", [x, net.const(rng.normal(size=(1, 1, 1, c)))])


def _finish(net: Net, x: str, rng: np.random.Generator) -> str:
    c = net.values[x].shape[-1]
    match int(rng.integers(6)):
        case 0:
            return net.node("Transpose", [x], perm=(0, 3, 1, 2))
        case 1:
            return net.node("Reshape", [x], shape=(1, 64, c))
        case 2:
            return net.node("Softmax", [x])
        case 3:
            return net.unary(x, "Sigmoid")
        case 4:
            flat = net.node("Reshape", [x], shape=(1, 64 * c))
            return net.node(
                "FullyConnected", [flat, net.const(rng.normal(size=(3, 64 * c)) / 8), ""]
            )
    return x


RECIPES = (
    Recipe(),
    Recipe(
        weights=Weights(granularity="per_tensor", range="mse"),
        activations=Activations("minmax", False, "int8"),
        bias_correction=False,
    ),
)


@pytest.mark.parametrize("seed", range(60))
def test_a_random_graph_quantizes_and_computes(seed: int) -> None:
    graph = random_graph(seed)
    stats = observe(graph, samples(graph, 6))
    for recipe in RECIPES:
        made = quantize(graph, stats, recipe)
        verify_quantized(made)
        assert np.isfinite(snr(graph, made, samples(graph, 2, seed=5)))
    good = quantize(graph, stats)
    assert snr(graph, good, samples(graph, 6)) > 15
