"""4-bit weights: which nodes get them, and what the integers are."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.graph.ir import Graph
from edgeq.quantizer import flow, quantize, verify_quantized
from edgeq.quantizer.recipe import KEPT, Override, Recipe, Weights
from edgeq.quantizer.widths import weight_bits
from tests.quantizer.graphs import Net, observe, samples


def ladder() -> Graph:
    """conv a -> relu -> depthwise -> conv b -> add -> (conv c -> sigmoid, conv d -> conv e)."""
    net = Net(3)
    x = net.unary(net.conv(net.input(1, 9, 9, 3), 16, size=3, name="a"), "Relu")
    y = net.conv(net.depthwise(x, name="dw"), 16, name="b")
    y = net.node("Add", [x, y])
    c = net.unary(net.conv(y, 5, name="c"), "Sigmoid")
    return net.graph(c, net.conv(net.conv(y, 17, size=3, name="d"), 4, name="e"))


def bits(recipe: Recipe) -> dict[str, int]:
    return {name.removeprefix("n_"): b for name, b in weight_bits(ladder(), recipe).items()}


def test_the_preset_keeps_first_last_and_depthwise_layers() -> None:
    assert bits(Recipe.preset("w4a8")) == {"a": 8, "dw": 8, "b": 4, "c": 8, "d": 4, "e": 8}
    assert set(bits(Recipe()).values()) == {8}


@pytest.mark.parametrize(
    ("keep8", "eight"),
    [((), ""), (("first",), "a"), (("last",), "ce"), (("depthwise",), "dw"), (KEPT, "adwce")],
)
def test_each_rule_keeps_its_own_layers(keep8: tuple[str, ...], eight: str) -> None:
    found = bits(Recipe(weights=Weights(bits=4, keep8=keep8)))
    assert "".join(name for name, b in found.items() if b == 8) == eight


def test_an_override_is_above_every_rule() -> None:
    narrow = Recipe(overrides=(Override("n_[bc]", weight_bits=4),))
    assert [name for name, b in bits(narrow).items() if b == 4] == ["b", "c"]
    wide = Recipe(weights=Weights(bits=4, keep8=()), overrides=(Override("*", weight_bits=8),))
    assert set(bits(wide).values()) == {8}


def test_a_matrix_times_constants_gets_4_bits_too() -> None:
    net = Net(5)
    x = net.node("FullyConnected", [net.input(1, 8), net.const(net.rng.normal(size=(6, 8))), ""])
    graph = net.graph(x)
    made = quantize(
        graph,
        observe(graph, samples(graph)),
        Recipe(weights=Weights(bits=4, keep8=())),
    )
    q = made.value(made.nodes[0].inputs[1]).q
    assert q is not None
    assert q.dtype == "int4"


def test_weights_become_the_nearest_of_15_values() -> None:
    graph = ladder()
    made = quantize(
        graph, observe(graph, samples(graph)), Recipe(weights=Weights(bits=4, keep8=()))
    )
    verify_quantized(made)
    for before, after in zip(graph.nodes, made.nodes, strict=False):
        if before.op not in flow.WEIGHTED:
            continue
        real, value = graph.value(before.inputs[1]).data, made.value(after.inputs[1])
        assert real is not None and value.data is not None and value.q is not None
        assert value.q.dtype == "int4"
        assert np.abs(value.data).max() == 7
        wide = value.q.scale.reshape([-1 if i == value.q.axis else 1 for i in range(real.ndim)])
        assert np.abs(value.data * wide - real).max() <= 0.5001 * value.q.scale.max()
