"""A residual Add runs behind the convolution that makes its later operand, where that gives the same integers."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.compiler import compile_graph
from edgeq.graph.ir import Graph, Node, QParams, Value, constant
from edgeq.graph.reference import run_integer
from edgeq.runtime import Session, isa
from tests.cases import Case, build, conv
from tests.cases.products import sum_cases


def opcodes(graph: Graph, target: str = "cpu") -> list[str]:
    commands = np.frombuffer(
        compile_graph(graph, target=target).commands, isa.COMMAND_DTYPES["END"]
    )
    names = {op.number: name for name, op in isa.OPCODES.items()}
    return [names[int(c["opcode"])] for c in commands]


@pytest.mark.parametrize("case", sum_cases(), ids=lambda c: c.id)
def test_a_sum_behind_a_convolution_is_no_command_of_its_own(case: Case) -> None:
    graph, _ = build(case)
    apart = case.add == "i16"  # the law of a sum with int16 is another command
    assert ("ELEMENTWISE" in opcodes(graph)) == apart
    assert "ELEMENTWISE" in opcodes(graph, "npu-dev")


def block(*, reads_twice: bool = False, output: bool = False) -> Graph:
    """x -> first, x -> second, sum = first + second; perhaps `second` is read again or an output."""
    rng = np.random.default_rng(0)
    q = QParams(np.float32(0.05), np.int32(3), "int8")
    wide = QParams(np.float32(0.1), np.int32(-7), "int8")
    values = {n: Value(n, (1, 6, 5, 8), q=wide) for n in ("first", "second", "sum", "again")}
    values["x"] = Value("x", (1, 6, 5, 8), q=q)
    scale = QParams(np.full(8, 0.01, np.float32), np.zeros(8, np.int32), "int8", 0)
    nodes = []
    for name in ("first", "second"):
        w = rng.integers(-127, 128, (8, 1, 1, 8)).astype(np.int8)
        values["w" + name] = constant("w" + name, w, scale)
        nodes.append(Node("Conv", name, ("x", "w" + name, ""), (name,), conv()))
    nodes.append(Node("Add", "sum", ("second", "first"), ("sum",), {}))
    nodes.append(Node("Add", "again", ("sum", "second" if reads_twice else "x"), ("again",), {}))
    outputs = ("again", "second") if output else ("again",)
    return Graph("block", tuple(nodes), values, ("x",), outputs)


@pytest.mark.parametrize(
    ("graph", "expected"),
    [
        (block(), ["CONV", "CONV", "ELEMENTWISE", "END"]),
        (block(reads_twice=True), ["CONV", "CONV", "ELEMENTWISE", "ELEMENTWISE", "END"]),
        (block(output=True), ["CONV", "CONV", "ELEMENTWISE", "ELEMENTWISE", "END"]),
    ],
    ids=["fused", "read twice", "an output"],
)
def test_the_later_operand_takes_the_sum_unless_others_need_it(
    graph: Graph, expected: list[str]
) -> None:
    assert opcodes(graph) == expected
    x = np.random.default_rng(1).integers(-128, 128, (1, 6, 5, 8)).astype(np.int8)
    want = run_integer(graph, {"x": x})
    with Session(compile_graph(graph).to_bytes()) as session:
        got = session.run(x, native=True)
    for name in graph.outputs:
        np.testing.assert_array_equal(got[name], want[name])
