"""QDQ ONNX in: our own files give the same integers back, other tools' files compute what ONNX Runtime does."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.compiler import compile_graph
from edgeq.errors import EdgeqError, ModelError
from edgeq.frontend import read
from edgeq.frontend.onnx_reader import read_onnx
from edgeq.frontend.onnx_writer import write_onnx
from edgeq.frontend.qdq_reader import read_qdq
from edgeq.graph.ir import Graph, Node, QParams, Value
from edgeq.graph.reference import dequantize_outputs, quantize_inputs, run_integer
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


# our own files


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


# files of other tools


def residual(m: Model) -> None:
    x = m.op("Relu", m.op("Conv", "x", m.weight(8, 3, 3, 3), m.weight(8), pads=[1, 1, 1, 1]))
    a = m.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    b = m.op("Conv", a, m.weight(8, 1, 3, 3), m.weight(8), group=8, pads=[1, 1, 1, 1])
    d = m.op("Concat", m.op("HardSwish", b), a, axis=1)
    e = m.op("Add", m.op("Conv", d, m.weight(16, 16, 1, 1)), d)
    gate = m.op("Sigmoid", m.op("Conv", m.op("GlobalAveragePool", e), m.weight(16, 16, 1, 1)))
    f = m.op("LeakyRelu", m.op("Mul", e, gate), alpha=0.1)
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    u = m.op("Resize", f, "", m.const([1, 1, 2, 2]), mode="nearest", **how)
    v = m.op("AveragePool", m.op("Concat", u, x, axis=1), kernel_shape=[2, 2], strides=[2, 2])
    w = m.op("Flatten", m.op("GlobalAveragePool", v))
    m.op("Softmax", m.op("Gemm", w, m.weight(10, 24), m.weight(10), transB=1), axis=-1)


def clamped(m: Model) -> None:
    """ONNX Runtime drops this Relu and lets the pair clamp, before arithmetic that could fold."""
    x = m.op("Relu", m.op("Conv", "x", m.weight(8, 3, 3, 3), m.weight(8), pads=[1, 1, 1, 1]))
    x = m.op("Clip", m.op("Conv", x, m.weight(8, 1, 3, 3), group=8), m.const(0.0), m.const(6.0))
    x = m.op("Mul", m.op("Add", x, m.const([[[[0.3]]]])), m.weight(8, 1, 1))
    x = m.op("Transpose", m.op("Reshape", x, m.ints(1, 2, 4, 196)), perm=[0, 2, 1, 3])
    x = m.op("ReduceMean", m.op("Reshape", x, m.ints(1, 8, 14, 14)), axes=[2, 3], keepdims=0)
    m.op("Add", m.op("MatMul", x, m.weight(8, 10)), m.weight(10))


def feeds(model: onnx.ModelProto, count: int, seed: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        for info in model.graph.input:
            n, c, h, w = (d.dim_value for d in info.type.tensor_type.shape.dim)
            x = 0.5 * rng.standard_normal((n, c, h, w)) + 0.7 * rng.standard_normal((1, c, 1, 1))
            found.append({info.name: x.astype(np.float32)})
    return found


def foreign(model: onnx.ModelProto, folder: Path, **how: Any) -> bytes:
    """The model quantized by ONNX Runtime's own tool."""
    tool = pytest.importorskip("onnxruntime.quantization")
    logging.getLogger().setLevel(logging.ERROR)
    rows = iter(feeds(model, 8, 1))

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(rows, None)

    onnx.save(model, folder / "float.onnx")
    tool.quantize_static(
        str(folder / "float.onnx"),
        str(folder / "qdq.onnx"),
        Reader(),
        quant_format=tool.QuantFormat.QDQ,
        **{k: getattr(tool.QuantType, v) if "type" in k[-5:] else v for k, v in how.items()},
    )
    return (folder / "qdq.onnx").read_bytes()


def compare(body: bytes, inputs: Sequence[dict[str, np.ndarray]]) -> tuple[Counter[int], int]:
    """Differences to ONNX Runtime on the same file in LSB, and how often the largest output differs.

    Without its optimizations, which compute other integers on each machine.
    """
    graph = read_qdq(body)
    verify_quantized(graph)
    compile_graph(graph)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(body, options, providers=["CPUExecutionProvider"])
    found, wrong = Counter[int](), 0
    for x in inputs:
        ints = quantize_inputs(graph, graph_inputs(graph, x))
        got = dequantize_outputs(graph, run_integer(graph, ints))
        for name, want in zip(graph.outputs, session.run(list(graph.outputs), x), strict=True):
            q = graph.values[name].q
            assert q is not None
            lsb = np.abs(np.rint((got[name] - want) / q.scale)).astype(int)
            found.update(lsb.reshape(-1).tolist())
            wrong += int((got[name].argmax(-1) != want.argmax(-1)).sum())
    return found, wrong


FOREIGN = [
    {"activation_type": a, "weight_type": "QInt8", "per_channel": p}
    for a, p in product(("QUInt8", "QInt8"), (False, True))
] + [
    {"activation_type": "QInt8", "weight_type": "QInt8", "extra_options": {"ActivationSymmetric": True}},
    {
        "activation_type": "QUInt8",
        "weight_type": "QInt8",
        "extra_options": {"DedicatedQDQPair": True, "AddQDQPairToWeight": True},
    },
]  # fmt: skip


@pytest.mark.parametrize("how", FOREIGN, ids=lambda h: "-".join(map(str, h.values())))
@pytest.mark.parametrize("build", [residual, clamped], ids=lambda f: f.__name__)
def test_files_of_onnx_runtime_compute_what_it_computes(
    tmp_path: Path, build: Callable[[Model], None], how: dict[str, Any]
) -> None:
    m = Model(14 if build is residual else 13)
    build(m)
    model = m.proto([(1, 3, 16, 16)])
    found, wrong = compare(foreign(model, tmp_path, **how), feeds(model, 16, 2))
    assert wrong == 0
    if build is clamped:
        assert set(found) == {0}
    assert found[0] + found[1] >= 0.97 * found.total(), found


def test_asymmetric_weights_are_stored_anew(tmp_path: Path) -> None:
    m = Model(13)
    clamped(m)
    model = m.proto([(1, 3, 16, 16)])
    body = foreign(model, tmp_path, activation_type="QUInt8", weight_type="QUInt8")
    found, wrong = compare(body, feeds(model, 8, 2))
    assert wrong == 0
    assert max(found) <= 2


def test_values_without_a_pair_follow_from_their_neighbours(tmp_path: Path) -> None:
    """Only products are quantized: Relu, Add, Mul, means and movements between them are not."""
    m = Model(13)
    clamped(m)
    model = m.proto([(1, 3, 16, 16)])
    body = foreign(model, tmp_path, op_types_to_quantize=["Conv", "MatMul"])
    assert compare(body, feeds(model, 8, 2))[1] == 0


# files made by hand


class Qdq(Model):
    """A model under construction with pairs."""

    def pair(
        self, x: str, scale: Any = 0.05, zero: Any = 0, dtype: str = "int8", **how: Any
    ) -> str:
        s, z = self.const(scale), self.const(zero, dtype)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, s, z, **how), s, z, **how)

    def stored(self, data: Any, scale: Any, zero: Any, dtype: str = "int8", **how: Any) -> str:
        return self.op(
            "DequantizeLinear", self.const(data, dtype), self.const(scale), self.const(zero, dtype), **how
        )  # fmt: skip

    def weights(self, *shape: int) -> str:
        data = np.random.default_rng(0).integers(-127, 128, shape)
        zero = np.zeros(shape[0])
        return self.stored(data, np.full(shape[0], 0.01), zero, axis=0)


def hand(build: Callable[[Qdq], Any], shape: Sequence[int] = (1, 3, 8, 8)) -> onnx.ModelProto:
    m = Qdq(21)
    build(m)
    model = m.proto([shape])
    model.ir_version = 10
    return model


def agree(model: onnx.ModelProto, most: int = 1) -> Graph:
    body = model.SerializeToString()
    assert max(compare(body, feeds(model, 4, 3))[0]) <= most
    return read(body)


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def test_max_pool_and_concat_of_other_scales_are_requantized() -> None:
    def build(m: Qdq) -> None:
        x = m.pair("x")
        a = m.pair(m.op("Conv", x, m.weights(4, 3, 1, 1)), 0.02)
        b = m.pair(m.op("MaxPool", a, kernel_shape=[2, 2], strides=[2, 2]), 0.03, 5)
        c = m.pair(m.op("AveragePool", a, kernel_shape=[2, 2], strides=[2, 2]), 0.04)
        m.pair(m.op("Concat", b, c, axis=1), 0.05, -3)

    assert ops(agree(hand(build))).count("Requantize") == 3


def test_a_convolution_before_an_activation_needs_no_pair() -> None:
    def build(m: Qdq) -> None:
        y = m.op("Conv", m.pair("x"), m.weights(4, 3, 3, 3))
        y = m.op("Conv", m.pair(m.op("Relu", y), 0.02, -128), m.weights(4, 4, 1, 1))
        m.pair(m.op("Mul", y, m.op("Sigmoid", y)), 0.03, -100)

    graph = agree(hand(build))
    assert [n.attrs.get("kind") for n in graph.nodes if n.op == "Unary"] == ["Silu"]
    assert {v.q.dtype for v in graph.values.values() if v.q and v.data is None} == {"int8", "int32"}


def test_the_input_of_any_function_needs_no_pair() -> None:
    def build(m: Qdq) -> None:
        a = m.pair(m.op("Conv", m.pair("x"), m.weights(4, 3, 3, 3)), 0.02)
        m.pair(m.op("Exp", m.op("Conv", a, m.weights(4, 4, 1, 1))), 0.03, -128)

    graph = agree(hand(build))
    assert {v.q.dtype for v in graph.values.values() if v.q and v.data is None} == {"int8", "int16"}


def test_softmax_at_the_end_needs_no_pair() -> None:
    def build(m: Qdq) -> None:
        y = m.op("Conv", m.pair("x", 0.02), m.weights(4, 3, 8, 8))
        m.op("Softmax", m.op("Flatten", m.pair(y, 0.1)), axis=1)

    graph = read(hand(build).SerializeToString())
    q = graph.values[graph.outputs[0]].q
    assert q is not None
    assert (float(q.scale), int(q.zero_point)) == (1 / 256, -128)


def test_integers_may_move_between_the_two_nodes_of_a_pair() -> None:
    def build(m: Qdq) -> None:
        x = m.pair("x")
        s, z = m.const(0.05), m.const(7, "uint8")
        y = m.op("QuantizeLinear", m.op("Conv", x, m.weights(4, 3, 1, 1)), s, z)
        y = m.op("MaxPool", y, kernel_shape=[2, 2])
        m.op("DequantizeLinear", m.op("Transpose", y, perm=[0, 2, 3, 1]), s, z)

    assert "Requantize" not in ops(agree(hand(build)))


def test_weights_that_a_file_turns_keep_their_integers() -> None:
    def build(m: Qdq) -> None:
        x = m.op("Flatten", m.pair("x"))
        w = m.op("Transpose", m.weights(4, 12), perm=[1, 0])
        m.pair(m.op("Gemm", x, w), 0.1)

    graph = agree(hand(build, (1, 3, 2, 2)), most=0)
    (w,) = (v for v in graph.values.values() if v.data is not None)
    assert w.q is not None
    assert np.array_equal(w.q.scale, np.full(4, 0.01, np.float32))


def test_integer_inputs_and_outputs_keep_their_scale() -> None:
    def build(m: Qdq) -> None:
        s, z = m.const(0.05), m.const(128, "uint8")
        y = m.op("Conv", m.op("DequantizeLinear", "x", s, z), m.weights(4, 3, 1, 1))
        m.op("QuantizeLinear", y, m.const(0.1), m.const(9, "uint8"))

    model = hand(build)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    graph = read(model.SerializeToString())
    verify_quantized(graph)
    ends = [graph.values[n].q for n in (*graph.inputs, *graph.outputs)]
    assert [(float(q.scale), int(q.zero_point)) for q in ends if q] == [
        (float(np.float32(0.05)), 0),
        (float(np.float32(0.1)), 9 - 128),
    ]


def test_all_values_without_a_range_are_named_together() -> None:
    def build(m: Qdq) -> None:
        a = m.op("Conv", m.pair("x"), m.weights(4, 3, 1, 1))
        b = m.op("Conv", m.pair("x"), m.weights(4, 3, 1, 1))
        m.pair(m.op("Add", a, b))

    with pytest.raises(ModelError, match=r"2 values have none .*: conv3_0, conv7_0\."):
        read(hand(build).SerializeToString())


# damaged files

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (lambda m: m.pair("x", -0.1), "every scale must be a positive number, got -0.1"),
        (lambda m: m.pair("x", 0.0), "every scale must be a positive number"),
        (lambda m: m.pair("x", NAN), "every scale must be a positive number, got nan"),
        (lambda m: m.pair("x", INF), "every scale must be a positive number, got inf"),
        (lambda m: m.pair("x", 1e-40), "scales must be normal float32 numbers"),
        (lambda m: m.pair("x", []), "the scale must be a float or a row of them"),
        (lambda m: m.pair("x", [[0.1, 0.2]], [[0, 0]]), "the scale must be a float or a row of them"),
        (lambda m: m.pair("x", 0.1, 0, "float32"), "the zero point must be one of int8"),
        (lambda m: m.pair("x", 0.1, 0, "int64"), "the zero point must be one of int8"),
        (lambda m: m.pair("x", 0.1, 0, "int32"), "an activation must be 8 or 16 bits, got int32"),
        (lambda m: m.pair("x", 0.1, [0, 0]), "as many zero points as scales, got 2 and 1"),
        (lambda m: m.pair("x", [0.1] * 3, [0] * 3, axis=4), "the axis must be within -4..3, got 4"),
        (lambda m: m.pair("x", [0.1] * 5, [0] * 5, axis=1), "must be 3 scales along axis 1"),
        (lambda m: m.pair("x", [0.1] * 8, [0] * 8, axis=2), "must lie along its channels"),
        (lambda m: m.pair("x", [0.1] * 8, [0] * 8, block_size=2, axis=2), "got blocks"),
        (lambda m: m.stored(np.ones((4, 3)), [0.1] * 4, [0] * 4, axis=2), "the axis must be within"),
        (lambda m: m.stored(np.ones((4, 3)), [0.1] * 5, [0] * 5, axis=0), "must be 4 scales along axis 0"),
        (lambda m: m.stored(np.ones(4), 0.1, 0, "int64"), "must hold integers of 4 to 32 bits, got int64"),
        (lambda m: m.op("QuantizeLinear", "x", "x"), "the scale must be constant"),
        (lambda m: m.op("QuantizeLinear", "x"), "it must have an input, a scale and one output"),
        (lambda m: m.op("DequantizeLinear", "x", m.const(0.1)), "it must read integers, x holds reals"),
        (lambda m: m.op("Relu", m.op("QuantizeLinear", "x", m.const(0.1))), "it must read reals"),
        (
            lambda m: m.op("DequantizeLinear", m.op("QuantizeLinear", "x", m.const(0.1)), m.const(0.2)),
            "must be those with which quantizelinear",
        ),
        (
            lambda m: m.op(
                "DequantizeLinear", m.const(np.ones(4), "int8"), m.const(0.1), m.const(0, "uint8")
            ),
            "the zero point must be int8 as the input is, got uint8",
        ),
    ],
)  # fmt: skip
def test_damaged_pairs_are_refused(change: Callable[[Qdq], str], rule: str) -> None:
    def build(m: Qdq) -> None:
        m.pair(m.op("Conv", m.pair("x"), m.weights(4, 3, 1, 1)))
        y = change(m)
        m.op("Identity", m.pair(y) if m.nodes[-1].op_type == "Relu" else y)

    with pytest.raises(ModelError) as caught:
        read(hand(build).SerializeToString())
    assert rule in str(caught.value)
    assert str(caught.value).startswith("model: ")


def test_random_damage_raises_our_errors_only() -> None:
    def build(m: Qdq) -> None:
        a = m.pair(m.op("Relu", m.op("Conv", m.pair("x"), m.weights(4, 3, 3, 3))), 0.02, -128)
        b = m.pair(m.op("Conv", a, m.weights(4, 1, 1, 1), group=4), [0.1] * 4, [0] * 4, axis=1)
        c = m.pair(m.op("Add", b, m.stored([1, 2, 3, 4], 0.1, 0)), 0.04)
        m.op("Softmax", m.pair(m.op("Flatten", m.op("Concat", c, a, axis=3)), 0.07))

    body = hand(build, (1, 3, 6, 6)).SerializeToString()
    rng = np.random.default_rng(0)
    for _ in range(300):
        model = onnx.load_model_from_string(body)
        damage(model.graph, rng)
        try:
            graph = read_qdq(model)
            verify_quantized(graph)
            compile_graph(graph)
        except EdgeqError:
            continue


def damage(g: onnx.GraphProto, rng: np.random.Generator) -> None:
    """Change one node, attribute or constant."""
    node = g.node[rng.integers(len(g.node))]
    others = [i for n in g.node for i in (*n.input, *n.output)]
    match rng.integers(6):
        case 0:
            node.input[rng.integers(len(node.input))] = others[rng.integers(len(others))]
        case 1:
            del node.input[-1]
        case 2:
            del g.node[rng.integers(len(g.node))]
        case 3:
            node.op_type = g.node[rng.integers(len(g.node))].op_type
        case 4 if node.attribute:
            a = node.attribute[rng.integers(len(node.attribute))]
            a.CopyFrom(helper.make_attribute(a.name, int(rng.integers(-9, 9))))
        case _:
            t = g.initializer[rng.integers(len(g.initializer))]
            x = numpy_helper.to_array(t)
            kinds = (np.float32, np.int8, np.uint8, np.int16, np.int32, np.float64, np.int64)
            y = x.astype(kinds[rng.integers(len(kinds))]) * rng.choice([1, -1, 0, 3])
            t.CopyFrom(numpy_helper.from_array(np.resize(y, rng.choice([1, 4, x.size])), t.name))
