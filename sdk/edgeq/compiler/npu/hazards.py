"""Hazards: which command must wait for which, as tokens between the queues of a core.

Two commands conflict when their bytes overlap and one of them writes. A wait is declared only where
nothing else already orders the two: queues run in order, and what a waited-for command has itself waited
for is known (vector clocks: Mattern, 1989). Every declared wait is therefore needed. Cores order
each other by SYNC alone: to a core it looks like a write to all of the memory outside.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeq.compiler.npu.price import reach
from edgeq.compiler.npu.schedule import Step
from edgeq.compiler.views import View
from edgeq.runtime import isa

QUEUES = len(isa.QUEUES)
EVERYTHING = 1 << 62
Access = tuple[str, int, int]  # memory, first byte, end


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a command takes before it starts and gives when it ends: masks of 16 bits."""

    wait: int
    signal: int


def token(source: int, target: int) -> int:
    """The bit of tokens from queue `source` to queue `target`."""
    return 1 << (QUEUES * source + target)


def declare(steps: Sequence[Step], places: Mapping[str, tuple[str, int]]) -> list[Tokens]:
    """Tokens for every step, given the memory and offset of every root."""
    waits, signals = [0] * len(steps), [0] * len(steps)
    ledgers: dict[str, _Ledger] = {}
    queues = [(step.core, isa.QUEUES[step.queue]) for step in steps]
    clocks: list[dict[tuple[int, int], int]] = []  # what is over when a step is over
    known: dict[tuple[int, int], dict[tuple[int, int], int]] = {}
    for i, step in enumerate(steps):
        mine = queues[i]
        before: set[int] = set()
        for memory, low, high in reads(step, places):
            ledger = ledgers.setdefault(f"{memory} of {step.core}", _Ledger())
            before |= ledger.read(low, high, i, mine)
        for memory, low, high in writes(step, places):
            ledger = ledgers.setdefault(f"{memory} of {step.core}", _Ledger())
            before |= ledger.write(low, high, i)
        clock = known.setdefault(mine, {})
        for j in sorted(before, reverse=True):
            theirs = queues[j]
            if theirs == mine or clock.get(theirs, -1) >= j:
                continue
            bit = token(theirs[1], mine[1])
            waits[i] |= bit
            signals[j] |= bit
            for queue, at in clocks[j].items():
                clock[queue] = max(clock.get(queue, -1), at)
        clock[mine] = i
        clocks.append(dict(clock))
    return [Tokens(w, s) for w, s in zip(waits, signals, strict=True)]


def reads(step: Step, places: Mapping[str, tuple[str, int]]) -> list[Access]:
    return [_access(v, places) for v in step.command.ins if not v.constant]


def writes(step: Step, places: Mapping[str, tuple[str, int]]) -> list[Access]:
    if step.command.opcode == "SYNC":  # behind it lies what the other cores have written
        return [("arena", 0, EVERYTHING)]
    return [_access(step.command.out, places)]


def _access(view: View, places: Mapping[str, tuple[str, int]]) -> Access:
    memory, offset = places[view.root]
    low, high = reach(view)
    return memory, offset + low, offset + high


class _Ledger:
    """Who wrote and read each range of a memory last."""

    def __init__(self) -> None:
        self.starts: list[int] = [0]
        self.last: list[tuple[int, dict[tuple[int, int], int]]] = [(-1, {})]

    def read(self, low: int, high: int, at: int, queue: tuple[int, int]) -> set[int]:
        found = set()
        for k in range(*self._split(low, high)):
            writer, readers = self.last[k]
            if writer >= 0:
                found.add(writer)
            readers[queue] = at
        return found

    def write(self, low: int, high: int, at: int) -> set[int]:
        a, b = self._split(low, high)
        found = set()
        for writer, readers in self.last[a:b]:
            if writer >= 0:
                found.add(writer)
            found.update(readers.values())
        self.starts[a:b], self.last[a:b] = [low], [(at, {})]
        found.discard(at)  # a command may write what it reads
        return found

    def _split(self, low: int, high: int) -> tuple[int, int]:
        """Cut the ranges at `low` and `high`; the indices of those between."""
        for edge in (low, high):
            k = bisect_left(self.starts, edge)
            if k == len(self.starts) or self.starts[k] != edge:
                writer, readers = self.last[k - 1]
                self.starts.insert(k, edge)
                self.last.insert(k, (writer, dict(readers)))
        return bisect_left(self.starts, low), bisect_left(self.starts, high)
