"""Give every root buffer an arena offset so that buffers alive together never overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeq.compiler.stacking import Stacking

ALIGN = 64
SHARES = (0, 1, 2, 4, 7)  # per cent above the lower bound that are searched
SEARCH_WORK = (
    100_000_000  # pairs of buffers and times that a search may look at, about half a second
)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `size` bytes alive from command `first` to command `last`, both included."""

    size: int
    first: int
    last: int


def allocate(buffers: Mapping[str, Lifetime]) -> tuple[dict[str, int], int]:
    """Place buffers so that those alive together never overlap; returns (offset in bytes by name, arena size).

    Greedily, each at the lowest offset free over its lifetime, in the best of several orders: by size
    (Pisarchyk and Lee, 2020, 2001.03288, §4.3), length, area and start of life. Where that misses the lower
    bound, a search with backtracking looks for the bound itself, then for a little more and more.
    """
    if not buffers:
        return {}, 0
    bound, near = lower_bound(buffers), _neighbours(buffers)
    best: tuple[dict[str, int], int] | None = None
    for key in (
        lambda n: (-buffers[n].size, buffers[n].first, n),
        lambda n: (-_length(buffers[n]), -buffers[n].size, n),
        lambda n: (-_length(buffers[n]) * buffers[n].size, n),
        lambda n: (buffers[n].first, -buffers[n].size, n),
    ):
        made = _place(buffers, sorted(buffers, key=key), near)
        if best is None or made[1] < best[1]:
            best = made
        if best[1] <= bound:
            return best
    assert best is not None, "there are orders"
    return _search(buffers, bound, best)


def _search(
    buffers: Mapping[str, Lifetime], bound: int, best: tuple[dict[str, int], int]
) -> tuple[dict[str, int], int]:
    """What backtracking finds below `best` in a fixed number of steps."""
    names = sorted(buffers)
    lives = [buffers[n] for n in names]
    stacking = Stacking([_round(b.size) for b in lives], [(b.first, b.last) for b in lives])
    for share in SHARES:
        capacity = _round(bound + bound * share // 100)
        if capacity >= best[1]:
            break
        found = stacking.within(capacity, SEARCH_WORK // stacking.alive.size)
        if found is not None:
            total = max(at + _round(b.size) for at, b in zip(found, lives, strict=True))
            return dict(zip(names, found, strict=True)), total
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
