"""Runs: which layers become a cascade, in stripes of how many rows, and which keep their weights.

A dynamic program over the layers splits them into single layers and runs so that everything fits a
budget; of the splits that fit it takes the one that does least work in stripes. Each run then gets the
stripes and resident weights that its room allows and that cost the fewest cycles: higher stripes move
fewer rows and fetch weights less often.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, cached_property
from typing import Any

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.npu.cascade import Cascade, Shift, inner_maps, least_rows, unroll
from edgeq.compiler.npu.price import execute, nbytes, shift
from edgeq.compiler.npu.rows import Flow
from edgeq.compiler.npu.tile import Job, align, any_cut, least_bytes
from edgeq.runtime import isa
from edgeq.runtime.target import Target

LONGEST = 48  # layers of a run
HEIGHTS = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 48, 64)
SLACKS = (0, 1, 2, 4)  # stripes of room behind a window, so that its rows move less often
SAMPLE = 24  # rows of the last layer after which buffers have grown


class Runs:
    """Chooses cascades for a list of jobs whose maps may live in SRAM alone."""

    def __init__(self, jobs: Sequence[Job], maps: Mapping[str, Lifetime], target: Target) -> None:
        self.jobs, self.maps, self.target = jobs, maps, target
        self.flow = Flow([job.command for job in jobs], maps)
        self._part_cycles = cache(self._price_part)
        self._least_rows = cache(self._find_rows)
        self._memo: dict[Any, tuple[dict[int, int], int]] = {}

    @cached_property
    def least(self) -> int:
        """SRAM that the layers need at least, as whole maps or in the lowest stripes."""
        best = [0]
        for last in range(len(self.jobs)):
            best.append(min(max(best[first], need) for first, need in self._needs[last]))
        return best[-1]

    def choose(self, budget: int) -> tuple[Cascade, ...] | None:
        """Cascades within a budget, or None when nothing fits."""
        best: list[tuple[int, int] | None] = [(0, 0)]
        for last in range(len(self.jobs)):
            found = []
            for first, need in self._needs[last]:
                before = best[first]
                if need <= budget and before is not None:
                    work = 1 + sum(self._work[first : last + 1]) if first < last else 0
                    found.append((before[0] + work, first))
            best.append(min(found) if found else None)
        cascades: list[Cascade] = []
        end = len(self.jobs)
        while end:
            chosen = best[end]
            if chosen is None:
                return None
            if end - chosen[1] > 1:
                made = self._shape(chosen[1], end - 1, budget)
                if made is None:
                    return None
                cascades.append(made)
            end = chosen[1]
        return tuple(reversed(cascades))

    @cached_property
    def _work(self) -> list[int]:
        return [
            job.exec_cycles + (job.weight_load.dram_cycles if job.weighted else 0)
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
            rolling, chunk, fixed = 0, self._chunk(last), self._fixed(last)
            if self.flow.height[last] > 1:
                for first in range(last - 1, max(lowest, last - LONGEST + 1, 0) - 1, -1):
                    whole += sum(align(self.maps[n].size) for n in ends.get(first, ()))
                    chunk, fixed = max(chunk, self._chunk(first)), fixed + self._fixed(first)
                    if first == last - 1:
                        inside = [n for at in (first, last) for n in begins.get(at, ())]
                    else:
                        inside = begins.get(first, [])
                    for name in inside:
                        if self.maps[name].last <= last and self._rolling(name):
                            whole -= align(self.maps[name].size)
                            rolling += self._rolling(name)
                    rows.append((first, whole + rolling + chunk + fixed))
            out.append(rows)
        return out

    def _rolling(self, name: str) -> int:
        """Bytes of a map's rolling buffer in the lowest stripes; 0 where it cannot roll."""
        return self._rolling_bytes.get(name, 0)

    @cached_property
    def _rolling_bytes(self) -> dict[str, int]:
        out = {}
        for name, life in self.maps.items():
            if name not in self.flow.pitch or name not in self.flow.writers:
                continue
            if not 0 < life.last - life.first < LONGEST or life.last >= len(self.jobs):
                continue
            rows = least_rows(self.flow, life.first, life.last, 1, [name], SAMPLE)
            out[name] = self.row_bytes(name, rows[name])
        return out

    def row_bytes(self, name: str, rows: int) -> int:
        view = self.flow.commands[self.flow.writers[name][0]].out
        return align(rows * self.flow.pitch[name] * isa.DTYPE_BYTES[view.dtype])

    def _chunk(self, at: int) -> int:
        """The least bytes of a layer's weights at a time."""
        job = self.jobs[at]
        return job.chunk_bytes(job.command, max(job.chunk_counts(1 << 62)))

    def _fixed(self, at: int) -> int:
        """Bytes of constant operands."""
        return sum(align(nbytes(x)) for x in self.jobs[at].command.ins if x.constant)

    def _shape(self, first: int, last: int, budget: int) -> Cascade | None:
        """The quickest stripes of a run within the budget."""
        inner = inner_maps(self.flow, self.maps, first, last)
        whole = sum(
            align(b.size) for n, b in self.maps.items()
            if b.first <= last and b.last >= first and n not in inner
        )  # fmt: skip
        held = whole + sum(self._fixed(at) for at in range(first, last + 1))
        best: Cascade | None = None
        for rows in (h for h in HEIGHTS if h == 1 or 2 * h <= self.flow.height[last]):
            least = self._least_rows(first, last, rows)
            for slack in SLACKS:
                rolling = {n: r + slack * rows if r > rows else r for n, r in least.items()}
                buffers = sum(self.row_bytes(n, r) for n, r in rolling.items())
                if held + buffers > budget:
                    break
                run = Cascade(first, last, rows, rolling, bytes=held - whole + buffers)
                made = self._weights(run, budget - held - buffers)
                if made is not None and (best is None or made.cycles < best.cycles):
                    best = made
                if rolling == least and slack:
                    break
        return best

    def _stripes(self, run: Cascade) -> tuple[dict[int, int], int]:
        """How often each layer of a run is started, and the cycles of all its parts and shifts."""
        times: dict[int, int] = {}
        busy = 0
        for event in unroll(self.flow, run):
            if isinstance(event, Shift):
                moved = (event.high - event.low) * self.flow.pitch[event.root]
                busy += shift(self.target, moved).cycles
            else:
                times[event.at] = times.get(event.at, 0) + 1
                busy += self._part_cycles(event.at, event.stop - event.start)
        return times, busy

    def _weights(self, run: Cascade, room: int) -> Cascade | None:
        """Keep the weights that are fetched most for their bytes, as far as there is room; None: no room."""
        key = run.first, run.last, run.rows, tuple(run.rolling.values())
        if key not in self._memo:
            self._memo[key] = self._stripes(run)
        times, busy = self._memo[key]
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
        cycles = max(busy, fetched) if slots == 2 or not streamed else busy + fetched
        return replace(
            run, resident=frozenset(resident), chunks=chunks, slots=slots,
            bytes=run.bytes + kept + ring, cycles=cycles,
        )  # fmt: skip

    def _find_rows(self, first: int, last: int, rows: int) -> dict[str, int]:
        return least_rows(
            self.flow, first, last, rows, inner_maps(self.flow, self.maps, first, last)
        )

    def _price_part(self, at: int, rows: int) -> int:
        c, axis = self.jobs[at].command, self.flow.axis[at]
        if self.flow.height[at] == 1:
            return self.jobs[at].exec_cycles
        start = (self.flow.height[at] - rows) // 2
        part = any_cut(c, axis, start, start + rows)
        return 0 if c.opcode == "COPY" else execute(self.target, part).cycles
