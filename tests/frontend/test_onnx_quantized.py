"""Quantized graphs as QDQ ONNX: ONNX Runtime computes the integers of the law."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeq.frontend.onnx_reader import read_onnx
from edgeq.frontend.onnx_writer import write_onnx
from edgeq.graph.ir import Graph, Node, QParams, Value
from edgeq.graph.reference import dequantize_outputs, quantize_inputs, run_float, run_integer
from edgeq.graph.verify import verify
from edgeq.ops import OPS
from tests.frontend.onnx_build import Model
from tests.frontend.onnx_cases import CASES, Case
from tests.frontend.test_onnx_ops import graph_inputs

WEIGHTED = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")
SKIP = ("layer_norm", "instance_norm")  # their pieces lose too much at 8 bits to compare
BY_NAME = {c.name: c for c in CASES}


def affine(lo: float, hi: float, dtype: str = "int8") -> QParams:
    lo, hi = min(lo, 0.0), max(hi, 0.0)
    if dtype == "int16":
        reach = max(-lo, hi, 1e-6)
        return QParams(np.asarray(reach / 32767, np.float32), np.asarray(0, np.int32), dtype)
    scale = np.float32(max(hi - lo, 1e-6) / 255)
    return QParams(np.asarray(scale), np.asarray(round(-128 - lo / scale), np.int32), dtype)


def per_channel(x: np.ndarray) -> QParams:
    each = [affine(float(c.min()), float(c.max())) for c in np.moveaxis(x, -1, 0)]
    scale = np.asarray([q.scale for q in each], np.float32)
    return QParams(scale, np.asarray([q.zero_point for q in each], np.int32))


def channelwise(graph: Graph) -> set[str]:
    """Values that may have a scale per channel: made by arithmetic, read by ops that take it."""
    takes = ("Add", "Sub", "Mul", "Div", "DepthwiseConv", "AvgPool", "PRelu")
    shapes = {
        n.outputs[0]: graph.values[n.outputs[0]].shape for n in graph.nodes if not OPS[n.op].moves
    }
    return {
        v
        for v, readers in graph.consumers().items()
        if v in shapes
        and v not in graph.outputs
        and readers
        and all(
            n.op in takes and graph.values[n.outputs[0]].shape[-1] == shapes[v][-1] for n in readers
        )
    }


def quantized(
    graph: Graph,
    inputs: dict[str, np.ndarray],
    *,
    weights: str = "int8",
    wide: str = "",
    split: frozenset[str] | set[str] = frozenset(),
) -> Graph:
    """A plain min-max quantizer, enough to write and run graphs (per tensor, weights per channel)."""
    real = run_float(graph, inputs, keep=True)
    q: dict[str, QParams] = {
        n: affine(float(real[n].min()), float(real[n].max())) for n in graph.inputs
    }
    for node in graph.nodes:
        out = node.outputs[0]
        moves = OPS[node.op].moves and node.op != "Concat"
        dtype = "int16" if out == wide else "int8"
        if out in split:
            q[out] = per_channel(real[out])
            continue
        q[out] = (
            q[node.inputs[0]]
            if moves
            else affine(float(real[out].min()), float(real[out].max()), dtype)
        )
    values = {n: replace(v, q=q[n]) for n, v in graph.values.items() if v.data is None}
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.op in WEIGHTED:
            _weights(graph, node, values, q, weights)
        elif node.op == "Concat":
            node = _concat(node, values, nodes, q)
        for i in node.inputs:
            if i and i not in values:
                v = graph.values[i]
                values[i] = v if node.op == "PRelu" else _operand(v)
        nodes.append(node)
    used = {i for n in nodes for i in n.inputs} | {n.outputs[0] for n in nodes} | set(graph.inputs)
    return replace(graph, nodes=tuple(nodes), values={k: v for k, v in values.items() if k in used})


def _weights(
    graph: Graph, node: Node, values: dict[str, Value], q: dict[str, QParams], dtype: str
) -> None:
    w = graph.values[node.inputs[1]].data
    assert w is not None
    axis = w.ndim - 1 if node.op == "DepthwiseConv" else 0
    others = tuple(i for i in range(w.ndim) if i != axis)
    top = 7 if dtype == "int4" else 127
    scale = (np.abs(w).max(axis=others) / top + 1e-9).astype(np.float32)
    side = [1] * w.ndim
    side[axis] = -1
    ints = np.clip(np.rint(w / scale.reshape(side)), -top, top).astype(np.int8)
    zero = np.zeros(scale.shape, np.int32)
    values[node.inputs[1]] = Value(
        node.inputs[1], w.shape, "int8", ints, QParams(scale, zero, dtype, axis)
    )
    if node.inputs[2]:
        b = graph.values[node.inputs[2]].data
        assert b is not None
        sb = (q[node.inputs[0]].scale * scale).astype(
            np.float32
        )  # (oc,), also where x is per channel
        data = np.rint(b / sb).astype(np.int32)
        values[node.inputs[2]] = Value(
            node.inputs[2], b.shape, "int32", data, QParams(sb, zero, "int32", 0)
        )


def _operand(v: Value) -> Value:
    assert v.data is not None
    q = affine(float(v.data.min()), float(v.data.max()))
    ints = np.clip(np.rint(v.data / q.scale) + q.zero_point, -128, 127).astype(np.int8)
    return Value(v.name, v.shape, "int8", ints, q)


def _concat(node: Node, values: dict[str, Value], nodes: list[Node], q: dict[str, QParams]) -> Node:
    ins = []
    for k, i in enumerate(node.inputs):
        name = f"{node.outputs[0]}.in{k}"
        values[name] = Value(name, values[i].shape, "float32", None, q[node.outputs[0]])
        nodes.append(Node("Requantize", name, (i,), (name,)))
        ins.append(name)
    return Node(node.op, node.name, tuple(ins), node.outputs, node.attrs)


def compare(graph: Graph, inputs: dict[str, np.ndarray]) -> Counter[int]:
    """Differences in LSB between the integer law and ONNX Runtime, over all outputs."""
    verify(graph)
    model = write_onnx(graph)
    onnx.checker.check_model(model, full_check=True)
    want = dequantize_outputs(
        graph, run_integer(graph, quantize_inputs(graph, graph_inputs(graph, inputs)))
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: Counter[int] = Counter()
    for name, got in zip(graph.outputs, session.run(list(graph.outputs), inputs), strict=True):
        q = graph.values[name].q
        assert q is not None
        lsb = np.rint((got - want[name]) / q.scale).astype(int)
        found.update(np.abs(lsb).reshape(-1).tolist())
    return found


def prepare(case: Case, **how: str) -> tuple[Graph, dict[str, np.ndarray]]:
    graph, inputs = read_onnx(case.model(case.opsets[-1])), case.inputs()
    return quantized(graph, graph_inputs(graph, inputs), **how), inputs


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in SKIP], ids=lambda c: c.name)
def test_every_op_agrees_within_one_step(case: Case) -> None:
    found = compare(*prepare(case))
    assert max(found) <= 1 or found.total() - found[0] - found[1] <= 0.02 * found.total(), found


@pytest.mark.parametrize(
    "name",
    [
        "conv",
        "conv_depthwise",
        "conv_grouped",
        "conv_bn_relu",
        "relu6",
        "gemm",
        "matmul_weight",
        "pad_conv",
    ],
)
def test_convolutions_and_products_agree_exactly(name: str) -> None:
    assert set(compare(*prepare(BY_NAME[name]))) == {0}


@pytest.mark.parametrize("name", ["conv", "conv_depthwise", "deconv", "flatten_gemm"])
def test_int4_weights_are_written_as_int4(name: str) -> None:
    graph, inputs = prepare(BY_NAME[name], weights="int4")
    types = {t.data_type for t in write_onnx(graph).graph.initializer}
    assert onnx.TensorProto.INT4 in types
    assert max(compare(graph, inputs)) <= 1


def test_wide_activations_are_int16() -> None:
    case = BY_NAME["silu"]
    graph = read_onnx(case.model(21))
    conv = graph.nodes[0].outputs[0]
    graph = quantized(graph, graph_inputs(graph, case.inputs()), wide=conv)
    types = {t.data_type for t in write_onnx(graph).graph.initializer}
    assert onnx.TensorProto.INT16 in types
    assert max(compare(graph, case.inputs())) <= 1


@pytest.mark.parametrize("allowed", ["0", "1"])
@pytest.mark.parametrize("unsigned", [True, False])
def test_per_channel_values_survive_the_fusions_of_the_runtime(
    allowed: str, unsigned: bool
) -> None:
    m = Model(21)
    a = m.op("LeakyRelu", m.op("Conv", "x", m.weight(4, 3, 3, 3)))
    b = m.op("Sigmoid", m.op("Conv", "x", m.weight(4, 3, 3, 3)))
    c = m.op("Mul", m.op("Add", a, b), b)
    d = m.op("AveragePool", c, kernel_shape=[2, 2])
    e = m.op("Concat", m.op("Add", d, m.weight(4, 1, 1)), d, axis=1)
    m.op("Conv", m.op("Relu", m.op("Mul", e, m.weight(8, 1, 1))), m.weight(8, 1, 3, 3), group=8)
    graph = read_onnx(m.proto([(1, 3, 9, 9)]))
    inputs = {"x": np.random.default_rng(0).standard_normal((1, 3, 9, 9)).astype(np.float32)}
    split = channelwise(graph)
    assert len(split) >= 4
    graph = quantized(graph, graph_inputs(graph, inputs), split=split)
    options = ort.SessionOptions()
    options.add_session_config_entry("session.qdqisint8allowed", allowed)
    body = write_onnx(graph, unsigned=unsigned).SerializeToString()
    (got,) = ort.InferenceSession(body, options, providers=["CPUExecutionProvider"]).run(
        None, inputs
    )
    run = run_integer(graph, quantize_inputs(graph, graph_inputs(graph, inputs)))
    (want,) = dequantize_outputs(graph, run).values()
    q = graph.values[graph.outputs[0]].q
    assert q is not None
    assert np.abs(np.rint((got - want) / q.scale)).max() <= 2


def test_per_channel_activations_keep_their_axis() -> None:
    case = BY_NAME["conv_depthwise"]
    graph, inputs = prepare(case)
    rng = np.random.default_rng(1)
    v = graph.values["x"]
    scale = (np.float32(0.05) * rng.uniform(0.5, 1.5, 3)).astype(np.float32)
    q = QParams(scale, rng.integers(-20, 20, 3).astype(np.int32))
    node = graph.nodes[0]
    w, b = (graph.values[i] for i in node.inputs[1:])
    assert w.q is not None
    assert b.q is not None
    sb = (scale * w.q.scale).astype(np.float32)
    graph = graph.with_values([replace(v, q=q), replace(b, q=replace(b.q, scale=sb))])
    axes = {a.i for n in write_onnx(graph).graph.node for a in n.attribute if a.name == "axis"}
    assert 1 in axes
    assert max(compare(graph, inputs)) <= 1


def test_runtime_fuses_the_convolutions(shared: Path, tmp_path: Path) -> None:
    graph = read_onnx(shared / "models/resnet8_cifar/resnet8.onnx")
    x = {"t0": np.random.default_rng(0).uniform(0, 255, (1, 3, 32, 32)).astype(np.float32)}
    model = write_onnx(quantized(graph, graph_inputs(graph, x)))
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "o.onnx")
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    kinds = Counter(n.op_type for n in onnx.load(tmp_path / "o.onnx").graph.node)
    assert kinds["QLinearConv"] == 9
    assert kinds["QGemm"] == 1
    assert kinds["Conv"] == 0
