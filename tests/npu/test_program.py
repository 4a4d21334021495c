"""A program for an NPU says the same integers as the graph: tiled, in any order of its queues."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import numpy as np
import pytest

from edgeq.compiler import compile_graph
from edgeq.compiler.interpret import Machine, run_program
from edgeq.compiler.npu.check import missing_weights, orders, races
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Graph, Node, QParams, Value, constant
from edgeq.graph.reference import run_integer
from edgeq.runtime import Session, isa
from edgeq.runtime.npu.timeline import run_clock, slow_clock, tables
from edgeq.runtime.program import Program
from edgeq.runtime.target import Target, list_targets, load_target
from tests.cases import CASES, Case, build, conv

TARGETS = {
    "npu-dev": load_target("npu-dev"),
    "npu-micro-256": load_target("npu-micro-256"),
    "tiny": load_target("npu-dev").what_if({"sram_kib": "4"}),
}
THREE_CORES = load_target("npu-dev").what_if({"sram_kib": "8", "cores": "3"})
ONE_PER_OP = list({case.op: case for case in CASES}.values())


def compiled(graph: Graph, target: Target | str, optimize: str = "performance") -> Program:
    return compile_graph(graph, target=target, optimize=optimize)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_tiles_equal_the_integer_law(case: Case, target: str) -> None:
    graph, inputs = build(case)
    expected = run_integer(graph, inputs)
    program = compiled(graph, TARGETS[target])
    slow = run_program(program, inputs)
    with Session(program.to_bytes(), threads=1) as session:
        fast = session.run(inputs, native=True)
    for name in graph.outputs:
        np.testing.assert_array_equal(slow[name], expected[name])
        np.testing.assert_array_equal(fast[name], expected[name])
    assert not races(program)
    assert not missing_weights(program)
    assert program.sram_bytes <= TARGETS[target].sram_bytes


@pytest.mark.parametrize("name", [n for n in list_targets() if n != "cpu"])
@pytest.mark.parametrize("optimize", ["performance", "size"])
def test_every_preset_compiles_every_op_the_same(name: str, optimize: str) -> None:
    for case in ONE_PER_OP:
        graph, inputs = build(case)
        expected = run_integer(graph, inputs)
        with Session(compiled(graph, name, optimize).to_bytes(), threads=1) as session:
            actual = session.run(inputs, native=True)
        for out in graph.outputs:
            np.testing.assert_array_equal(actual[out], expected[out])


@pytest.mark.parametrize("case", CASES[::3], ids=lambda c: c.id)
def test_several_cores_give_the_same_bytes(case: Case) -> None:
    graph, inputs = build(case)
    expected = run_integer(graph, inputs)
    for target in (THREE_CORES, load_target("npu-hat-25t")):
        program = compile_graph(graph, target=target, cores=3)
        assert program.cores == 3
        assert not races(program)
        assert not missing_weights(program)
        with Session(program.to_bytes(), threads=1) as session:
            actual = session.run(inputs, native=True)
        for name in graph.outputs:
            np.testing.assert_array_equal(actual[name], expected[name])
        assert program.timing is not None
        t = tables(program.commands, program.timing, program.cores)
        np.testing.assert_array_equal(run_clock(t).finish, slow_clock(t).finish)


def tiled(limit: int = 60) -> list[tuple[Graph, dict[str, np.ndarray], Program]]:
    """Programs of several tiles, small enough to mutate every wait."""
    made = []
    for case in CASES:
        graph, inputs = build(case)
        program = compiled(graph, TARGETS["tiny"])
        if 8 < len(program.commands) // 64 < limit:
            made.append((graph, inputs, program))
    return made


def test_any_order_that_the_tokens_allow_gives_the_same_bytes() -> None:
    for graph, inputs, program in tiled():
        same_in_any_order(program, inputs, run_integer(graph, inputs))


def same_in_any_order(
    program: Program, inputs: dict[str, Array], expected: dict[str, Array]
) -> None:
    rng = random.Random(7)
    for choose in (min, max, rng.choice, rng.choice):
        machine = Machine(program)
        for i, spec in enumerate(program.meta["inputs"]):
            machine.tensor(i)[...] = inputs[spec["name"]]
        for at in orders(program, choose):
            machine.step(at)
        for name, value in machine.outputs().items():
            np.testing.assert_array_equal(value, expected[name])


def test_removing_any_wait_is_found() -> None:
    removed = 0
    for _, _, program in tiled():
        assert not races(program)
        for at, bit in waits(program):
            assert races(without(program, at, bit)), f"command {at}, token {bit}"
            removed += 1
    assert removed > 100


def waits(program: Program) -> list[tuple[int, int]]:
    heads = np.frombuffer(program.commands, isa.COMMAND_DTYPES["END"])
    return [(i, b) for i, h in enumerate(heads) for b in range(16) if int(h["wait"]) >> b & 1]


def without(program: Program, at: int, bit: int) -> Program:
    """The program without one wait and the signal that it takes."""
    heads = np.frombuffer(program.commands, isa.COMMAND_DTYPES["END"]).copy()
    core = int(heads[at]["core"])
    number = sum(a < at and b == bit and heads[a]["core"] == core for a, b in waits(program))
    givers = [i for i, h in enumerate(heads) if int(h["signal"]) >> bit & 1 and h["core"] == core]
    heads[at]["wait"] = int(heads[at]["wait"]) & ~(1 << bit)
    heads[givers[number]]["signal"] = int(heads[givers[number]]["signal"]) & ~(1 << bit)
    return replace(program, commands=heads.tobytes())


def test_the_compiled_clock_equals_the_slow_one() -> None:
    for _, _, program in tiled(400):
        assert program.timing is not None
        t = tables(program.commands, program.timing, program.cores)
        fast, slow = run_clock(t), slow_clock(t)
        np.testing.assert_array_equal(fast.start, slow.start)
        np.testing.assert_array_equal(fast.finish, slow.finish)
        np.testing.assert_array_equal(fast.cause, slow.cause)


def test_the_same_graph_gives_the_same_bytes() -> None:
    for case in ONE_PER_OP:
        graph, _ = build(case)
        first, second = (compiled(graph, "npu-dev").to_bytes() for _ in range(2))
        assert first == second


def test_what_does_not_fit_is_refused_with_what_would() -> None:
    small, refused = load_target("npu-micro-256").what_if({"sram_kib": "1"}), 0
    for case in CASES:
        graph, _ = build(case)
        said = refusal(graph, small)
        if said:
            refused += 1
            found = re.search(r"fits from (?:about )?sram_kib=(\d+) on", said)
            assert found, said
            compiled(graph, small.what_if({"sram_kib": found[1]}))
    assert refused


@pytest.mark.parametrize("kib", [80, 88, 96])
def test_weights_that_come_early_refuse_nothing(kib: int) -> None:
    """They fill the room that a smaller budget leaves, so no budget let this network pack into 88 KiB."""
    compiled(wide(), load_target("npu-micro-512").what_if({"sram_kib": str(kib)}))


def wide() -> Graph:
    """24 convolutions with far more weights than pixels."""
    rng = np.random.default_rng(1)
    q = QParams(np.asarray(0.05, np.float32), np.asarray(3, np.int32))
    values, nodes, channels = {"y": Value("y", (1, 8, 8, 64), q=q)}, [], 64
    for i in range(24):
        out, k = int(rng.choice([48, 64, 96, 160, 256])), int(rng.choice([1, 1, 3]))
        w = rng.integers(-127, 128, (out, k, k, channels)).astype(np.int8)
        scale = QParams(np.full(out, 0.001, np.float32), np.zeros(out, np.int32), "int8", 0)
        name, channels = f"y{i}", out
        values |= {f"w{i}": constant(f"w{i}", w, scale), name: Value(name, (1, 8, 8, out), q=q)}
        last = nodes[-1].outputs[0] if nodes else "y"
        nodes.append(Node("Conv", f"c{i}", (last, f"w{i}", ""), (name,), conv(pads=(k // 2,) * 4)))
    return Graph("wide", tuple(nodes), values, ("y",), (name,))


def test_size_costs_no_more_than_twice_the_cycles() -> None:
    """Where maps may leave the SRAM, ever smaller tiles would: each fetches the weights again."""
    graph, _ = build(next(case for case in CASES if case.note == "large"))
    quick, small = (
        cycles(compiled(graph, "npu-card-512t", how)) for how in ("performance", "size")
    )
    assert quick <= small <= 2 * quick


def cycles(program: Program) -> int:
    return run_clock(tables(program.commands, program.timing, program.cores)).makespan


def refusal(graph: Graph, target: Target) -> str:
    try:
        compiled(graph, target)
    except CompileError as error:
        return str(error)
    return ""
