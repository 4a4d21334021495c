"""Residency: which feature maps stay in SRAM from their producer to their last reader, and which tiling
each layer gets in the room that is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.command import Command
from edgeq.compiler.npu.cascade import Cascade, stretched
from edgeq.compiler.npu.runs import Runs
from edgeq.compiler.npu.tile import Job, Tiling, align, best_tiling, least_bytes
from edgeq.errors import CompileError
from edgeq.runtime.target import Target

WORK_SHARE = 4  # a layer's weights may claim one part in so many of the SRAM for themselves


@dataclass(frozen=True, slots=True)
class Plan:
    """Feature maps in SRAM, the runs done as cascades, and the tiling of every other layer.

    `lives` are the maps that are whole: those inside a cascade roll, those at its ends live through it.
    """

    kept: frozenset[str]
    tilings: tuple[Tiling, ...]
    lives: Mapping[str, Lifetime]
    cascades: tuple[Cascade, ...] = ()
    bytes: int = 0  # of SRAM at once, before the buffers have places

    @property
    def cycles(self) -> int:
        """The estimate."""
        alone = set(range(len(self.tilings))) - self.covered().keys()
        runs = sum(one.cycles for one in self.cascades)
        return runs + sum(self.tilings[at].cycles for at in alone)

    def __str__(self) -> str:
        rows = [f"{at:4} {tiling}" for at, tiling in enumerate(self.tilings)]
        runs = [f"cascade {one}" for one in self.cascades]
        return "\n".join([f"kept: {', '.join(sorted(self.kept)) or 'nothing'}", *rows, *runs])

    def covered(self) -> dict[int, Cascade]:
        """The cascade of every layer that is in one."""
        return {at: one for one in self.cascades for at in range(one.first, one.last + 1)}


class Planner:
    """Plans a list of commands for a target; remembers tilings between attempts."""

    def __init__(
        self,
        commands: Sequence[Command],
        maps: Mapping[str, Lifetime],
        edges: frozenset[str],
        target: Target,
        *,
        cores: int = 1,
    ) -> None:
        self.jobs = [Job(c, target, cores) for c in commands]
        self.maps, self.edges, self.target, self.cores = maps, edges, target, cores
        self._memo: dict[tuple[int, frozenset[str], int, bool], Tiling | None] = {}
        self._floor = [self._least(job) for job in self.jobs]

    @cached_property
    def runs(self) -> Runs:
        """What may become a cascade."""
        return Runs(self.jobs, self.maps, self.target)

    def cascaded(self, budget: int) -> Plan | None:
        """Maps in SRAM alone, with cascades where the whole maps would not fit; None when nothing does."""
        cascades = self.runs.inside(budget)
        if cascades is None:
            return None
        lives, tilings, most = stretched(self.maps, cascades), [], 0
        whole = frozenset(lives)
        inside = {at: one for one in cascades for at in range(one.first, one.last + 1)}
        for at in range(len(self.jobs)):
            used = sum(align(b.size) for b in lives.values() if b.first <= at <= b.last)
            tiling = Tiling() if at in inside else self.tiling(at, whole, budget - used, False)
            if tiling is None:
                return None
            tilings.append(tiling)
            most = max(most, used + (inside[at].bytes if at in inside else tiling.bytes))
        return Plan(whole, tuple(tilings), lives, cascades, most)

    def saving(self, base: Plan, budget: int) -> Plan | None:
        """A plan's maps and tilings, with cascades where they save cycles; None where none does."""
        cascades = self.runs.outside(budget, base.kept, base.tilings)
        if not cascades:
            return None
        lives = stretched(self.maps, cascades)
        return Plan(base.kept & lives.keys(), base.tilings, lives, cascades)

    def plan(self, budget: int, *, size: bool = False, keep: bool = True) -> Plan:
        """Fill `budget` bytes of SRAM: with the smallest tiles for `size`, with no maps between layers
        without `keep` where they may leave. Raises CompileError naming the layer that cannot fit."""
        everything = not self.target.dram_writable
        kept = set(self.maps) if everything else self._choose(budget, keep=keep and not size)
        used = [0] * (len(self.jobs) + 1)
        for name in kept:
            self._add(used, name, 1)
        tilings: list[Tiling] = []
        for at in range(len(self.jobs)):
            tiling = self.tiling(at, frozenset(kept), budget - used[at], size)
            while tiling is None:
                alive = [n for n in kept if self.maps[n].first <= at <= self.maps[n].last]
                if everything or not alive:
                    raise self._too_small(at)
                worst = max(alive, key=lambda n: (self.maps[n].size, n))
                kept.remove(worst)
                self._add(used, worst, -1)
                tiling = self.tiling(at, frozenset(kept), budget - used[at], size)
            tilings.append(tiling)
        whole = frozenset(kept)  # maps put out late change earlier layers too
        for at in range(len(self.jobs)):
            again = self.tiling(at, whole, budget - used[at], size)
            if again is None:
                raise self._too_small(at)
            tilings[at] = again
        return Plan(whole, tuple(tilings), self.maps)

    def _choose(self, budget: int, *, keep: bool) -> set[str]:
        """Short-lived and small maps first, as long as every layer keeps room for its tiles."""
        used = [0] * (len(self.jobs) + 1)
        kept: set[str] = set()
        if not keep or self.cores > 1:  # cores meet in the memory outside
            return kept
        order = sorted(
            self.maps,
            key=lambda n: (self.maps[n].size * (self.maps[n].last - self.maps[n].first + 1), n),
        )
        for name in order:
            life = self.maps[name]
            span = range(life.first, min(life.last + 1, len(self.jobs)))
            if name not in self.edges and all(
                used[at] + align(life.size) + self._floor[at] <= budget for at in span
            ):
                kept.add(name)
                self._add(used, name, 1)
        return kept

    def _add(self, used: list[int], name: str, sign: int) -> None:
        life = self.maps[name]
        for at in range(life.first, min(life.last + 1, len(used))):
            used[at] += sign * align(life.size)

    def _least(self, job: Job) -> int:
        """Room that a layer asks for beside the maps: its smallest tiles, and its weights within reason."""
        least = least_bytes(job, frozenset() if self.target.dram_writable else frozenset(self.maps))
        weights = align(len(job.command.constants)) if job.weighted else 0
        return max(least, min(weights, self.target.sram_bytes // WORK_SHARE))

    def tiling(self, at: int, kept: frozenset[str], room: int, size: bool) -> Tiling | None:
        job = self.jobs[at]
        mine = frozenset(x.root for x in (*job.command.ins, job.command.out) if x.root in kept)
        key = at, mine, room, size
        if key not in self._memo:
            self._memo[key] = best_tiling(job, mine, room, size=size)
        return self._memo[key]

    def too_small(self, need: int, at: int | None = None) -> CompileError:
        """Say what would fit: `need` bytes; `at` is the layer that cannot even be cut to that."""
        t = self.target
        kib = -(-need // 1024) * (t.cores if t.sram_shared and t.dataflow != "ublock" else 1)
        c = self.jobs[at].command if at is not None else None
        where = (
            f"node {c.node} ({c.op}): its smallest tile" if c else "its feature maps, in stripes,"
        )
        return CompileError(
            f"{where} must fit the SRAM of {t.name}, {t.sram_bytes // 1024} KiB a core; "
            f"no program needs less than {-(-need // 1024)} KiB. It fits from sram_kib={kib} on."
        )

    def _too_small(self, at: int) -> CompileError:
        inside = frozenset() if self.target.dram_writable else frozenset(self.maps)
        return self.too_small(max(least_bytes(job, inside) for job in self.jobs), at)
