"""Give every root buffer an arena offset so that buffers alive together never overlap."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

ALIGN = 64
CLIMB = 400  # steps of the hill-climb
CLIMB_WORK = 500_000  # pairs of neighbours it may look at


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `size` bytes alive from command `first` to command `last`, both included."""

    size: int
    first: int
    last: int


def allocate(buffers: Mapping[str, Lifetime]) -> tuple[dict[str, int], int]:
    """Place buffers greedily, each at the lowest offset free over its lifetime, in the best of several orders.

    By size first (Pisarchyk and Lee, 2020, 2001.03288, §4.3); where that misses the lower bound, by area,
    length and start of life, then a hill-climb from the best order with a fixed seed. Returns (offset in
    bytes by name, arena size).
    """
    bound = lower_bound(buffers)
    orders = [
        sorted(buffers, key=lambda n: (-buffers[n].size, buffers[n].first, n)),
        sorted(buffers, key=lambda n: (-_length(buffers[n]), -buffers[n].size, n)),
        sorted(buffers, key=lambda n: (-_length(buffers[n]) * buffers[n].size, n)),
        sorted(buffers, key=lambda n: (buffers[n].first, -buffers[n].size, n)),
    ]
    near = _neighbours(buffers) if buffers else {}
    best: tuple[dict[str, int], int] = ({}, 0)
    chosen: list[str] = []
    for order in orders:
        made = _place(buffers, order, near)
        if not chosen or made[1] < best[1]:
            best, chosen = made, order
        if best[1] <= bound:
            return best
    return _climb(buffers, chosen, best, bound, near)


def _climb(
    buffers: Mapping[str, Lifetime],
    order: list[str],
    best: tuple[dict[str, int], int],
    bound: int,
    near: Mapping[str, list[str]],
) -> tuple[dict[str, int], int]:
    """Move buffers that stick out at the top before one of their neighbours; keep what is not worse."""
    rng = random.Random(0)
    for _ in range(min(CLIMB, CLIMB_WORK // max(sum(map(len, near.values())), 1))):
        offsets, total = best
        top = [n for n in order if offsets[n] + _round(buffers[n].size) == total]
        name = rng.choice(top)
        others = near[name] or order
        trial = [n for n in order if n != name]
        trial.insert(trial.index(rng.choice(others)) if others != [name] else 0, name)
        made = _place(buffers, trial, near)
        if made[1] <= total:
            best, order = made, trial
        if best[1] <= bound:
            break
    return best


def _neighbours(buffers: Mapping[str, Lifetime]) -> dict[str, list[str]]:
    """Buffers alive together with each."""
    return {
        n: [o for o, b in buffers.items() if o != n and b.first <= a.last and a.first <= b.last]
        for n, a in buffers.items()
    }


def _place(
    buffers: Mapping[str, Lifetime], order: list[str], near: Mapping[str, list[str]]
) -> tuple[dict[str, int], int]:
    """Each buffer in turn at the lowest offset free over its lifetime."""
    offsets: dict[str, int] = {}
    total = 0
    for name in order:
        size = buffers[name].size
        taken = sorted(
            (offsets[o], offsets[o] + _round(buffers[o].size)) for o in near[name] if o in offsets
        )
        at = 0
        for start, end in taken:
            if at + size <= start:
                break
            at = max(at, end)
        offsets[name] = at
        total = max(total, at + _round(size))
    return offsets, total


def _length(life: Lifetime) -> int:
    return life.last - life.first + 1


def lower_bound(buffers: Mapping[str, Lifetime]) -> int:
    """The most bytes alive at any one command: no arena can be smaller."""
    change: dict[int, int] = {}
    for b in buffers.values():
        change[b.first] = change.get(b.first, 0) + _round(b.size)
        change[b.last + 1] = change.get(b.last + 1, 0) - _round(b.size)
    most = alive = 0
    for at in sorted(change):
        alive += change[at]
        most = max(most, alive)
    return most


def _round(size: int) -> int:
    return -(-size // ALIGN) * ALIGN
