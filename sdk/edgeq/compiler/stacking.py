"""Search for an allocation within a capacity: buffers from the lowest offset upwards, with backtracking.

Every allocation can be pushed down until each buffer lies on the floor or on another; taken by offset it
is then a sequence in which each buffer lies on those before it. The search tries such sequences and leaves
one as soon as the bytes still to come cannot fit above the lowest place left at some time (Moffitt,
"MiniMalloc", ASPLOS 2023, sections 4 and 5: canonical solutions, dominance and section inference).
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array

WORK = 4_000_000  # pairs of buffers and times that a search looks at beyond one step per buffer
MOST = 400  # steps that those may be


class Stacking:
    """Buffers as arrays: sizes, and `alive` of shape (buffers, times)."""

    def __init__(self, sizes: Sequence[int], spans: Sequence[tuple[int, int]]) -> None:
        starts, ends = sorted({a for a, _ in spans}), sorted({b for _, b in spans})
        after = [
            *starts[1:],
            1 << 60,
        ]  # only where something ends before the next begins is it fullest
        times = np.array(
            [
                a
                for a, b in zip(starts, after, strict=True)
                if bisect_left(ends, a) < bisect_left(ends, b)
            ]
        )
        first, last = (np.array([span[i] for span in spans]) for i in (0, 1))
        self.sizes = np.array(sizes, np.int64)
        self.alive = (first[:, None] <= times) & (times <= last[:, None])
        self.meets = self.alive.astype(np.int32) @ self.alive.T.astype(np.int32) > 0
        full = (self.sizes[:, None] * self.alive).sum(0)
        fullest = np.where(self.alive, full, 0).max(1)
        length = last - first + 1
        self.orders = (
            np.lexsort((-self.sizes, -fullest)),
            np.lexsort((-self.sizes,)),
            np.lexsort((-self.sizes * length,)),
            np.lexsort((-self.sizes, -length)),
        )

    def within(self, capacity: int, spare: int | None = None) -> list[int] | None:
        """Offsets that need at most `capacity`, or None when the steps that it takes find none.

        Each of four orders gets a step per buffer and `spare` more, where nothing else is said as many
        as WORK and MOST allow.
        """
        extra = min(MOST, WORK // self.alive.size) if spare is None else spare
        for order in self.orders:
            rank = np.empty(len(order), np.int64)
            rank[order] = np.arange(len(order))
            found = self._descend(capacity, len(order) + extra, rank)
            if found is not None:
                return [int(at) for at in found]
        return None

    def _descend(self, capacity: int, nodes: int, rank: Array) -> Array | None:
        n, big = len(self.sizes), 1 << 60
        offsets = np.full(n, -1, np.int64)
        stack = [self._branches(np.zeros(n, np.int64), offsets, 0, capacity, rank, big)]
        state = [np.zeros(n, np.int64)]
        chosen: list[int] = []
        while stack:
            if not stack[-1]:
                stack.pop()
                state.pop()
                if chosen:
                    offsets[chosen.pop()] = -1
                continue
            nodes -= 1
            if nodes < 0:
                return None
            b, at = stack[-1].pop()
            offsets[b] = at
            chosen.append(b)
            if len(chosen) == n:
                return offsets
            lowest = np.where(self.meets[b], np.maximum(state[-1], at + self.sizes[b]), state[-1])
            state.append(lowest)
            stack.append(self._branches(lowest, offsets, at, capacity, rank, big))
        return None

    def _branches(
        self, lowest: Array, offsets: Array, floor: int, capacity: int, rank: Array, big: int
    ) -> list[tuple[int, int]]:
        """What may come next and where, the most promising last; nothing when all cannot fit any more."""
        left = offsets < 0
        at = np.where(left, np.maximum(lowest, floor), big)
        tops = at + self.sizes
        if (tops[left] > capacity).any():
            return []
        here = self.alive & left[:, None]
        ground = np.where(here, at[:, None], big).min(0)
        rest = (self.sizes[:, None] * here).sum(0)
        if (ground + rest > capacity)[rest > 0].any():
            return []
        open_ = np.flatnonzero(left & (at < tops.min()))
        order = sorted(open_.tolist(), key=lambda b: (-int(at[b]), -int(rank[b])))
        return [(b, int(at[b])) for b in order]
