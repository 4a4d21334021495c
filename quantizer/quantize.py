"""quantize(): from a float graph and what calibration saw to a graph of integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Array, Graph, Node, QParams, Value, constant
from edgeq.ops import OPS
from edgeq.ops.unary import FUNCTIONS
from edgeq.quantizer import bias as bias_correction
from edgeq.quantizer import flow
from edgeq.quantizer.accumulators import read_accumulators
from edgeq.quantizer.assign import assign_scales
from edgeq.quantizer.check import verify_quantized
from edgeq.quantizer.operands import quantize_operand, quantize_shared
from edgeq.quantizer.recipe import Recipe
from edgeq.quantizer.scales import scale_groups
from edgeq.quantizer.split import split_groups
from edgeq.quantizer.statistics import Statistics
from edgeq.quantizer.weights import quantize_bias, quantize_weights
from edgeq.quantizer.widths import weight_bits


def quantize(graph: Graph, statistics: Statistics, recipe: Recipe | None = None) -> Graph:
    """Return the quantized graph: the same values, every one of them with QParams.

    Raises QuantizeError for nodes without an integer law, statistics of another graph, a recipe
    that cannot be obeyed, or sums that could overflow int32.
    """
    recipe = recipe or Recipe()
    float_islands(graph)
    graph = split_groups(graph, statistics, recipe)
    groups = scale_groups(graph, recipe)
    scales = assign_scales(graph, statistics, groups, recipe)
    quantized = _with_integers(graph, statistics, scales, recipe)
    quantized = read_accumulators(quantized, recipe)
    verify_quantized(quantized)
    return quantized


def float_islands(graph: Graph) -> list[Node]:
    """Return the nodes that stay in float: none. Raises QuantizeError listing nodes that would have to."""
    if graph.quantized:
        raise QuantizeError("graph: must be float, is quantized already. Quantize the float model.")
    if bad := [
        f"node {n.name} ({n.op}): {why}" for n in graph.nodes if (why := _no_integer_law(graph, n))
    ]:
        raise QuantizeError("graph: every node must have an integer law. " + "; ".join(bad) + ".")
    return []


def _no_integer_law(graph: Graph, node: Node) -> str:
    if node.op not in OPS:
        return "the op is unknown"
    if len(node.outputs) != 1:
        return "it has several outputs"
    if node.op == "Unary" and node.attrs.get("kind") not in FUNCTIONS:
        return f"the kind {node.attrs.get('kind')} is unknown"
    if node.op == "Requantize":
        return "it belongs to quantized graphs"
    fixed = node.inputs[1:] if node.op in flow.WEIGHTED or node.op == "PRelu" else ()
    if any(i and not graph.value(i).is_constant for i in fixed):
        return "its weights are computed"
    if all(graph.value(i).is_constant for i in node.inputs if i):
        return "all its inputs are constant"
    return ""


def _with_integers(
    graph: Graph, statistics: Statistics, scales: Mapping[str, QParams], recipe: Recipe
) -> Graph:
    """Give activations their QParams, and turn constants into integers."""
    store, bits = _Store(graph), weight_bits(graph, recipe)
    for name, q in scales.items():
        value = graph.value(name)
        store.put(quantize_shared(value, q) if value.is_constant else replace(value, q=q))
    nodes = []
    for node in graph.nodes:
        inputs = list(node.inputs)
        if node.op in flow.WEIGHTED:
            x = scales[inputs[0]]
            inputs = _weighted(graph, store, node, x, statistics, recipe, bits[node.name])
        elif not flow.moves(node) and node.op != "PRelu":
            out = graph.value(node.outputs[0]).shape
            for k, name in enumerate(inputs):
                if name and graph.value(name).is_constant:
                    inputs[k] = store.put(quantize_operand(node, graph.value(name), out), node.name)
        nodes.append(replace(node, inputs=tuple(inputs)))
    read = {*graph.inputs, *graph.outputs, *(i for n in nodes for i in (*n.inputs, *n.outputs))}
    values = {name: value for name, value in store.values.items() if name in read}
    meta = {**graph.meta, "recipe": recipe.to_toml(), "calibration_samples": statistics.samples}
    return replace(graph, nodes=tuple(nodes), values=values, meta=meta)


class _Store:
    """The values of the graph being made; one constant may be stored in several ways."""

    def __init__(self, graph: Graph) -> None:
        self.values: dict[str, Value] = dict(graph.values)
        self._stored: set[str] = set()

    def put(self, value: Value, owner: str = "") -> str:
        """Store a value under its name; where a different one has it, under the owner's name too."""
        if value.name in self._stored:
            if _alike(self.values[value.name], value):
                return value.name
            value = replace(value, name=self.fresh(f"{value.name}.{owner}"))
        self._stored.add(value.name)
        self.values[value.name] = value
        return value.name

    def fresh(self, name: str) -> str:
        found, k = name, 1
        while found in self.values:
            k, found = k + 1, f"{name}_{k}"
        return found


def _alike(a: Value, b: Value) -> bool:
    same = a.q is not None and a.q.same(b.q) and a.data is not None and b.data is not None
    return same and np.array_equal(np.asarray(a.data), np.asarray(b.data))


def _weighted(
    graph: Graph,
    store: _Store,
    node: Node,
    x: QParams,
    statistics: Statistics,
    recipe: Recipe,
    bits: int,
) -> list[str]:
    """Store the weights and the corrected bias of a Conv-like node; return its new inputs."""
    weights, old = graph.value(node.inputs[1]), node.inputs[2] if len(node.inputs) > 2 else ""
    w = weights.data
    assert w is not None
    outputs = w.shape[-1] if node.op == "DepthwiseConv" else w.shape[0]
    real = np.zeros(outputs)
    if old:
        data = graph.value(old).data
        assert data is not None
        real = np.broadcast_to(data.astype(np.float64).reshape(-1), (outputs,))
    integers = quantize_weights(node, w, real, x, recipe, bits=bits)
    if recipe.bias_correction:
        real = real + bias_correction.shift(
            node, integers.error, _mean(graph, statistics, node.inputs[0])
        )
    inputs = [
        node.inputs[0],
        store.put(constant(weights.name, integers.data, integers.q), node.name),
    ]
    if not old and not real.any():
        return [*inputs, ""]
    data, q = quantize_bias(node, real, x, integers)
    name = old or store.fresh(f"{node.name}.bias")
    return [*inputs, store.put(constant(name, data, q), node.name)]


def _mean(graph: Graph, statistics: Statistics, name: str) -> Array:
    """E[x] per channel of a Conv-like node's input."""
    producers = graph.producers()
    while name not in statistics.values:
        producer = producers.get(name)
        if producer is None or producer.op != "Requantize":
            raise QuantizeError(
                f"value {name}: statistics must cover it, they do not. Calibrate this very graph."
            )
        name = producer.inputs[0]
    return statistics.values[name].mean
