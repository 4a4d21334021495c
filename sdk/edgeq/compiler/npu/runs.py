"""Runs: which layers become a cascade, in stripes of how many rows, and which keep their weights.

A dynamic program over the layers splits them into single layers and runs, by estimates of SRAM and cycles.
Each run then gets the stripes, the slack in its buffers and the resident weights that its room allows and
that cost the fewest cycles: higher stripes move fewer rows and fetch weights less often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.npu.cascade import Cascade, Shift, inner_maps, least_rows, unroll
from edgeq.compiler.npu.parts import Parts
from edgeq.compiler.npu.price import shift
from edgeq.compiler.npu.rolling import Rolling
from edgeq.compiler.npu.rows import Flow
from edgeq.compiler.npu.spans import Spans
from edgeq.compiler.npu.tile import Job, Tiling, align, least_bytes
from edgeq.runtime.target import Target

LONGEST = 48  # layers of a run
HEIGHTS = (1, 2, 4, 8, 16, 32)
SLACKS = (0, 1, 2, 4)  # stripes of room behind a window, so that its rows move less often


class Runs:
    """Chooses cascades for a list of jobs."""

    def __init__(self, jobs: Sequence[Job], maps: Mapping[str, Lifetime], target: Target) -> None:
        self.jobs, self.maps, self.target = jobs, maps, target
        self.flow = Flow([job.command for job in jobs], maps)
        self.parts = Parts(self.flow, jobs, target)
        self.rolling = Rolling(self.flow, maps, target)
        self._spans = cache(lambda kept: Spans(self.parts, self.rolling, kept))
        self._least_rows = cache(self._find_rows)
        self._memo: dict[Any, tuple[dict[int, int], int, int]] = {}

    @cached_property
    def least(self) -> int:
        """SRAM that the layers need at least, as whole maps or in the lowest stripes."""
        best = [0]
        for last in range(len(self.jobs)):
            best.append(min(max(best[first], need) for first, need in self._needs[last]))
        return best[-1]

    def inside(self, budget: int) -> tuple[Cascade, ...] | None:
        """Cascades so that all maps lie in a budget of SRAM, or None when nothing fits."""
        whole = frozenset(self.maps)
        alone = [
            self._work[at] if need[0][1] <= budget else None for at, need in enumerate(self._needs)
        ]
        return self._choose(budget, whole, alone, streamed=True)

    def outside(
        self, budget: int, kept: frozenset[str], tilings: Sequence[Tiling]
    ) -> tuple[Cascade, ...]:
        """Cascades that spare traffic to the memory outside, beside maps that are kept in SRAM."""
        return self._choose(budget, kept, [one.cycles for one in tilings], streamed=False) or ()

    def _choose(
        self, budget: int, kept: frozenset[str], alone: Sequence[int | None], *, streamed: bool
    ) -> tuple[Cascade, ...] | None:
        """The way through the layers with the fewest cycles, given those of each layer alone.

        `streamed` allows runs that fetch their weights for every stripe, where nothing else fits.
        """
        spans = self._spans(kept)
        best: list[tuple[int, int, int] | None] = [(0, 0, 0)]  # cycles, first of the last run, rows
        for last, single in enumerate(alone):
            ways = [] if single is None else [(single, last, 0)]
            for rows in (h for h in HEIGHTS if 2 * h <= self.flow.height[last]):
                found = spans.ending(last, rows)
                ways += [(one.cycles, one.first, rows) for one in found if one.bytes <= budget]
            if streamed:  # whole maps are never slower
                height, work = self.flow.height[last], self._work
                ways = [(max(c, sum(work[a : last + 1]) + (r > 0)), a, r) for c, a, r in ways]
                ways += [
                    (height * sum(work[first : last + 1]) + 1, first, 1)
                    for first, need in self._needs[last][1:]
                    if need <= budget
                ]
            reached = [(b[0] + c, a, r) for c, a, r in ways if (b := best[a]) is not None]
            best.append(min(reached, default=None))
        cascades: list[Cascade] = []
        end = len(self.jobs)
        while end:
            chosen = best[end]
            if chosen is None:
                return None
            if chosen[2]:
                made = self._shape(chosen[1], end - 1, budget, kept, chosen[2])
                if made is not None:
                    cascades.append(made)
                elif streamed:
                    return None
            end = chosen[1]
        return tuple(reversed(cascades))

    @cached_property
    def _work(self) -> list[int]:
        return [
            max(job.exec_cycles, job.weight_load.dram_cycles if job.weighted else 0)
            for job in self.jobs
        ]

    @cached_property
    def _needs(self) -> list[list[tuple[int, int]]]:
        """For every last layer the first layers of runs that may end there, and the SRAM each needs."""
        ends: dict[int, list[str]] = {}
        begins: dict[int, list[str]] = {}
        for name, life in self.maps.items():
            ends.setdefault(min(life.last, len(self.jobs) - 1), []).append(name)
            begins.setdefault(life.first, []).append(name)
        lowest, out = 0, []
        bars: dict[int, int] = {}
        for k, at in self.flow.conflicts:
            bars[at] = max(bars.get(at, 0), k + 1)
        everything = frozenset(self.maps)
        for last, job in enumerate(self.jobs):
            lowest = max(lowest, bars.get(last, 0))
            whole = sum(align(b.size) for b in self.maps.values() if b.first <= last <= b.last)
            rows = [(last, whole + least_bytes(job, everything))]
            rolling, chunk, fixed = 0, self._chunk(last), self.parts.fixed(last)
            if self.flow.height[last] > 1:
                for first in range(last - 1, max(lowest, last - LONGEST + 1, 0) - 1, -1):
                    whole += sum(align(self.maps[n].size) for n in ends.get(first, ()))
                    chunk, fixed = max(chunk, self._chunk(first)), fixed + self.parts.fixed(first)
                    if first == last - 1:
                        inside = [n for at in (first, last) for n in begins.get(at, ())]
                    else:
                        inside = begins.get(first, [])
                    for name in inside:
                        if self.maps[name].last <= last and name in self.rolling.rows:
                            whole -= align(self.maps[name].size)
                            rolling += self.rolling.bytes(name, self.rolling.rows[name])
                    rows.append((first, whole + rolling + chunk + fixed))
            out.append(rows)
        return out

    def _chunk(self, at: int) -> int:
        """The least bytes of a layer's weights at a time."""
        job = self.jobs[at]
        return job.chunk_bytes(job.command, max(job.chunk_counts(1 << 62)))

    def _shape(
        self, first: int, last: int, budget: int, kept: frozenset[str], near: int
    ) -> Cascade | None:
        """The quickest stripes of a run within the budget, of `near` rows or so."""
        inner = inner_maps(self.flow, self.maps, first, last)
        whole = sum(
            align(b.size) for n, b in self.maps.items()
            if b.first <= last and b.last >= first and n not in inner and n in kept
        )  # fmt: skip
        inside = kept | set(inner)
        best: Cascade | None = None
        for rows in range(
            max(near // 2, 1), min(2 * near, max(self.flow.height[last] // 2, 1)) + 1
        ):
            least = self._least_rows(first, last, rows)
            staged = self._staged(first, last, rows, inside)
            for slack in SLACKS:
                rolling = {n: r + slack * rows if r > rows else r for n, r in least.items()}
                held = staged + sum(self.rolling.bytes(n, r) for n, r in rolling.items())
                if whole + held > budget:
                    break
                run = Cascade(first, last, rows, rolling, bytes=held)
                made = self._weights(run, budget - whole - held, inside)
                if made is not None and (best is None or made.cycles < best.cycles):
                    best = made
                if rolling == least and slack:
                    break
        return best

    def _staged(self, first: int, last: int, rows: int, inside: frozenset[str]) -> int:
        """Bytes of constant operands and of the buffers for what comes from outside and goes there."""
        held = 0
        for at in range(first, last + 1):
            high = min(rows, self.flow.height[at])
            loads = self.parts.loads(at, high)
            held += self.parts.fixed(at)
            held += sum(moved.bytes for root, moved in loads if root not in inside)
            if self.flow.commands[at].out.root not in inside:
                held += self.parts.store(at, high).bytes
        return held

    def _stripes(self, run: Cascade, inside: frozenset[str]) -> tuple[dict[int, int], int, int]:
        """How often each layer of a run is started, cycles of all parts and shifts, cycles of transfers."""
        times: dict[int, int] = {}
        busy = load = store = dram = 0
        for event in unroll(self.flow, run):
            if isinstance(event, Shift):
                moved = (event.high - event.low) * self.flow.pitch[event.root]
                busy += shift(self.target, moved).cycles
                continue
            at, rows = event.at, event.stop - event.start
            times[at] = times.get(at, 0) + 1
            busy += self.parts.busy(at, rows)
            for root, one in self.parts.loads(at, rows):
                if root not in inside:
                    load, dram = load + one.cycles, dram + one.dram
            if self.flow.commands[at].out.root not in inside:
                one = self.parts.store(at, rows)
                store, dram = store + one.cycles, dram + one.dram
        return times, max(busy, load, store), dram

    def _weights(self, run: Cascade, room: int, inside: frozenset[str]) -> Cascade | None:
        """Keep the weights that are fetched most for their bytes, as far as there is room; None: no room."""
        key = run.first, run.last, run.rows, tuple(run.rolling.values()), inside
        if key not in self._memo:
            self._memo[key] = self._stripes(run, inside)
        times, busy, dram = self._memo[key]
        layers = [at for at in range(run.first, run.last + 1) if self.jobs[at].weighted]
        price = {at: self.jobs[at].weight_load.cycles for at in layers}
        whole = {at: align(len(self.jobs[at].command.constants)) for at in layers}
        chunk = {at: self._chunk(at) for at in layers}
        resident: set[int] = set()
        for at in sorted(layers, key=lambda at: (-times[at] * price[at] / whole[at], at)):
            most = max((chunk[k] for k in layers if k not in resident and k != at), default=0)
            if sum(whole[k] for k in resident) + whole[at] + most <= room:
                resident.add(at)
        kept = sum(whole[k] for k in resident)
        streamed = [at for at in layers if at not in resident]
        if streamed and kept + max(chunk[k] for k in streamed) > room:
            return None
        if kept > room:
            return None
        chunks, slots, ring = {}, 1, 0
        if streamed:
            slots = 2 if 2 * max(chunk[k] for k in streamed) <= room - kept else 1
            for at in streamed:
                job = self.jobs[at]
                for count in job.chunk_counts(1 << 62):
                    size = job.chunk_bytes(job.command, count)
                    if slots * size <= room - kept:
                        chunks[at], ring = count, max(ring, slots * size)
                        break
        fetched = sum(price[at] * (1 if at in resident else times[at]) for at in layers)
        busy += sum(times[at] * (n - 1) * self.target.issue_cycles for at, n in chunks.items())
        beside = slots == 2 or not streamed
        cycles = max(busy, dram + fetched) if beside else max(busy + fetched, dram + fetched)
        return replace(
            run, resident=frozenset(resident), chunks=chunks, slots=slots,
            bytes=run.bytes + kept + ring, cycles=cycles,
        )  # fmt: skip

    def _find_rows(self, first: int, last: int, rows: int) -> dict[str, int]:
        return least_rows(
            self.flow, first, last, rows, inner_maps(self.flow, self.maps, first, last)
        )
