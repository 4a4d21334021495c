"""Give every root buffer an arena offset so that buffers alive together never overlap."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ALIGN = 64


@dataclass(frozen=True, slots=True)
class Lifetime:
    """A buffer of `size` bytes alive from command `first` to command `last`, both included."""

    size: int
    first: int
    last: int


def allocate(buffers: Mapping[str, Lifetime]) -> tuple[dict[str, int], int]:
    """Place buffers greedily by size, each at the lowest offset free over its lifetime.

    Returns (offset in bytes by name, arena size). Pisarchyk and Lee, 2020 (2001.03288), §4.3.
    """
    offsets: dict[str, int] = {}
    order = sorted(buffers, key=lambda n: (-buffers[n].size, buffers[n].first, n))
    for name in order:
        mine = buffers[name]
        taken = sorted(
            (offsets[o], offsets[o] + _round(buffers[o].size))
            for o in offsets
            if buffers[o].first <= mine.last and mine.first <= buffers[o].last
        )
        at = 0
        for start, end in taken:
            if at + mine.size <= start:
                break
            at = max(at, end)
        offsets[name] = at
    total = max((offsets[n] + _round(b.size) for n, b in buffers.items()), default=0)
    return offsets, total


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
