"""Files nobody vouches for: every damage is one sentence of ours, never another library's traceback."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgeq.errors import EdgeqError, ModelError, UnsupportedOp
from edgeq.frontend.onnx_reader import read_onnx
from tests.frontend.onnx_build import Model, conv_bn, gap_fc, resized, se, shape_arithmetic
from tests.frontend.onnx_cases import CASES


def small() -> onnx.ModelProto:
    m = Model(13)
    conv_bn(m)
    return m.proto([(1, 3, 9, 9)])


def refuse(model: onnx.ModelProto | bytes | Path, match: str) -> str:
    with pytest.raises(ModelError, match=match) as e:
        read_onnx(model)
    text = str(e.value)
    assert text.endswith((".", "?"))
    return text


def test_text_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_text("this is no model\n" * 20)
    refuse(tmp_path / "m.onnx", r"m\.onnx: .*ONNX")


def test_empty_and_missing_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"")
    refuse(tmp_path / "m.onnx", "0 bytes")
    refuse(tmp_path / "none.onnx", "No such file")
    refuse(tmp_path, "readable")


def test_truncated_file() -> None:
    body = small().SerializeToString()
    for cut in range(1, len(body), 37):
        with pytest.raises(ModelError):
            read_onnx(body[:cut])


def test_external_data_missing(tmp_path: Path) -> None:
    onnx.save_model(
        small(),
        str(tmp_path / "m.onnx"),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    read_onnx(tmp_path / "m.onnx")
    (tmp_path / "w.bin").unlink()
    refuse(tmp_path / "m.onnx", "initializer c0: its external data")
    refuse((tmp_path / "m.onnx").read_bytes(), "Pass the path")


def test_external_data_outside_the_folder(tmp_path: Path) -> None:
    model = small()
    t = model.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    t.external_data.add(key="location", value="../../etc/passwd")
    onnx.save_model(model, str(tmp_path / "m.onnx"))
    refuse(tmp_path / "m.onnx", "initializer c0")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_named(bad: float) -> None:
    model = small()
    w = onnx.numpy_helper.to_array(model.graph.initializer[0]).copy()
    w[0, 0, 0, 0] = bad
    model.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(w, "c0"))
    refuse(model, "c0: every number must be finite")


def test_initializer_shorter_than_its_shape() -> None:
    model = small()
    model.graph.initializer[0].raw_data = b"1234"
    refuse(model, "initializer c0: the data must fill")
    model.graph.initializer[0].dims[0] = 2**40
    refuse(model, r"2\^31 elements")
    model.graph.initializer[0].dims[0] = -4
    refuse(model, "initializer c0")


def test_huge_input_and_huge_constant() -> None:
    model = small()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 2**40
    refuse(model, r"2\^31 elements")
    m = Model(13)
    m.op("Add", "x", m.op("ConstantOfShape", m.ints(2**20, 2**20)))
    refuse(m.proto([(1, 3)]), r"2\^27 elements")


def test_cycle() -> None:
    m = Model(13)
    m.op("Add", "x", "add1_0")
    m.op("Add", "add0_0", "x")
    refuse(m.proto([(1, 3)]), "cycle")


def test_names_that_nothing_makes() -> None:
    m = Model(13)
    m.op("Add", "x", "ghost")
    refuse(m.proto([(1, 3)]), "'ghost' must exist")
    m = Model(13)
    m.op("Relu", "x")
    refuse(m.proto([(1, 3)], ["elsewhere"]), "elsewhere: a node must make it")


def test_value_made_twice() -> None:
    model = small()
    model.graph.node[1].output[0] = model.graph.node[0].output[0]
    refuse(model, "two do")


def test_nodes_in_any_order_are_sorted() -> None:
    model = small()
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    assert [n.op for n in read_onnx(model).nodes] == ["Conv", "Transpose"]


def test_opset_outside_the_range() -> None:
    for version in (1, 8, 1000):
        model = small()
        model.opset_import[0].version = version
        refuse(model, f"opset must be 9..*, got {version}")


def test_shapes_must_fit_the_file() -> None:
    model = small()
    with pytest.raises(ModelError, match="inputs are x"):
        read_onnx(model, shapes={"y": (1, 3, 9, 9)})
    with pytest.raises(ModelError, match="must fit"):
        read_onnx(model, shapes={"x": (1, 3, 10, 9)})
    with pytest.raises(ModelError, match="must fit"):
        read_onnx(model, shapes={"x": (3, 9)})


def test_open_batch_becomes_batch() -> None:
    m = Model(13)
    conv_bn(m)
    model = m.proto([("N", 3, 9, 9)])
    assert read_onnx(model).value("x").shape == (1, 9, 9, 3)
    assert read_onnx(model, batch=4).value("x").shape == (4, 9, 9, 3)


def test_integer_inputs_and_missing_outputs() -> None:
    model = small()
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT64
    refuse(model, "must be a float tensor, got INT64")
    model = small()
    del model.graph.output[:]
    refuse(model, "must hold a graph with outputs")


def test_constant_output() -> None:
    m = Model(13)
    m.op("Relu", "x")
    m.op("Neg", m.const([1.0]))
    refuse(m.proto([(1, 3)], ["relu0_0", "neg1_0"]), "depend on an input")


def test_every_unsupported_node_is_listed_once() -> None:
    m = Model(13)
    y = m.op("Relu", "x")
    a = m.op("TopK", y, m.ints(1), outputs=2)
    b = m.op("Softmax", a)
    m.op("NonZero", b)
    m.op("LRN", "x", size=3)
    m.op("Pad", y, m.ints(0, 0, 1, 1, 0, 0, 1, 1), mode="reflect")
    with pytest.raises(UnsupportedOp) as e:
        read_onnx(m.proto([(1, 3, 9, 9)]))
    text = str(e.value)
    assert "4 nodes are not supported" in text
    assert [k in text for k in ("(TopK)", "(NonZero)", "(LRN)", "(Pad)", "Softmax")] == [
        True
    ] * 4 + [False]


def test_foreign_domains_are_listed() -> None:
    m = Model(13)
    m.op("FusedConv", "x", m.weight(4, 3, 3, 3), domain="com.microsoft")
    model = m.proto([(1, 3, 9, 9)])
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    with pytest.raises(UnsupportedOp, match=r"com\.microsoft"):
        read_onnx(model)


def test_model_functions_are_inlined() -> None:
    body = [helper.make_node("Sigmoid", ["a"], ["s"]), helper.make_node("Mul", ["a", "s"], ["b"])]
    ops = [helper.make_opsetid("", 17)]
    function = helper.make_function("mine", "Swish", ["a"], ["b"], body, ops)
    m = Model(17)
    m.op("Swish", "x", domain="mine")
    model = m.proto([(1, 8)])
    model.functions.append(function)
    model.opset_import.append(helper.make_opsetid("mine", 1))
    assert [n.attrs["kind"] for n in read_onnx(model).nodes] == ["Silu"]


@pytest.mark.parametrize("attr", ["strides", "dilations", "pads", "group", "kernel_shape"])
@pytest.mark.parametrize("value", [[-1, 1], [0, 0], [2**40, 1], [1], 0, -3, "text", [1.5, 2.5]])
def test_wrong_attributes_are_one_sentence(attr: str, value: object) -> None:
    m = Model(13)
    m.op("Conv", "x", m.weight(4, 3, 3, 3), **{attr: value})
    with contextlib.suppress(EdgeqError):  # some of these are legal
        read_onnx(m.proto([(1, 3, 9, 9)]))


def test_random_damage_never_escapes_as_another_error() -> None:
    rng = random.Random(5)
    bodies = []
    for build in (
        conv_bn,
        gap_fc,
        se,
        shape_arithmetic,
        resized("linear", "half_pixel", (2.0, 2.0)),
    ):
        m = Model(13)
        build(m)
        bodies.append(m.proto([(1, 3, 9, 11)]).SerializeToString())
    bodies += [c.model(13).SerializeToString() for c in CASES[::9] if 13 in c.opsets]
    refused = 0
    for _ in range(1500):
        body = bytearray(rng.choice(bodies))
        for _ in range(rng.randint(1, 4)):
            body[rng.randrange(len(body))] = rng.randrange(256)
        try:
            read_onnx(bytes(body))
        except EdgeqError:
            refused += 1
    assert refused > 300
