"""C equals the integer law: every case of the op table, every kernel set, one and several threads, with ==."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.compiler import compile_graph
from edgeq.graph.reference import run_integer
from edgeq.runtime import Session, _engine
from tests.cases import CASES, Case, build

KERNELS = _engine.isa_list()


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_c_equals_the_integer_law(case: Case, kernels: str) -> None:
    graph, inputs = build(case)
    expected = run_integer(graph, inputs)
    body = compile_graph(graph).to_bytes()
    for threads in (1, 3):
        with Session(body, threads=threads, kernels=kernels) as session:
            actual = session.run(inputs, native=True)
        for name in graph.outputs:
            assert actual[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(actual[name], expected[name])


def test_scalar_kernels_are_always_there() -> None:
    assert "scalar" in KERNELS
