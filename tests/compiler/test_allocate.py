"""Arena allocation: hand-made cases and random lifetimes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.compiler.allocate import Lifetime, allocate, lower_bound

LIVES = st.builds(
    lambda s, a, n: Lifetime(s, a, a + n),
    st.integers(1, 5000),
    st.integers(0, 30),
    st.integers(0, 8),
)


@pytest.mark.parametrize(
    ("lives", "total"),
    [
        ([], 0),
        ([(100, 0, 1)], 128),
        ([(64, 0, 1), (64, 2, 3)], 64),  # one after the other share
        ([(64, 0, 2), (64, 2, 3)], 128),  # both alive at command 2
        ([(128, 0, 1), (64, 1, 2), (128, 2, 3)], 192),
        ([(64, 0, 9), (640, 0, 1), (640, 2, 3), (640, 4, 5)], 704),
    ],
)
def test_known_lifetimes_get_the_known_arena(lives: list[tuple[int, int, int]], total: int) -> None:
    buffers = {str(i): Lifetime(*life) for i, life in enumerate(lives)}
    assert allocate(buffers)[1] == total == lower_bound(buffers)


@given(st.lists(LIVES, max_size=40))
def test_buffers_alive_together_never_overlap(lives: list[Lifetime]) -> None:
    buffers = {str(i): life for i, life in enumerate(lives)}
    offsets, total = allocate(buffers)
    assert total >= lower_bound(buffers)
    for a, x in buffers.items():
        assert offsets[a] % 64 == 0 and offsets[a] + x.size <= total
        for b, y in buffers.items():
            if a < b and x.first <= y.last and y.first <= x.last:
                assert offsets[a] + x.size <= offsets[b] or offsets[b] + y.size <= offsets[a]
