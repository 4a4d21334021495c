"""Damaged QDQ files are refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from edgeq.compiler import compile_graph
from edgeq.errors import EdgeqError, ModelError
from edgeq.frontend import read
from edgeq.frontend.qdq_reader import read_qdq
from edgeq.quantizer import verify_quantized
from tests.frontend.qdq_build import Qdq, hand

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
