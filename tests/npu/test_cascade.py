"""Cascades: stripes over rolling buffers say the same integers, whatever runs, stripes and weights are chosen."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import product

import numpy as np
import pytest

import edgeq.compiler.npu as npu
from edgeq.compiler import compile_graph
from edgeq.compiler.npu.cascade import Cascade, inner_maps, least_rows, stretched
from edgeq.compiler.npu.check import missing_weights, races
from edgeq.compiler.npu.fit import Compiled, fit_sram, laid_out
from edgeq.compiler.npu.residency import Plan, Planner
from edgeq.compiler.npu.tile import Tiling
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Graph
from edgeq.graph.reference import run_integer
from edgeq.quantizer import quantize
from edgeq.runtime import Session
from edgeq.runtime.program import Program
from edgeq.runtime.target import Target, load_target
from tests.npu.test_program import same_in_any_order, waits, without
from tests.quantizer.graphs import Net, observe, samples
from tests.quantizer.test_random_graphs import random_graph

ByLot = Callable[[Graph, Target, int], tuple[Program, int]]
TARGETS = {"inside": load_target("npu-micro-256"), "outside": load_target("npu-micro-512")}


def chain() -> Graph:
    """Strides, a skip, a larger window and a pool."""
    net = Net(1)
    x = net.conv(net.input(1, 24, 20, 3), 8, size=3, strides=(2, 2))
    y = net.depthwise(net.conv(x, 20))
    x = net.node("Add", [x, net.conv(y, 8)])
    y = net.conv(x, 12, size=5, strides=(2, 2))
    return net.graph(net.node("MaxPool", [y], kernel=(2, 2), strides=(2, 2), pads=(0, 0, 0, 0)))


def branches() -> Graph:
    """A concat written by two branches, a map read twice with halos, and a branch that leaves the run."""
    net = Net(2)
    x = net.conv(net.input(1, 18, 18, 4), 8, size=3)
    a, b = net.conv(x, 6, size=3), net.depthwise(net.conv(x, 6))
    y = net.node("Concat", [a, b], axis=3)
    z = net.unary(net.conv(y, 8, size=3), "Silu")
    return net.graph(net.node("Add", [z, x]), net.depthwise(a))


def upsampling() -> Graph:
    """Rows that grow: a resize of each kind, and a transposed convolution made of phases."""
    net = Net(3)
    x = net.conv(net.input(1, 9, 10, 4), 8, size=3)
    args = {"coordinate": "asymmetric", "nearest_mode": "floor"}
    for mode, size in (("nearest", (18, 20)), ("linear", (36, 40))):
        up = net.node("Resize", [x], mode=mode, scales=(2.0, 2.0), size=size, **args)
        x = net.conv(up, 8, size=3)
    w = net.const(np.random.default_rng(3).normal(size=(6, 2, 2, 8)) / 4)
    args = {"strides": (2, 2), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}
    x = net.node("ConvTranspose", [x, w, net.const(np.zeros(6))], output_padding=(0, 0), **args)
    return net.graph(net.conv(x, 4, size=3))


NETS = {"chain": chain, "branches": branches, "upsampling": upsampling}


def quantized(graph: Graph) -> tuple[Graph, dict[str, Array], dict[str, Array]]:
    made = quantize(graph, observe(graph, samples(graph, 3)))
    rng = np.random.default_rng(0)
    inputs = {n: rng.integers(-128, 128, made.values[n].shape).astype(np.int8) for n in made.inputs}
    return made, inputs, run_integer(made, inputs)


def forced(planner: Planner, seed: int) -> Plan:
    """Runs, stripes, slack and weights by lot."""
    rng = random.Random(seed)
    flow, n = planner.runs.flow, len(planner.jobs)
    cascades: list[Cascade] = []
    at = 0
    while at < n:
        last = min(at + rng.randrange(1, 8), n - 1)
        mixed = any(at <= k and j <= last for k, j in flow.conflicts)
        if last == at or mixed or flow.height[last] == 1:
            at += 1
            continue
        rows = rng.choice((1, 1, 2, 3, 5))
        inner = inner_maps(flow, planner.maps, at, last)
        rolling = least_rows(flow, at, last, rows, inner)
        rolling = {name: r + rng.choice((0, 0, 1, 4)) for name, r in rolling.items()}
        weighted = [k for k in range(at, last + 1) if planner.jobs[k].weighted]
        resident = frozenset(k for k in weighted if rng.random() < 0.5)
        chunks = {
            k: rng.choice(planner.jobs[k].chunk_counts(1 << 62))
            for k in weighted
            if k not in resident
        }
        slots = rng.choice((1, 2))
        cascades.append(Cascade(at, last, rows, rolling, resident, chunks, slots))
        at = last + 1
    lives = stretched(planner.maps, tuple(cascades))
    writable = planner.target.dram_writable
    kept = frozenset(
        n for n in lives if not writable or (rng.random() < 0.5 and n not in planner.edges)
    )
    inside = {at for one in cascades for at in range(one.first, one.last + 1)}
    tilings = [
        Tiling() if at in inside else planner.tiling(at, kept, 1 << 20, False) for at in range(n)
    ]
    return Plan(kept, tuple(t for t in tilings if t), lives, tuple(cascades))


@pytest.fixture
def by_lot(monkeypatch: pytest.MonkeyPatch) -> ByLot:
    """Compile with cascades by lot; returns the program and how many there are."""

    def compiled(graph: Graph, target: Target, seed: int) -> tuple[Program, int]:
        made: list[Compiled] = []

        def fit(planner: Planner, optimize: str) -> Compiled:
            made.append(laid_out(planner, forced(planner, seed), early=3 * (seed % 2)))
            return made[-1]

        monkeypatch.setattr(npu, "fit_sram", fit)
        program = compile_graph(graph, target=target, cores=1)
        return program, len(made[-1].plan.cascades)

    return compiled


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("net", NETS)
def test_any_stripes_of_any_runs_give_the_same_bytes(net: str, target: str, by_lot: ByLot) -> None:
    graph, inputs, expected = quantized(NETS[net]())
    cascades = 0
    for seed in range(12):
        program, count = by_lot(graph, TARGETS[target], seed)
        cascades += count
        agree(program, inputs, expected)
    assert cascades > 6


@pytest.mark.parametrize("seed", range(40))
def test_random_graphs_in_stripes_give_the_same_bytes(seed: int, by_lot: ByLot) -> None:
    graph, inputs, expected = quantized(random_graph(seed))
    for target in TARGETS.values():
        agree(by_lot(graph, target, seed)[0], inputs, expected)


def agree(program: Program, inputs: dict[str, Array], expected: dict[str, Array]) -> None:
    with Session(program.to_bytes(), threads=1) as session:
        actual = session.run(inputs, native=True)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value)
    assert not races(program)
    assert not missing_weights(program)


def test_stripes_in_any_order_that_the_tokens_allow_give_the_same_bytes(by_lot: ByLot) -> None:
    graph, inputs, expected = quantized(chain())
    for seed in range(4):
        program, _ = by_lot(graph, TARGETS["outside"], seed)
        same_in_any_order(program, inputs, expected)


def test_removing_any_wait_of_a_stripe_is_found(by_lot: ByLot) -> None:
    graph, _, _ = quantized(chain())
    removed = 0
    for seed, target in product(range(4), TARGETS.values()):
        program, _ = by_lot(graph, target, seed)
        for at, bit in waits(program):
            assert races(without(program, at, bit)), f"command {at}, token {bit}"
            removed += 1
    assert removed > 100


@pytest.mark.parametrize(
    ("size", "stride", "rows", "held"),
    [(1, 1, 1, 1), (1, 1, 3, 3), (3, 1, 1, 3), (3, 1, 2, 4), (3, 2, 1, 3), (3, 2, 2, 5), (5, 1, 1, 5), (5, 2, 3, 9)],
)  # fmt: skip
def test_a_rolling_buffer_holds_one_window_of_a_stripe(
    size: int, stride: int, rows: int, held: int
) -> None:
    net = Net(0)
    x = net.conv(net.input(1, 32, 8, 4), 4)
    made, _, _ = quantized(net.graph(net.conv(x, 4, size=size, strides=(stride, stride))))
    flow, inner = planner_of(made, TARGETS["inside"]).runs.flow, made.nodes[0].outputs[0]
    assert least_rows(flow, 0, 1, rows, [inner]) == {inner: held}


def test_a_skip_is_held_as_far_as_the_layers_beside_it_look_back() -> None:
    net = Net(0)
    x = net.conv(net.input(1, 32, 8, 4), 4)
    y = net.depthwise(net.depthwise(net.depthwise(x)))
    made, _, _ = quantized(net.graph(net.conv(net.node("Add", [y, x]), 4)))
    skip = made.nodes[0].outputs[0]
    held = least_rows(planner_of(made, TARGETS["inside"]).runs.flow, 0, 5, 1, [skip])
    assert held == {skip: 4}  # three rows ahead, and its own


def test_size_takes_less_sram_and_refuses_bad_trades() -> None:
    """A wide map between narrow ones goes in stripes; maps that are small beside their weights do not."""
    net = Net(0)
    wide = net.depthwise(net.conv(net.input(1, 48, 48, 4), 32))
    good, _, _ = quantized(net.graph(net.conv(wide, 4, strides=(2, 2))))
    net = Net(0)
    x = net.conv(net.conv(net.input(1, 12, 12, 16), 64, size=3), 64, size=3)
    bad, _, _ = quantized(net.graph(net.conv(x, 16, size=3)))
    peak = {}
    for name, graph in (("good", good), ("bad", bad)):
        for optimize in ("performance", "size"):
            program = compile_graph(graph, target="npu-micro-256", optimize=optimize)
            peak[name, optimize] = program.meta["stats"]["sram_peak_bytes"]
    assert peak["good", "size"] < 0.5 * peak["good", "performance"]
    planner = planner_of(bad, TARGETS["inside"])
    assert planner.runs.least < peak["bad", "size"]  # it could be smaller, for more cycles
    assert not fit_sram(planner, "size").plan.cascades


def test_a_network_too_large_as_a_whole_fits_in_stripes_and_the_verdict_is_true() -> None:
    made, inputs, expected = quantized(chain())
    small = TARGETS["inside"].what_if({"sram_kib": "1"})
    with pytest.raises(CompileError, match=r"It fits from sram_kib=\d+ on") as refused:
        compile_graph(made, target=small)
    need = int(str(refused.value).split("sram_kib=")[1].split()[0])
    whole = compile_graph(made, target="npu-micro-256").meta["stats"]["sram_peak_bytes"]
    assert need * 1024 < whole
    program = compile_graph(made, target=small.what_if({"sram_kib": str(need)}))
    agree(program, inputs, expected)


def planner_of(graph: Graph, target: Target) -> Planner:
    """The planner that compiling for a target uses."""
    found: list[Planner] = []
    with pytest.MonkeyPatch.context() as patch:

        def keep(planner: Planner, optimize: str) -> Compiled:
            found.append(planner)
            return fit_sram(planner, optimize)

        patch.setattr(npu, "fit_sram", keep)
        compile_graph(graph, target=target)
    return found[0]
