"""Views: reshape without copy as numpy does it; concat, slice and reshape become addresses."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeq.compiler import compile_graph
from edgeq.compiler.interpret import run_program
from edgeq.compiler.views import contiguous, reshape_strides
from edgeq.graph.ir import Graph, Node, QParams, Value, constant
from edgeq.graph.reference import run_integer
from edgeq.runtime import isa

Q = QParams(np.float32(0.1), np.int32(3))
CONV = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1}


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_reshape_strides_address_the_same_elements(dims: list[int], random: object) -> None:
    total = int(np.prod(dims))
    new, rest = [], total
    while rest > 1:
        d = random.choice([k for k in range(1, rest + 1) if rest % k == 0])  # type: ignore[attr-defined]
        new.append(d)
        rest //= d
    new = new or [1]
    base = np.arange(total * 2, dtype=np.int32).reshape(*dims, 2)[..., 0]  # every axis strided
    strides = tuple(s * 2 for s in contiguous(tuple(dims)))
    found = reshape_strides(tuple(dims), strides, tuple(new))
    assert found is not None  # evenly spaced elements always reshape
    flat = np.arange(total * 2, dtype=np.int32)
    view = np.lib.stride_tricks.as_strided(flat, new, [s * 4 for s in found])
    np.testing.assert_array_equal(view, base.reshape(new))


def test_reshape_that_needs_a_copy_is_refused() -> None:
    assert reshape_strides((4, 3), (5, 1), (12,)) is None
    assert reshape_strides((4, 3), (5, 1), (2, 2, 3)) == (10, 5, 1)


def _graph() -> tuple[Graph, dict[str, np.ndarray]]:
    """Two convolutions, joined by channels, reshaped, joined by rows, and a channel slice."""
    rng = np.random.default_rng(1)
    w = constant(
        "w",
        rng.integers(-127, 128, (8, 1, 1, 8)).astype(np.int8),
        QParams(np.full(8, 0.01, np.float32), np.zeros(8, np.int32)),
    )
    shapes = {
        "x": (1, 4, 4, 8), "a": (1, 4, 4, 8), "b": (1, 4, 4, 8), "ab": (1, 4, 4, 16), "rows": (1, 16, 16),
        "c": (1, 4, 4, 8), "cc": (1, 4, 4, 16), "rows2": (1, 16, 16), "all": (1, 32, 16), "cut": (1, 4, 4, 8), "d": (1, 4, 4, 8),
    }  # fmt: skip
    nodes = (
        Node("Conv", "a", ("x", "w", ""), ("a",), CONV),
        Node("Conv", "b", ("a", "w", ""), ("b",), CONV),
        Node("Concat", "ab", ("a", "b"), ("ab",), {"axis": 3}),
        Node("Reshape", "rows", ("ab",), ("rows",), {"shape": (1, 16, 16)}),
        Node(
            "Slice",
            "cut",
            ("ab",),
            ("cut",),
            {"starts": (0, 0, 0, 4), "ends": (1, 4, 4, 12), "steps": (1, 1, 1, 1)},
        ),
        Node("Conv", "c", ("cut", "w", ""), ("c",), CONV),
        Node("Concat", "cc", ("c", "b"), ("cc",), {"axis": 3}),
        Node("Reshape", "rows2", ("cc",), ("rows2",), {"shape": (1, 16, 16)}),
        Node("Concat", "all", ("rows", "rows2"), ("all",), {"axis": 1}),
        Node("Conv", "d", ("cut", "w", ""), ("d",), CONV),
    )
    values = {n: Value(n, s, q=Q) for n, s in shapes.items()} | {"w": w}
    return Graph("views", nodes, values, ("x",), ("all", "d")), {
        "x": rng.integers(-128, 128, shapes["x"]).astype(np.int8)
    }


def test_concat_reshape_and_slice_become_addresses() -> None:
    graph, inputs = _graph()
    program = compile_graph(graph)
    assert [d["op"] for d in program.debug].count("Conv") == 4
    assert len(program.debug) == 5  # one copy: b is joined twice and can live in one place only
    expected, actual = run_integer(graph, inputs), run_program(program, inputs)
    for name in graph.outputs:
        np.testing.assert_array_equal(actual[name], expected[name])


def test_compiling_twice_gives_the_same_bytes() -> None:
    graph, _ = _graph()
    assert compile_graph(graph).to_bytes() == compile_graph(graph).to_bytes()


def test_float_islands_are_read_off_the_commands() -> None:
    program = compile_graph(_graph()[0])
    assert program.float_islands() == []
    tensors = program.tensors.copy()
    head = np.frombuffer(program.commands, isa.COMMAND_DTYPES["END"])[1]
    tensors["dtype"][int(head["out"])] = isa.DTYPES["float32"]
    assert program.debug[1]["node"] in replace(program, tensors=tensors).float_islands()
