"""Spans: estimates of all runs that end with a layer, grown one layer at a time.

A run costs the array cycles of all parts with the rows that move up, and the loads, stores and weights that
remain; its weights stay in SRAM. Maps that are `kept` lie in SRAM, the others outside until they roll.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from edgeq.compiler.npu.parts import Moved, Parts
from edgeq.compiler.npu.rolling import Rolling
from edgeq.compiler.npu.tile import align

LONGEST = 24  # layers of a run


@dataclass(frozen=True, slots=True)
class Span:
    """A run from a first layer: SRAM with the kept maps beside it, and cycles."""

    first: int
    bytes: int
    cycles: int


@dataclass(slots=True)
class _Sum:
    """What a run costs so far."""

    busy: int = 0
    load: int = 0
    store: int = 0
    weights: int = 0
    dram: int = 0
    bytes: int = 0

    def loads(self, moved: Moved, times: int) -> None:
        """Add transfers, or take them back where `times` is below 0."""
        self.load += times * moved.cycles
        self._move(moved, times)

    def stores(self, moved: Moved, times: int) -> None:
        self.store += times * moved.cycles
        self._move(moved, times)

    def _move(self, moved: Moved, times: int) -> None:
        self.dram += times * moved.dram
        self.bytes += moved.bytes if times > 0 else -moved.bytes

    @property
    def cycles(self) -> int:
        return max(self.busy, self.load, self.store, self.weights, self.dram)


class Spans:
    """All runs of a program beside the maps kept in SRAM."""

    def __init__(self, parts: Parts, rolling: Rolling, kept: frozenset[str]) -> None:
        self.parts, self.rolling, self.kept = parts, rolling, kept
        self.flow, self.maps = parts.flow, rolling.maps
        self.ending = cache(self._ending)
        self.room = 2 * parts.target.sram_bytes  # no run larger is looked at

    def _ending(self, last: int, rows: int) -> list[Span]:
        """Runs of at least two layers that end with a layer, in stripes of `rows`."""
        parts, flow, total, found = self.parts, self.flow, _Sum(), []
        lowest = max((k + 1 for k, at in flow.conflicts if at <= last), default=0)
        inner: set[str] = set()
        for first in range(last, max(lowest, last - LONGEST + 1) - 1, -1):
            if flow.height[first] == 1:
                break
            times = -(-flow.height[first] // rows)
            held, fetch = parts.weights(first)
            total.busy += times * parts.busy(first, rows)
            total.weights, total.dram = total.weights + fetch, total.dram + fetch
            total.bytes += held
            for root, moved in parts.loads(first, rows):
                if root not in self.kept:
                    total.loads(moved, times)
            out = parts.jobs[first].command.out.root
            if out not in self.kept:
                total.stores(parts.store(first, rows), times)
            life = self.maps[out]
            if first == life.first and life.last <= last and out in self.rolling.rows:
                self._roll(out, rows, total)
                inner.add(out)
            if total.bytes > self.room:
                break
            if inner:
                size = total.bytes + self._beside(first, last, inner)
                found.append(Span(first, size, total.cycles))
        return found

    def _roll(self, name: str, rows: int, total: _Sum) -> None:
        """A map is all inside: it is not moved any more, it rolls."""
        parts, flow = self.parts, self.flow
        for k in sorted(set(flow.writers[name] + flow.readers[name])):
            times = -(-flow.height[k] // rows)
            if name in self.kept:
                break
            if flow.commands[k].out.root == name:
                total.stores(parts.store(k, rows), -times)
            for root, moved in parts.loads(k, rows):
                if root == name:
                    total.loads(moved, -times)
        held, cycles = self.rolling.cost(name, rows)
        total.bytes += held
        total.busy += cycles

    def _beside(self, first: int, last: int, inner: set[str]) -> int:
        """Bytes of the kept maps that live during a run."""
        return sum(
            align(life.size)
            for name, life in self.maps.items()
            if name in self.kept and name not in inner and life.first <= last and life.last >= first
        )
