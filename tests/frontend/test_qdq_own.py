"""QDQ files of our own writer give the same integers and the same program back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeq.compiler import compile_graph
from edgeq.frontend import read
from edgeq.frontend.onnx_reader import read_onnx
from edgeq.frontend.onnx_writer import write_onnx
from edgeq.frontend.qdq_reader import read_qdq
from edgeq.graph.ir import Graph, Node, QParams, Value
from edgeq.graph.reference import quantize_inputs, run_integer
from edgeq.quantizer import calibrate, quantize, verify_quantized
from tests.frontend.onnx_build import Model
from tests.frontend.onnx_cases import CASES, Case
from tests.frontend.test_onnx_ops import graph_inputs
from tests.frontend.test_onnx_quantized import channelwise, quantized

BY_NAME = {c.name: c for c in CASES}
NO_LAW = ("log", "sqrt", "pow_1_5")  # of negative pictures
MODELS = [
    "yolox_nano/yolox_nano", "nanodet_m/nanodet_m", "mobilenet_v1_075/mobilenet_v1_0.75_224",
    "mobilenet_v2/mobilenet_v2_1.0_224_dequantized", "resnet8_cifar/resnet8", "resnet20_cifar/resnet20",
    "vww_96/vww_96", "ppocr_cls/ppocr_cls_48x192", "lprnet/lprnet", "ppocrv3_det/ppocrv3_det_640",
]  # fmt: skip


def pictures(graph: Graph, count: int = 2) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield {
            n: (
                rng.standard_normal(graph.values[n].shape)
                + rng.standard_normal(graph.values[n].shape[-1])
            ).astype(np.float32)
            for n in graph.inputs
        }


def sections(graph: Graph) -> list[bytes]:
    program = compile_graph(graph)
    return [program.commands, program.constants, program.qparams, program.luts]


def again(graph: Graph, *, unsigned: bool = True) -> Graph:
    found = read(write_onnx(graph, unsigned=unsigned).SerializeToString())
    verify_quantized(found)
    return found


def equal_outputs(a: Graph, b: Graph) -> bool:
    x = next(pictures(a, 1))
    one, two = (run_integer(g, quantize_inputs(g, x)) for g in (a, b))
    return all(np.array_equal(one[k], two[k]) for k in a.outputs)


@pytest.mark.parametrize("case", [c for c in CASES if c.name not in NO_LAW], ids=lambda c: c.name)
def test_every_op_comes_back_as_the_same_program(case: Case) -> None:
    graph = read_onnx(case.model(case.opsets[-1]))
    first = quantize(graph, calibrate(graph, [graph_inputs(graph, case.inputs())]))
    assert sections(again(first)) == sections(first)


@pytest.mark.parametrize("unsigned", [True, False])
@pytest.mark.parametrize("name", ["conv", "conv_depthwise", "deconv", "flatten_gemm"])
def test_int4_weights_come_back_as_int4(name: str, unsigned: bool) -> None:
    graph = read_onnx(BY_NAME[name].model(21))
    first = quantized(graph, graph_inputs(graph, BY_NAME[name].inputs()), weights="int4")
    found = again(first, unsigned=unsigned)
    assert "int4" in {v.q.dtype for v in found.values.values() if v.q is not None}
    assert sections(found) == sections(first)


def test_per_channel_and_wide_values_come_back() -> None:
    m = Model(21)
    a = m.op("LeakyRelu", m.op("Conv", "x", m.weight(4, 3, 3, 3)), alpha=0.1)
    b = m.op("Sigmoid", m.op("Conv", "x", m.weight(4, 3, 3, 3)))
    c = m.op("AveragePool", m.op("Mul", m.op("Add", a, b), b), kernel_shape=[2, 2])
    e = m.op("Concat", m.op("Add", c, m.weight(4, 1, 1)), c, axis=1)
    m.op("Conv", m.op("Mul", e, m.weight(8, 1, 1)), m.weight(8, 1, 3, 3), group=8)
    graph = read_onnx(m.proto([(1, 3, 9, 9)]))
    x = next(pictures(graph))
    first = quantized(graph, x, split=channelwise(graph), wide=graph.nodes[0].outputs[0])
    kinds = {(v.q.dtype, v.q.per_channel) for v in first.values.values() if v.q and v.data is None}
    assert kinds == {("int8", False), ("int8", True), ("int16", False)}
    found = again(first)
    assert kinds == {
        (v.q.dtype, v.q.per_channel) for v in found.values.values() if v.q and v.data is None
    }
    assert equal_outputs(first, found)


def test_requantize_comes_back_between_transposes() -> None:
    m = Model(21)
    m.op("Transpose", m.op("Relu", m.op("Conv", "x", m.weight(4, 3, 3, 3))), perm=[0, 2, 3, 1])
    graph = read_onnx(m.proto([(1, 3, 9, 9)]))
    first = quantized(graph, next(pictures(graph)))
    (conv,) = first.nodes
    wide = QParams(np.asarray(0.5, np.float32), np.asarray(3, np.int32))
    inner = Value("inner", first.values[conv.outputs[0]].shape, q=first.values[conv.outputs[0]].q)
    out = replace(first.values[conv.outputs[0]], q=wide)
    nodes = (replace(conv, outputs=("inner",)), Node("Requantize", "r", ("inner",), conv.outputs))
    first = replace(first.with_values([inner, out]), nodes=nodes)
    found = again(first)
    assert [n.op for n in found.nodes] == ["Conv", "Requantize"]
    assert sections(found) == sections(first)


def test_large_biases_come_back_exactly() -> None:
    graph = read_onnx(BY_NAME["gemm"].model(21))
    first = quantized(graph, graph_inputs(graph, BY_NAME["gemm"].inputs()))
    name = next(n for n, v in first.values.items() if v.q and v.q.dtype == "int32")
    data = np.asarray(first.values[name].data)
    odd = (2**27 + 1 + 2 * np.arange(data.size)).astype(np.int32).reshape(data.shape)
    first = first.with_values([replace(first.values[name], data=odd)])
    found = again(first)
    (kept,) = (v.data for v in found.values.values() if v.q and v.q.dtype == "int32")
    np.testing.assert_array_equal(kept, odd)


def test_float_files_and_float_weights_in_int8_stay_float() -> None:
    case = BY_NAME["conv"]
    assert not read(case.model(13).SerializeToString()).quantized
    m = Model(13)
    w = m.op("DequantizeLinear", m.const(np.ones((4, 3, 3, 3)), "int8"), m.const(0.5))
    m.op("Conv", "x", w)
    graph = read(m.proto([(1, 3, 9, 9)]).SerializeToString())
    assert not graph.quantized
    assert float(graph.values[graph.nodes[0].inputs[1]].data.max()) == 0.5


def test_metadata_is_kept() -> None:
    case = BY_NAME["conv"]
    graph = read_onnx(case.model(13))
    model = write_onnx(
        quantized(graph, graph_inputs(graph, case.inputs())), metadata={"edgeq.card": "{}"}
    )
    assert read_qdq(model).meta["onnx_metadata"] == {"edgeq.card": "{}"}


@pytest.mark.slow
@pytest.mark.parametrize("file", MODELS, ids=lambda f: f.split("/")[1])
def test_real_models_come_back_as_the_same_program(shared: Path, file: str) -> None:
    graph = read_onnx(shared / f"models/{file}.onnx")
    first = quantize(graph, calibrate(graph, pictures(graph)))
    found = again(first)
    assert [n.name for n in found.nodes] == [n.name for n in first.nodes]
    assert set(found.values) == set(first.values)
    assert sections(found) == sections(first)
