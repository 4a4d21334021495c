"""QDQ files with pairs in unusual places, or with pairs missing, compute what ONNX Runtime computes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from edgeq.errors import ModelError
from edgeq.frontend import read
from edgeq.graph.ir import Graph
from edgeq.quantizer import verify_quantized
from tests.frontend.qdq_build import Qdq, compare, feeds, hand


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
