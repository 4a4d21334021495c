"""The whole quantizer on small graphs: where scales are shared, split, per channel, wide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Graph, QParams, Value
from edgeq.quantizer import float_islands, flow, quantize, verify_quantized
from edgeq.quantizer.recipe import Activations, Override, Recipe, Weights
from tests.quantizer.graphs import Net, detector, observe, samples, snr


def q_of(graph: Graph, name: str) -> QParams:
    q = graph.value(name).q
    assert q is not None
    return q


def quantized(graph: Graph, recipe: Recipe | None = None, count: int = 8) -> Graph:
    return quantize(graph, observe(graph, samples(graph, count)), recipe)


def test_a_detector_survives_with_30_db() -> None:
    graph = detector()
    made = quantized(graph)
    assert snr(graph, made, samples(graph, 4, seed=9)) > 30


def test_every_recipe_gives_a_graph_that_obeys_the_contract() -> None:
    graph = detector()
    for recipe in (
        Recipe(),
        Recipe(activations=Activations(heads="int8")),
        Recipe(activations=Activations(per_channel_depthwise=False, range="minmax")),
        Recipe(weights=Weights(granularity="per_tensor"), bias_correction=False),
        Recipe(weights=Weights(range="mse")),
        Recipe.preset("w4a8"),
        Recipe(overrides=(Override("silu*", activation="int8"), Override("*", range="minmax"))),
    ):
        made = quantized(graph, recipe)
        verify_quantized(made)
        assert snr(graph, made, samples(graph, 2, seed=9)) > 20
        assert set(flow.activations(graph)) <= set(flow.activations(made))


def test_the_same_request_gives_the_same_bytes() -> None:
    graph = detector()
    a, b = quantized(graph), quantized(graph)
    assert list(a.values) == list(b.values)
    for name, one in a.values.items():
        other = b.value(name)
        assert (one.q is None and other.q is None) or (one.q is not None and one.q.same(other.q))
        if one.data is not None and other.data is not None:
            assert one.data.tobytes() == other.data.tobytes()


def test_values_that_move_share_a_scale() -> None:
    net = Net()
    x = net.conv(net.input(1, 8, 8, 4), 4)
    pool = net.node("MaxPool", [x], kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    up = net.node(
        "Resize", [pool], mode="nearest", coordinate="asymmetric", nearest_mode="floor",
        scales=(2.0, 2.0), size=(8, 8),
    )  # fmt: skip
    other = net.conv(x, 4)
    join = net.node("Concat", [up, other], axis=3)
    made = quantized(net.graph(net.conv(join, 3)))
    assert all(q_of(made, v).same(q_of(made, join)) for v in (x, pool, up, other))


def test_a_depthwise_input_is_per_channel_also_through_a_pool() -> None:
    net = Net()
    x = net.conv(net.input(1, 8, 8, 3), 6)
    pool = net.node("MaxPool", [x], kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0))
    y = net.depthwise(pool)
    graph = net.graph(net.conv(y, 3))
    made = quantized(graph)
    assert q_of(made, x).per_channel
    assert q_of(made, pool).same(q_of(made, x))
    assert not q_of(made, y).per_channel
    plain = quantized(graph, Recipe(activations=Activations(per_channel_depthwise=False)))
    assert not q_of(plain, x).per_channel


def test_a_value_with_another_reader_beside_a_depthwise_stays_per_tensor() -> None:
    net = Net()
    x = net.conv(net.input(1, 8, 8, 3), 6)
    made = quantized(net.graph(net.conv(net.node("Add", [net.depthwise(x), x]), 2)))
    assert not q_of(made, x).per_channel


def test_head_branches_keep_their_scales_and_levels_share_them() -> None:
    made = quantized(detector())
    out = q_of(made, "out")
    assert out.dtype == "int16"
    assert out.scale.shape == (10,)
    assert len(set(out.scale[:4].tolist())) == 1
    assert out.scale[0] != out.scale[4]
    np.testing.assert_allclose(out.scale[4:], 1 / 32767, rtol=1e-6)
    assert q_of(made, "reg0").same(q_of(made, "reg1"))
    assert not q_of(made, "reg0").same(q_of(made, "sobj0"))


def test_int8_heads_keep_probabilities_at_1_256() -> None:
    made = quantized(detector(), Recipe(activations=Activations(heads="int8")))
    out = q_of(made, "out")
    assert out.dtype == "int8"
    assert set(out.scale[4:].tolist()) == {1 / 256}
    assert set(out.zero_point[4:].tolist()) == {-128}


def test_an_output_whose_channels_are_not_last_is_wide_per_tensor() -> None:
    net = Net()
    x = net.input(1, 4, 4, 3)
    head = net.node("Concat", [net.conv(x, 2), net.unary(net.conv(x, 3), "Sigmoid")], axis=3)
    flipped = net.node("Transpose", [head], name="out", perm=(0, 3, 1, 2))
    q = q_of(quantized(net.graph(flipped)), "out")
    assert q.dtype == "int16"
    assert not q.per_channel


def test_a_table_behind_a_convolution_reads_int16_with_zero_on_a_knot() -> None:
    net = Net()
    pre = net.conv(net.input(1, 8, 8, 3), 6)
    made = quantized(net.graph(net.conv(net.unary(pre, "Softplus"), 2)))
    assert q_of(made, pre).dtype == "int16"
    assert int(q_of(made, pre).zero_point) % 128 == 0


def test_a_gated_function_reads_the_accumulators_of_its_convolution() -> None:
    net = Net()
    pre = net.conv(net.input(1, 8, 8, 3), 6)
    made = quantized(net.graph(net.conv(net.unary(pre, "Silu"), 2)))
    assert q_of(made, pre).dtype == "int32"
    assert q_of(made, pre).scale.shape == (6,)


def test_an_accumulator_with_a_second_reader_stays_int16() -> None:
    net = Net()
    pre = net.conv(net.input(1, 8, 8, 3), 6)
    both = net.node("Add", [net.unary(pre, "Silu"), pre])
    assert q_of(quantized(net.graph(net.conv(both, 2))), pre).dtype == "int16"


def test_squares_and_divisors_are_int16() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 3), 6, clip=(0.0, float("inf")))
    square = net.unary(x, "Square")
    mean = net.node("ReduceMean", [square], axes=(0, 1, 2, 3), keepdims=True)
    made = quantized(net.graph(net.conv(net.node("Div", [x, mean]), 2)))
    assert q_of(made, square).dtype == q_of(made, mean).dtype == "int16"


def test_channels_that_are_sliced_off_do_not_coarsen_the_others() -> None:
    net = Net()
    w = np.ones((8, 1, 1, 3))
    w[1::2] *= 100
    x = net.conv(net.input(1, 8, 8, 3), 8, w=w)
    even = net.node("Slice", [x], starts=(0, 0, 0, 0), ends=(1, 8, 8, 8), steps=(1, 1, 1, 2))
    every = net.node(
        "AvgPool", [x], kernel=(2, 2), strides=(2, 2), pads=(0,) * 4, count_include_pad=True
    )
    made = quantized(net.graph(net.conv(even, 2), net.conv(every, 2)))
    assert not q_of(made, even).per_channel
    assert q_of(made, x).per_channel
    assert float(q_of(made, even).scale) < float(q_of(made, x).scale[1]) / 20


def test_a_narrow_value_gets_a_requantize_before_a_wide_concat() -> None:
    net = Net()
    x = net.input(1, 8, 8, 3)
    small, large = net.conv(x, 4), net.conv(x, 4, w=np.full((4, 1, 1, 3), 20.0))
    both = net.node("Concat", [small, large], axis=3)
    made = quantized(net.graph(net.conv(small, 2), net.conv(both, 2)))
    assert [n.op for n in made.nodes].count("Requantize") == 1
    assert float(q_of(made, small).scale) < float(q_of(made, both).scale) / 4
    alone = Net()
    x = alone.input(1, 8, 8, 3)
    both = alone.node(
        "Concat", [alone.conv(x, 4), alone.conv(x, 4, w=np.full((4, 1, 1, 3), 20.0))], axis=3
    )
    made = quantized(alone.graph(alone.conv(both, 2)))
    assert "Requantize" not in [n.op for n in made.nodes]


def test_pixels_keep_their_integers() -> None:
    net = Net()
    graph = net.graph(net.conv(net.input(1, 8, 8, 3), 2))
    rng = np.random.default_rng(0)
    batch = [{"x": rng.integers(0, 200, (1, 8, 8, 3)).astype(np.float32)} for _ in range(3)]
    q = q_of(quantize(graph, observe(graph, batch)), "x")
    assert (float(q.scale), int(q.zero_point)) == (1.0, -128)
    recipe = Recipe(activations=Activations(input_range=(-1.0, 1.0)))
    q = q_of(quantized(graph, recipe), "x")
    assert float(q.scale) == pytest.approx(2 / 255, rel=0.03)


def test_bias_correction_removes_the_shift_of_rounded_weights() -> None:
    net = Net()
    x = net.input(1, 8, 8, 3)
    w = np.random.default_rng(3).uniform(0, 1, size=(4, 1, 1, 64)) * np.array([1.0] * 63 + [90.0])
    deep = net.conv(x, 64, bias=np.full(64, 6.0))
    graph = net.graph(net.conv(deep, 4, w=w))
    batch = samples(graph, 4, seed=5)
    with_it = snr(graph, quantized(graph), batch)
    without = snr(graph, quantized(graph, Recipe(bias_correction=False)), batch)
    assert with_it > without + 6


def degenerate(channel: int, factor: float, bias: float) -> Graph:
    net = Net()
    w = np.random.default_rng(0).normal(size=(4, 1, 1, 3))
    w[channel] *= factor
    b = np.zeros(4)
    b[channel] = bias
    x = net.conv(net.input(1, 4, 4, 3), 4, w=w, bias=b, clip=(0.0, 6.0))
    return net.graph(net.conv(net.depthwise(x), 2))


@pytest.mark.parametrize("factor", [0.0, 1e-30, 1e-9, 1.0, 1e6])
@pytest.mark.parametrize("bias", [0.0, 0.5, -1e4, 1e7])
def test_dead_and_extreme_channels_give_usable_integers(factor: float, bias: float) -> None:
    graph = degenerate(1, factor, bias)
    made = quantized(graph)  # verify_quantized has checked scales, biases and overflow
    assert snr(graph, made, samples(graph, 2, seed=3)) > 15


def test_a_value_that_is_always_zero_gets_a_scale() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 3), 4, clip=(0.0, 0.0))
    made = quantized(net.graph(net.conv(net.unary(x, "Silu"), 2, bias=np.ones(2))))
    assert np.isfinite(q_of(made, x).scale).all()


def test_constant_operands_are_exact_per_number_and_per_channel() -> None:
    net = Net()
    x = net.input(1, 4, 4, 3)
    scaled = net.node("Mul", [x, net.const(0.37, "one")])
    shifted = net.node("Add", [scaled, net.const([[[[1e-3, -2.0, 300.0]]]], "three")])
    grid = net.node("Add", [shifted, net.const(np.arange(48).reshape(1, 4, 4, 3), "grid")])
    made = quantized(net.graph(grid))
    for name, real in (("one", [0.37]), ("three", [1e-3, -2.0, 300.0])):
        value = made.value(name)
        assert value.q is not None
        assert value.data is not None
        ours = value.data.reshape(-1) * value.q.scale.astype(np.float64)
        np.testing.assert_allclose(ours, real, rtol=1e-6)
    assert made.value("grid").q is not None
    assert q_of(made, "grid").dtype == "int16"


def test_one_constant_may_serve_two_nodes() -> None:
    net = Net()
    x = net.input(1, 4, 4, 8)
    w, b = (
        net.const(np.random.default_rng(0).normal(size=(8, 1, 1, 8)), "w"),
        net.const(np.ones(8), "b"),
    )
    args = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    first = net.node("Conv", [x, w, b], **args)
    graph = net.graph(net.node("Conv", [first, w, b], **args))
    made = quantized(graph)
    assert snr(graph, made, samples(graph, 2, seed=3)) > 25


def test_a_concat_with_a_constant_puts_it_on_the_shared_scale() -> None:
    net = Net()
    x = net.conv(net.input(1, 4, 4, 3), 4)
    both = net.node("Concat", [x, net.const(np.full((1, 4, 4, 2), 9.0), "c")], axis=3)
    graph = net.graph(net.conv(both, 2))
    made = quantized(graph)
    assert q_of(made, "c").same(q_of(made, both))
    assert snr(graph, made, samples(graph, 2, seed=3)) > 25


def test_attention_and_layers_without_pictures_are_quantized() -> None:
    net = Net()
    x = net.input(2, 6, 8)
    w = net.const(net.rng.normal(size=(8, 8)) / 3)
    key = net.node("FullyConnected", [x, w, ""])
    turned = net.node("Transpose", [key], perm=(0, 2, 1))
    score = net.node("Softmax", [net.node("MatMul", [x, turned])])
    mixed = net.node("MatMul", [score, x])
    graph = net.graph(net.unary(net.node("Add", [mixed, x]), "Gelu"))
    made = quantized(graph)
    assert snr(graph, made, samples(graph, 2, seed=3)) > 25


def test_an_override_without_a_kernel_is_refused() -> None:
    with pytest.raises(QuantizeError, match="cannot be int16"):
        quantized(detector(), Recipe(overrides=(Override("add*", activation="int16"),)))


def test_nodes_without_an_integer_law_are_all_listed() -> None:
    net = Net()
    x, y = net.input(1, 4, 4, 3), net.input(3, 3, name="y")
    bad = net.node("FullyConnected", [x, y, ""], name="bad")
    graph = net.graph(net.unary(bad, "Silu", name="worse"))
    worse = replace(graph.nodes[1], attrs={"kind": "Bessel"})
    graph = replace(graph, nodes=(graph.nodes[0], worse))
    with pytest.raises(QuantizeError) as caught:
        float_islands(graph)
    assert "n_bad" in str(caught.value)
    assert "n_worse" in str(caught.value)
    assert float_islands(detector()) == []


def test_statistics_of_another_graph_are_refused() -> None:
    graph, other = detector(), Net()
    other_graph = other.graph(other.conv(other.input(1, 4, 4, 3), 2))
    with pytest.raises(QuantizeError, match="Calibrate this very graph"):
        quantize(graph, observe(other_graph, samples(other_graph)))


def test_a_quantized_graph_is_not_quantized_again() -> None:
    graph = detector()
    made = quantized(graph)
    with pytest.raises(QuantizeError, match="quantized already"):
        quantize(made, observe(graph, samples(graph)))


def test_sums_that_could_overflow_are_refused() -> None:
    net = Net()
    deep = 1 << 17
    w = net.const(np.ones((2, deep)))
    graph = net.graph(net.node("FullyConnected", [net.input(1, deep), w, ""]))
    with pytest.raises(QuantizeError, match=r"2\^31"):
        quantized(graph, count=1)


def broken(graph: Graph, name: str, **changes: object) -> Graph:
    value = graph.value(name)
    q = replace(q_of(graph, name), **changes)  # type: ignore[arg-type]
    return graph.with_values([Value(value.name, value.shape, value.dtype, value.data, q)])


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("reg0", {"dtype": "int8"}),
        ("x", {"dtype": "int16"}),
        ("x", {"zero_point": np.asarray(200, np.int32)}),
        ("x", {"scale": np.asarray(0.0, np.float32)}),
        ("x", {"scale": np.asarray(np.nan, np.float32)}),
        ("x", {"scale": np.asarray(1e-42, np.float32)}),
        ("out", {"scale": np.ones(10, np.float32)}),
        ("out", {"scale": np.ones(9, np.float32), "zero_point": np.zeros(9, np.int32)}),
        ("pooled", {"dtype": "int16"}),
    ],
)
def test_verify_refuses_a_graph_that_breaks_a_rule(name: str, changes: dict[str, object]) -> None:
    made = quantized(detector())
    verify_quantized(made)
    with pytest.raises(QuantizeError):
        verify_quantized(broken(made, name, **changes))
