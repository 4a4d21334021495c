"""Arena allocation: hand-made cases and random lifetimes."""

from __future__ import annotations

import random
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.compiler.allocate import Lifetime, allocate, lower_bound
from edgeq.compiler.stacking import Stacking

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
        # two wide maps hand over while narrow ones span the change
        ([(512, 0, 2), (512, 1, 5), (128, 1, 4), (128, 4, 6), (512, 5, 6)], 1152),
        # narrow long lives must not land in the middle of what a wide map needs
        ([(64, 0, 3), (128, 1, 6), (64, 2, 8), (192, 4, 5), (256, 7, 8), (64, 5, 8)], 448),
    ],
)
def test_known_lifetimes_get_the_known_arena(lives: list[tuple[int, int, int]], total: int) -> None:
    buffers = {str(i): Lifetime(*life) for i, life in enumerate(lives)}
    assert allocate(buffers)[1] == total == lower_bound(buffers)


@pytest.mark.parametrize("seed", range(40))
def test_random_lives_need_hardly_more_than_the_bound(seed: int) -> None:
    rng = random.Random(seed)
    buffers = {}
    for i in range(rng.randrange(5, 120)):
        first = rng.randrange(50)
        length = rng.choice((0, 1, 1, 2, 3, 20))
        buffers[str(i)] = Lifetime(rng.randrange(1, 5000), first, first + length)
    assert allocate(buffers)[1] <= 1.05 * lower_bound(buffers)


def test_the_same_buffers_in_any_order_get_the_same_places() -> None:
    rng = random.Random(1)
    names = [str(i) for i in range(60)]
    lives = {n: Lifetime(rng.randrange(1, 5000), a := rng.randrange(20), a + 2) for n in names}
    first = allocate(lives)
    rng.shuffle(names)
    assert allocate({n: lives[n] for n in names}) == first


@pytest.mark.parametrize("over", [0, 64])
def test_the_search_finds_every_packing_that_trying_all_orders_finds(over: int) -> None:
    """Against the slow truth on seven buffers: the least over all orders of first fit."""
    for seed in range(30):
        rng = random.Random(seed)
        spans = [(a := rng.randrange(6), a + rng.randrange(3)) for _ in range(7)]
        sizes = [64 * rng.randrange(1, 8) for _ in spans]
        least = min(first_fit(sizes, spans, order) for order in permutations(range(7)))
        stacking = Stacking(sizes, spans)
        assert stacking.within(least + over, 100_000) is not None
        assert stacking.within(least - 64, 100_000) is None


def first_fit(sizes: list[int], spans: list[tuple[int, int]], order: tuple[int, ...]) -> int:
    placed: dict[int, int] = {}
    for b in order:
        others = [o for o in placed if spans[o][0] <= spans[b][1] and spans[b][0] <= spans[o][1]]
        at = 0
        for o in sorted(others, key=placed.__getitem__):
            if at + sizes[b] > placed[o]:
                at = max(at, placed[o] + sizes[o])
            else:
                break
        placed[b] = at
    return max(at + sizes[b] for b, at in placed.items())


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
