"""What the passes make of the patterns they exist for: fewer nodes, no moves, the same values."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeq.errors import ModelError
from edgeq.frontend.onnx_reader import read_onnx
from edgeq.graph.ir import Graph, Node, Value, constant
from edgeq.graph.reference import run_float
from edgeq.graph.verify import verify
from edgeq.passes import PASSES, canonicalise
from edgeq.passes.axes import held, inverse, moves_only_ones, regroup, reshape, transposed
from edgeq.passes.layout import sink_transposes
from edgeq.passes.shuffles import SWAP
from tests.frontend.onnx_build import Model
from tests.frontend.onnx_cases import CASES

BY_NAME = {c.name: c for c in CASES}


def read(name: str) -> Graph:
    case = BY_NAME[name]
    return read_onnx(case.model(case.opsets[-1]))


def ops(graph: Graph) -> list[str]:
    return [n.op if n.op != "Unary" else n.attrs["kind"] for n in graph.nodes]


EXPECTED = {
    "conv_bn_relu": ["Conv", "Transpose"],
    "bn_alone": ["DepthwiseConv", "Transpose"],
    "relu6": ["Conv", "Transpose"],
    "silu": ["Conv", "Silu", "Transpose"],
    "hard_swish_0": ["Conv", "HardSwish", "Transpose"],
    "hard_swish_1": ["Conv", "HardSwish", "Transpose"],
    "hard_swish_2": ["Conv", "HardSwish", "Transpose"],
    "hard_swish_3": ["Conv", "HardSwish", "Transpose"],
    "hard_sigmoid_pieces": ["HardSigmoid", "Transpose"],
    "gelu_pieces": ["Gelu", "Transpose"],
    "gelu_tanh_pieces": ["GeluTanh", "Transpose"],
    "mish_pieces": ["Mish", "Transpose"],
    "flatten_gemm": ["Conv", "Reshape", "FullyConnected"],
    "gap_gemm": ["Conv", "ReduceMean", "Reshape", "FullyConnected"],
    "channel_shuffle": ["Conv", "Reshape", "Transpose", "Reshape", "Conv", "Transpose"],
    "focus": ["Conv", "Transpose"],
    "pad_conv": ["Conv", "Transpose"],
    "pad_max_pool": ["Relu", "MaxPool", "Transpose"],
    "squeeze_excite": ["Conv", "ReduceMean", "Conv", "Conv", "HardSigmoid", "Mul", "Transpose"],
    "yolo_head": ["Conv", "Reshape", "Conv", "Reshape", "Concat"],
    "average_pool_whole": ["ReduceMean", "Reshape"],
    "nhwc_model": ["Conv"],
    "attention": [
        "FullyConnected",
        "FullyConnected",
        "Transpose",
        "MatMul",
        "Mul",
        "Softmax",
        "MatMul",
    ],
    "softmax_channels": ["Softmax", "Transpose"],
    "sub_const": ["Add", "Transpose"],
    "div_const": ["Mul", "Transpose"],
}


@pytest.mark.parametrize("name", EXPECTED)
def test_pattern_becomes(name: str) -> None:
    assert ops(read(name)) == EXPECTED[name]


def test_relu6_is_the_clip_of_its_convolution() -> None:
    assert read("relu6").nodes[0].attrs["clip"] == (0.0, 6.0)
    assert read("conv_bn_relu").nodes[0].attrs["clip"] == (0.0, math.inf)


def test_focus_becomes_one_larger_convolution() -> None:
    graph = read("focus")
    node = graph.nodes[0]
    assert graph.value(node.inputs[1]).shape == (4, 6, 6, 3)
    assert node.attrs["strides"] == (2, 2)
    assert node.attrs["pads"] == (2, 2, 2, 2)


def test_shuffle_has_the_one_form() -> None:
    graph = read("channel_shuffle")
    assert graph.nodes[1].attrs["shape"] == (1, 9, 11, 2, 3)
    assert graph.nodes[2].attrs["perm"] == SWAP
    assert graph.nodes[3].attrs["shape"] == (1, 9, 11, 6)


def test_values_keep_the_names_of_the_model() -> None:
    m = Model(13)
    a = m.op("Conv", "x", m.weight(4, 3, 3, 3))
    b = m.op("Relu", a)
    c = m.op("Conv", b, m.weight(4, 4, 3, 3))
    m.op("GlobalAveragePool", m.op("Add", c, m.op("Conv", b, m.weight(4, 4, 3, 3))))
    graph = read_onnx(m.proto([(1, 3, 9, 9)]))
    assert graph.nodes[0].outputs == (b,)
    assert {c, "add4_0", "c0", "c1"} <= set(graph.values)
    assert not any("~" in n.name for n in graph.nodes)


def test_shared_relu_stays_outside() -> None:
    m = Model(13)
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3))
    m.op("Add", y, m.op("Relu", y))
    assert ops(read_onnx(m.proto([(1, 3, 9, 9)]))) == ["Conv", "Relu", "Add", "Transpose"]


def test_output_between_two_nodes_is_not_fused_away() -> None:
    m = Model(13)
    y = m.op("Conv", "x", m.weight(4, 3, 3, 3))
    z = m.op("Relu", y)
    graph = verify(read_onnx(m.proto([(1, 3, 9, 9)], [y, z])))
    assert graph.outputs == (y, z)
    assert "Relu" in ops(graph)


def test_scaling_before_a_convolution_folds_forward_and_shift_only_without_padding() -> None:
    for pads, want in (
        ([1, 1, 1, 1], ["Add", "Conv", "Transpose"]),
        ([0] * 4, ["Conv", "Transpose"]),
    ):
        m = Model(13)
        y = m.op("Div", m.op("Sub", "x", m.weight(3, 1, 1)), m.const(255.0))
        m.op("Conv", y, m.weight(4, 3, 3, 3), pads=pads)
        model = m.proto([(1, 3, 9, 9)])
        raw, graph = read_onnx(model, canonical=False), read_onnx(model)
        assert ops(graph) == want
        x = {"x": np.random.default_rng(0).standard_normal((1, 9, 9, 3)).astype(np.float32)}
        (a,), (b,) = run_float(raw, x).values(), run_float(graph, x).values()
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_grouped_convolution_takes_a_scale_per_input() -> None:
    m = Model(13)
    m.op("Conv", m.op("Mul", "x", m.weight(4, 1, 1)), m.weight(6, 2, 3, 3), group=2)
    model = m.proto([(1, 4, 9, 9)])
    raw, graph = read_onnx(model, canonical=False), read_onnx(model)
    assert ops(graph).count("Mul") == 0
    x = {"x": np.random.default_rng(0).standard_normal((1, 9, 9, 4)).astype(np.float32)}
    (a,), (b,) = run_float(raw, x).values(), run_float(graph, x).values()
    np.testing.assert_allclose(a, b, atol=1e-5)


def test_twins_become_one() -> None:
    m = Model(13)
    m.op("Add", m.op("Sigmoid", "x"), m.op("Sigmoid", "x"))
    assert ops(read_onnx(m.proto([(2, 8)]))) == ["Sigmoid", "Add"]


def test_residual_with_a_plain_operand_keeps_its_transpose() -> None:
    m = Model(13)
    y = m.op("Conv", "x", m.weight(3, 3, 1, 1))
    m.op("Add", m.op("Relu", y), m.op("Reshape", "x2", m.ints(1, 3, 9, 9)))
    graph = verify(read_onnx(m.proto([(1, 3, 9, 9), (1, 243)])))
    assert graph.meta["input_layout"] == {"x": "NHWC"}
    assert ops(graph) == ["Conv", "Transpose", "Reshape", "Add"]


@pytest.mark.parametrize("name", [p.__name__ for p in PASSES])
def test_pass_returns_the_same_graph_when_it_has_nothing_to_do(name: str) -> None:
    rewrite = next(p for p in PASSES if p.__name__ == name)
    for case in ("silu", "channel_shuffle", "squeeze_excite", "attention"):
        graph = read(case)
        assert rewrite(graph) is graph


def test_random_moves_compute_the_same_after_sinking() -> None:
    rng = np.random.default_rng(11)
    for _ in range(300):
        graph = verify(_random_moves(rng))
        x = {"x": rng.standard_normal(graph.value("x").shape).astype(np.float32)}
        (want,) = run_float(graph, x).values()
        for after in (sink_transposes(graph), canonicalise(graph)):
            (got,) = run_float(verify(after), x).values()
            np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-6)


def _random_moves(rng: np.random.Generator) -> Graph:
    """A chain of random Transposes, Reshapes, reductions, slices and activations."""
    from edgeq.passes.rewrite import Builder

    b = Builder()
    shape = tuple(int(rng.choice([1, 2, 3, 4])) for _ in range(4))
    b.values["x"] = Value("x", shape)
    now = "x"
    for k in range(int(rng.integers(3, 9))):
        s, out = b.shape(now), f"v{k}"
        kind = rng.choice(
            [
                "Transpose",
                "Transpose",
                "Reshape",
                "Reshape",
                "Unary",
                "ReduceMean",
                "Slice",
                "Add",
                "Concat",
                "Pad",
                "Softmax",
            ]
        )
        axis = int(rng.integers(len(s))) if s else 0
        if kind == "Transpose":
            b.emit(kind, [now], {"perm": tuple(int(i) for i in rng.permutation(len(s)))}, out=out)
        elif kind == "Reshape":
            b.emit(kind, [now], {"shape": _random_shape(rng, math.prod(s))}, out=out)
        elif kind == "ReduceMean" and len(s) > 2:
            b.emit(kind, [now], {"axes": (axis,), "keepdims": bool(rng.integers(2))}, out=out)
        elif kind == "Slice":
            ends = tuple(max(1, d - (i == axis)) for i, d in enumerate(s))
            b.emit(
                kind,
                [now],
                {"starts": (0,) * len(s), "ends": ends, "steps": (1,) * len(s)},
                out=out,
            )
        elif kind == "Add":
            c = b.const(f"c{k}", rng.standard_normal([d if rng.integers(2) else 1 for d in s]))
            b.emit(kind, [now, c], out=out)
        elif kind == "Concat":
            b.emit(kind, [now, now], {"axis": axis}, out=out)
        elif kind == "Pad":
            pads = tuple((int(i == axis), 0) for i in range(len(s)))
            b.emit(kind, [now], {"pads": pads, "mode": "constant", "value": 0.5}, out=out)
        elif kind == "Softmax":
            b.emit(kind, [now], out=out)
        else:
            b.emit("Unary", [now], {"kind": "Tanh"}, out=out)
        now = out
    return Graph("random", tuple(b.nodes), b.values, ("x",), (now,))


def _random_shape(rng: np.random.Generator, size: int) -> tuple[int, ...]:
    dims = []
    while size > 1:
        d = int(rng.choice([k for k in range(2, size + 1) if size % k == 0]))
        dims.append(d)
        size //= d
    for _ in range(int(rng.integers(0, 3))):
        dims.insert(int(rng.integers(len(dims) + 1)), 1)
    return tuple(dims) or (1,)


def test_reshape_rule_is_exact_on_random_shapes() -> None:
    rng = np.random.default_rng(2)
    moved = 0
    for _ in range(3000):
        s = tuple(int(d) for d in rng.choice([1, 2, 3, 4], int(rng.integers(1, 6))))
        perm = tuple(int(i) for i in rng.permutation(len(s)))
        data = np.arange(math.prod(s)).reshape(s)
        out = _random_shape(rng, math.prod(s))
        x = data.transpose(perm)
        between = regroup(s, perm, out)
        found = reshape(s, perm, x.shape, out)
        if found is None and between is not None:
            data, perm = data.transpose(between), tuple(int(inverse(between)[p]) for p in perm)
            np.testing.assert_array_equal(data.transpose(perm), x)
            found = reshape(data.shape, perm, x.shape, out)
            assert found is not None
        if found is not None:
            moved += 1
            np.testing.assert_array_equal(
                data.reshape(found[0]).transpose(found[1]), x.reshape(out)
            )
    assert moved > 1000


def test_held_refuses_what_needs_the_last_axis() -> None:
    assert held("FullyConnected", {}, (1, 2, 3), (0, 2, 1)) is None
    assert held("Conv", {}, (1, 2, 3, 4), (0, 2, 3, 1)) is None
    assert transposed((1, 2, 3), (2, 0, 1)) == (3, 1, 2)
    assert moves_only_ones((1, 5, 1, 7), (0, 2, 1, 3))
    assert not moves_only_ones((1, 5, 2, 7), (0, 2, 1, 3))


def _relu(**changes: object) -> Graph:
    node = Node("Unary", "r", ("x",), ("y",), {"kind": "Relu"})
    parts: dict[str, object] = {
        "nodes": (node,),
        "values": {"x": Value("x", (1, 4)), "y": Value("y", (1, 4))},
        "inputs": ("x",),
        "outputs": ("y",),
    }
    return Graph("g", **{**parts, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"nodes": ()}, "output y: a node must make it"),
        (
            {"values": {"x": Value("x", (1, 4)), "y": Value("y", (4, 1))}},
            r"node r \(Unary\): .*shape \(1, 4\)",
        ),
        ({"inputs": ("z",)}, "input z"),
        ({"outputs": ("x", "x")}, "names must differ"),
        ({"nodes": (Node("Relu", "r", ("x",), ("y",)),)}, "op must be one of"),
        (
            {"nodes": (Node("Unary", "r", ("w",), ("y",), {"kind": "Relu"}),)},
            "input 'w' must be made before",
        ),
        ({"nodes": (Node("Unary", "r", ("x",), ("y",), {"kind": "Nope"}),)}, "kind must be one of"),
        (
            {"nodes": (Node("Unary", "r", ("x",), ("y",), {"kind": "Relu"}),) * 2},
            "output 'y' must be new",
        ),
        (
            {
                "values": {
                    "x": Value("x", (1, 4)),
                    "y": Value("y", (1, 4)),
                    "d": constant("d", np.zeros(3)),
                }
            },
            "value d: it must be read",
        ),
    ],
)
def test_verify_names_the_broken_rule(changes: dict[str, object], match: str) -> None:
    verify(_relu())
    with pytest.raises(ModelError, match=match):
        verify(_relu(**changes))
