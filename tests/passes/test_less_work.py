"""Rewrites that save work: the same values on random graphs, and nothing done where nothing is won."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from edgeq.graph.ir import Graph, Value
from edgeq.graph.reference import run_float
from edgeq.graph.verify import verify
from edgeq.passes import canonicalise
from edgeq.passes.arithmetic import simplify_arithmetic
from edgeq.passes.parts import part_channels
from edgeq.passes.pools import simplify_pools
from edgeq.passes.rewrite import Builder
from edgeq.passes.shuffles import SWAP
from edgeq.passes.slices import merge_slices
from edgeq.passes.upsampling import fold_upsampling


def start(*shape: int) -> Builder:
    b = Builder()
    b.values["x"] = Value("x", shape)
    return b


def graph_of(b: Builder, *outputs: str) -> Graph:
    return verify(Graph("g", tuple(b.nodes), b.values, ("x",), outputs))


def ops(graph: Graph) -> list[str]:
    return [n.op for n in graph.nodes]


def both(before: Graph, after: Graph, **tolerance: float) -> None:
    """Compare what two graphs compute; without a tolerance they must be equal."""
    x = np.random.default_rng(5).standard_normal(before.value("x").shape).astype(np.float32)
    want, got = (run_float(verify(g), {"x": x}) for g in (before, after))
    for name in before.outputs:
        np.testing.assert_allclose(got[name], want[name], **({"rtol": 0} | tolerance))


def conv(b: Builder, x: str, channels: int, out: str, **attrs: object) -> str:
    rng = np.random.default_rng(channels)
    w = b.const("w", rng.standard_normal((channels, 1, 1, b.shape(x)[-1])) / 4)
    bias = b.const("b", rng.standard_normal(channels))
    window = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    return b.emit("Conv", [x, w, bias], window | attrs, out=out)


def channels(b: Builder, x: str, start: int, stop: int, out: str) -> str:
    shape = b.shape(x)
    zeros = (0,) * (len(shape) - 1)
    attrs = {"starts": (*zeros, start), "ends": (*shape[:-1], stop), "steps": (1,) * len(shape)}
    return b.emit("Slice", [x], attrs, out=out)


def sigmoid(b: Builder, x: str, out: str) -> str:
    return b.emit("Unary", [x], {"kind": "Sigmoid"}, out=out)


def max_pool(b: Builder, x: str, kernel: tuple[int, int], pads: tuple[int, ...], out: str) -> str:
    attrs: Mapping[str, object] = {
        "kernel": kernel, "strides": (1, 1), "pads": pads, "dilations": (1, 1)
    }  # fmt: skip
    return b.emit("MaxPool", [x], attrs, out=out)


# ---- pools ----


def test_nested_max_pools_become_a_chain() -> None:
    b = start(1, 13, 13, 2)
    outs = [max_pool(b, "x", (k, k), (k // 2,) * 4, f"p{k}") for k in (13, 9, 5)]
    b.emit("Concat", ["x", *outs], {"axis": 3}, out="y")
    graph = graph_of(b, "y")
    after = simplify_pools(graph)
    assert [(n.inputs[0], n.attrs["kernel"]) for n in after.nodes[:3]] == [
        ("x", (5, 5)), ("p5", (5, 5)), ("p9", (5, 5))
    ]  # fmt: skip
    both(graph, after)


def test_random_max_pools_compute_the_same() -> None:
    rng, chained = np.random.default_rng(3), 0
    for _ in range(300):
        h, w = (int(n) for n in rng.integers(1, 12, 2))
        b, outs = start(1, h, w, 2), []
        for k in range(int(rng.integers(2, 5))):
            kh, kw = (int(n) for n in rng.integers(1, 8, 2))
            top, left = int(rng.integers(kh)), int(rng.integers(kw))
            pads = (top, left, kh - 1 - top, kw - 1 - left)
            outs.append(max_pool(b, "x", (kh, kw), pads, f"p{k}"))
        b.emit("Concat", outs, {"axis": 3}, out="y")
        graph = graph_of(b, "y")
        after = simplify_pools(graph)
        chained += sum(n.op == "MaxPool" and n.inputs[0] != "x" for n in after.nodes)
        both(graph, after)
        assert simplify_pools(after) is after
    assert chained > 100


def test_max_pools_that_shrink_the_picture_are_left_alone() -> None:
    b = start(1, 9, 9, 2)
    outs = [max_pool(b, "x", (3, 3), (0,) * 4, "a"), max_pool(b, "x", (5, 5), (1,) * 4, "b")]
    b.emit("Concat", outs, {"axis": 3}, out="y")
    graph = graph_of(b, "y")
    assert simplify_pools(graph) is graph


def test_pools_with_scales_of_their_own_are_left_alone() -> None:
    b = start(1, 9, 9, 2)
    small = b.emit("Requantize", [max_pool(b, "x", (3, 3), (1,) * 4, "a")], out="q")
    b.emit("Concat", [small, max_pool(b, "x", (5, 5), (2,) * 4, "b")], {"axis": 3}, out="y")
    graph = graph_of(b, "y")
    assert simplify_pools(graph) is graph


# ---- x + x * s ----


@pytest.mark.parametrize("shape", [(1, 1, 1, 4), (1, 5, 6, 1), (4,)])
@pytest.mark.parametrize("swapped", [False, True])
def test_a_residual_gain_is_one_product(shape: tuple[int, ...], swapped: bool) -> None:
    b = start(1, 5, 6, 4)
    if shape == (4,):
        s = b.const("s", [0.5, -1.0, 2.0, 0.0])
    else:
        axes = (1, 2) if shape[-1] == 4 else (3,)
        s = sigmoid(b, b.emit("ReduceMean", ["x"], {"axes": axes, "keepdims": True}, out="m"), "s")
    product = b.emit("Mul", [s, "x"] if swapped else ["x", s], out="p")
    sides = [product, "x"] if swapped else ["x", product]
    b.emit("Add", sides, {"clip": (0.0, 1.0)}, out="y")
    graph = graph_of(b, "y")
    after = simplify_arithmetic(graph)
    large = [n.op for n in after.nodes if after.value(n.outputs[0]).shape == (1, 5, 6, 4)]
    assert large == ["Mul"]
    both(graph, after, atol=1e-6)


def test_a_product_that_something_else_needs_stays() -> None:
    b = start(1, 5, 6, 4)
    s = b.emit("ReduceMean", ["x"], {"axes": (1, 2), "keepdims": True}, out="s")
    p = b.emit("Mul", ["x", s], out="p")
    b.emit("Add", ["x", p], out="y")
    graph = graph_of(b, "y", "p")
    assert simplify_arithmetic(graph) is graph
    b = start(1, 5, 6, 4)
    b.emit("Add", ["x", b.emit("Mul", ["x", "x"], out="p")], out="y")
    graph = graph_of(b, "y")
    assert simplify_arithmetic(graph) is graph  # s as large as x: a sum over it saves nothing


# ---- parts ----


def test_a_table_function_on_some_channels_gets_its_own_convolution() -> None:
    b = start(1, 4, 5, 8)
    y = conv(b, "x", 48, "c")
    sigmoid(b, channels(b, y, 0, 32, "first"), "a")
    channels(b, y, 32, 48, "rest")
    graph = graph_of(b, "a", "rest")
    after = part_channels(graph)
    assert ops(after) == ["Conv", "Conv", "Unary"]
    assert part_channels(after) is after
    both(graph, after, atol=1e-6)


def test_a_fully_connected_layer_is_parted_too() -> None:
    b = start(6, 24)
    w = b.const("w", np.random.default_rng(1).standard_normal((32, 24)))
    b.emit("FullyConnected", ["x", w, ""], out="c")
    a, gate = channels(b, "c", 0, 16, "left"), sigmoid(b, channels(b, "c", 16, 32, "right"), "s")
    b.emit("Mul", [a, gate], out="y")
    graph = graph_of(b, "y")
    assert ops(part_channels(graph)) == ["FullyConnected", "FullyConnected", "Unary", "Mul"]
    both(graph, part_channels(graph), atol=1e-6)


@pytest.mark.parametrize(
    ("parts", "attrs", "outputs"),
    [
        (((0, 32), (16, 48)), {}, ()),  # they share channels
        (((0, 32),), {}, ()),  # one
        (((0, 32), (32, 48)), {"clip": (0.0, 6.0)}, ()),  # a clip and a table cannot both be fused
        (((0, 32), (32, 48)), {}, ("c",)),  # the whole is an output
        (((0, 1), (1, 48)), {}, ()),  # 15 of 16 channels of a panel would be padding
    ],
)
def test_convolutions_that_stay_whole(
    parts: tuple[tuple[int, int], ...], attrs: dict[str, object], outputs: tuple[str, ...]
) -> None:
    b = start(1, 4, 5, 48)
    y = conv(b, "x", 48, "c", **attrs)
    outs = [channels(b, y, *part, f"p{k}") for k, part in enumerate(parts)]
    outs[0] = sigmoid(b, outs[0], "a")
    graph = graph_of(b, *outs, *outputs)
    assert part_channels(graph) is graph


def test_slices_without_a_function_leave_the_convolution_whole() -> None:
    b = start(1, 4, 5, 8)
    y = conv(b, "x", 32, "c")
    graph = graph_of(b, channels(b, y, 0, 16, "p"), channels(b, y, 16, 32, "q"))
    assert part_channels(graph) is graph


@pytest.mark.parametrize("groups", [2, 3, 4])
def test_slices_of_a_shuffle_are_smaller_shuffles(groups: int) -> None:
    b = start(1, 4, 5, 24)
    wide = b.emit("Reshape", ["x"], {"shape": (1, 4, 5, groups, 24 // groups)}, out="wide")
    turned = b.emit("Transpose", [wide], {"perm": SWAP}, out="turned")
    y = b.emit("Reshape", [turned], {"shape": (1, 4, 5, 24)}, out="y")
    graph = graph_of(b, channels(b, y, 0, 12, "p"), channels(b, y, 12, 24, "q"))
    after = part_channels(graph)
    assert sorted(n.op for n in after.nodes).count("Transpose") == 2
    assert canonicalise(after) is after
    both(graph, after)


def test_a_shuffle_cut_inside_its_groups_stays_whole() -> None:
    b = start(1, 4, 5, 24)
    wide = b.emit("Reshape", ["x"], {"shape": (1, 4, 5, 2, 12)}, out="wide")
    turned = b.emit("Transpose", [wide], {"perm": SWAP}, out="turned")
    y = b.emit("Reshape", [turned], {"shape": (1, 4, 5, 24)}, out="y")
    graph = graph_of(b, channels(b, y, 0, 11, "p"), channels(b, y, 11, 24, "q"))
    assert part_channels(graph) is graph


# ---- upsampling ----


def resize(b: Builder, x: str, factors: tuple[int, int], out: str, **attrs: object) -> str:
    size = tuple(n * f for n, f in zip(b.shape(x)[1:3], factors, strict=True))
    how = {"mode": "nearest", "coordinate": "asymmetric", "nearest_mode": "floor"}
    return b.emit("Resize", [x], how | {"scales": factors, "size": size} | attrs, out=out)


def window(b: Builder, x: str, k: tuple[int, int], pads: tuple[int, ...], **attrs: object) -> str:
    rng = np.random.default_rng(1)
    w = b.const("w", rng.standard_normal((5, *k, b.shape(x)[-1])) / 9)
    window = {"strides": (1, 1), "pads": pads, "dilations": (1, 1), "group": 1} | attrs
    return b.emit("Conv", [x, w, b.const("b", rng.standard_normal(5))], window, out="y")


def test_a_convolution_of_an_upsampled_picture_is_transposed() -> None:
    rng = np.random.default_rng(2)
    for _ in range(100):
        h, w = (int(n) for n in rng.integers(1, 6, 2))
        kh, kw = (int(n) for n in rng.integers(2, 5, 2))
        pads = tuple(int(rng.integers(k)) for k in (kh, kw, kh, kw))
        factors = (2 * int(rng.integers(1, 4)), 2 * int(rng.integers(1, 3)))
        if h * factors[0] + pads[0] + pads[2] < kh or w * factors[1] + pads[1] + pads[3] < kw:
            continue
        b = start(1, h, w, 3)
        half_pixel = {"coordinate": "half_pixel", "nearest_mode": "round_prefer_floor"}
        up = resize(b, "x", factors, "up", **(half_pixel if rng.integers(2) else {}))
        window(b, up, (kh, kw), pads, clip=(0.0, 2.0))
        graph = graph_of(b, "y")
        after = fold_upsampling(graph)
        assert ops(after) == [*["Resize"] * (factors != (2, 2)), "ConvTranspose"]
        both(graph, after, atol=2e-6)


def test_upsampled_channels_of_a_concat_have_a_convolution_of_their_own() -> None:
    b = start(1, 8, 8, 40)
    small = b.emit("AvgPool", ["x"], {"kernel": (2, 2), "strides": (2, 2), "pads": (0,) * 4,
                   "count_include_pad": False}, out="small")  # fmt: skip
    tiny = max_pool(b, small, (1, 4), (0, 0, 0, 0), "tiny")
    parts = [resize(b, small, (2, 2), "up2"), "x", resize(b, tiny, (2, 8), "up8")]
    y = window(b, b.emit("Concat", parts, {"axis": 3}, out="c"), (3, 3), (1,) * 4, clip=(0.0, 1.0))
    graph = graph_of(b, y)
    after = fold_upsampling(graph)
    assert ops(after)[2:] == ["Resize", "Concat", "ConvTranspose", "Conv", "Add"]
    assert fold_upsampling(after) is after
    both(graph, after, atol=2e-6)


@pytest.mark.parametrize(
    ("factors", "how", "kernel", "attrs"),
    [
        ((3, 3), {}, (3, 3), {}),  # an odd number of copies
        ((2, 2), {"mode": "linear"}, (3, 3), {}),
        ((2, 2), {"nearest_mode": "ceil"}, (3, 3), {}),  # the copies begin in between
        ((2, 2), {}, (1, 1), {}),  # nothing is saved
        ((2, 2), {}, (3, 3), {"strides": (2, 2)}),
        ((2, 2), {}, (3, 3), {"dilations": (2, 2)}),
    ],
)
def test_convolutions_that_keep_the_upsampling(
    factors: tuple[int, int],
    how: dict[str, object],
    kernel: tuple[int, int],
    attrs: dict[str, object],
) -> None:
    b = start(1, 6, 6, 40)
    window(b, resize(b, "x", factors, "up", **how), kernel, (0,) * 4, **attrs)
    graph = graph_of(b, "y")
    assert fold_upsampling(graph) is graph


# ---- slices that a Concat joins again ----


def test_pieces_that_a_concat_joins_again_are_the_whole() -> None:
    b = start(1, 4, 5, 8)
    p, q = channels(b, "x", 0, 3, "p"), channels(b, "x", 3, 8, "q")
    b.emit("Concat", [p, q, sigmoid(b, q, "s")], {"axis": 3}, out="y")
    graph = graph_of(b, "y")
    after = merge_slices(graph)
    assert [n.inputs for n in after.nodes if n.op == "Concat"] == [("x", "s")]
    both(graph, after)


def test_random_pieces_are_joined_in_order() -> None:
    rng, joined = np.random.default_rng(4), 0
    for _ in range(200):
        b, parts, axis = start(1, 6, 6, 6), [], int(rng.integers(1, 4))
        at = 0
        for k in range(int(rng.integers(2, 5))):
            low = at if rng.integers(2) and at < 6 else int(rng.integers(6))
            at = int(rng.integers(low + 1, 7))
            bounds = [(low, at) if i == axis else (0, n) for i, n in enumerate((1, 6, 6, 6))]
            attrs = {"starts": tuple(s for s, _ in bounds), "ends": tuple(e for _, e in bounds)}
            parts.append(b.emit("Slice", ["x"], attrs | {"steps": (1,) * 4}, out=f"p{k}"))
        b.emit("Concat", parts, {"axis": axis}, out="y")
        graph = graph_of(b, "y")
        after = merge_slices(graph)
        joined += after is not graph
        both(graph, after)
        assert merge_slices(after) is after
    assert joined > 50


def test_pieces_cut_along_another_axis_stay_apart() -> None:
    b = start(1, 4, 6, 8)
    p, q = channels(b, "x", 0, 4, "p"), channels(b, "x", 4, 8, "q")
    b.emit("Concat", [p, q], {"axis": 2}, out="y")
    graph = graph_of(b, "y")
    assert merge_slices(graph) is graph
