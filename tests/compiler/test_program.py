"""The compiled program says the same integers as the graph."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.compiler import compile_graph
from edgeq.compiler.interpret import run_program
from edgeq.graph.reference import run_integer
from tests.cases import CASES, Case, build


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_program_equals_graph(case: Case) -> None:
    graph, inputs = build(case)
    expected = run_integer(graph, inputs)
    actual = run_program(compile_graph(graph), inputs)
    for name in graph.outputs:
        np.testing.assert_array_equal(actual[name], expected[name])
