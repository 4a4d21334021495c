"""Give every root buffer an arena offset so that buffers alive together never overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from edgeq.compiler.stacking import Stacking

ALIGN = 64
SHARES = (0, 1, 2, 3, 5)  # per cent above the lower bound that are searched


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
    """What backtracking finds below `best`: first with buffers of one life side by side, then each alone."""
    lives: dict[tuple[int, int], list[str]] = {}
    for name in sorted(buffers):
        lives.setdefault((buffers[name].first, buffers[name].last), []).append(name)
    groupings = [list(lives.values()), [[name] for name in sorted(buffers)]]
    stackings = [
        Stacking(
            [sum(_round(buffers[n].size) for n in names) for names in groups],
            [(buffers[names[0]].first, buffers[names[0]].last) for names in groups],
        )
        for groups in groupings
    ]
    for share in SHARES:
        capacity = _round(bound + bound * share // 100)
        for groups, stacking in zip(groupings, stackings, strict=True):
            found = stacking.within(capacity) if capacity < best[1] else None
            if found is not None:
                offsets = {}
                for names, at in zip(groups, found, strict=True):
                    for name in names:
                        offsets[name], at = at, at + _round(buffers[name].size)
                return offsets, max(offsets[n] + _round(b.size) for n, b in buffers.items())
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
