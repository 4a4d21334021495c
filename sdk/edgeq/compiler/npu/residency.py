"""Residency: which feature maps stay in SRAM from their producer to their last reader, and which tiling
each layer gets in the room that is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.command import Command
from edgeq.compiler.npu.tile import Job, Tiling, align, best_tiling, least_bytes
from edgeq.errors import CompileError
from edgeq.runtime.target import Target

WORK_SHARE = 4  # a layer's weights may claim one part in so many of the SRAM for themselves


@dataclass(frozen=True, slots=True)
class Plan:
    """Feature maps in SRAM and the tiling of every layer."""

    kept: frozenset[str]
    tilings: tuple[Tiling, ...]

    def __str__(self) -> str:
        rows = [f"{at:4} {tiling}" for at, tiling in enumerate(self.tilings)]
        return "\n".join([f"kept: {', '.join(sorted(self.kept)) or 'nothing'}", *rows])


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

    def plan(self, budget: int, *, size: bool = False) -> Plan:
        """Fill `budget` bytes of SRAM. Raises CompileError naming the layer that cannot fit."""
        everything = not self.target.dram_writable
        kept = set(self.maps) if everything else self._choose(budget, size=size)
        used = [0] * (len(self.jobs) + 1)
        for name in kept:
            self._add(used, name, 1)
        tilings: list[Tiling] = []
        for at, job in enumerate(self.jobs):
            tiling = self._tiling(at, frozenset(kept), budget - used[at], size)
            while tiling is None:
                alive = [n for n in kept if self.maps[n].first <= at <= self.maps[n].last]
                if everything or not alive:
                    raise self._too_small(at, job, used[at])
                worst = max(alive, key=lambda n: (self.maps[n].size, n))
                kept.remove(worst)
                self._add(used, worst, -1)
                tiling = self._tiling(at, frozenset(kept), budget - used[at], size)
            tilings.append(tiling)
        whole = frozenset(kept)  # maps put out late change earlier layers too
        for at in range(len(self.jobs)):
            again = self._tiling(at, whole, budget - used[at], size)
            if again is None:
                raise self._too_small(at, self.jobs[at], used[at])
            tilings[at] = again
        return Plan(whole, tuple(tilings))

    def _choose(self, budget: int, *, size: bool) -> set[str]:
        """Short-lived and small maps first, as long as every layer keeps room for its tiles."""
        used = [0] * (len(self.jobs) + 1)
        kept: set[str] = set()
        if size or self.cores > 1:  # cores meet in the memory outside
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

    def _tiling(self, at: int, kept: frozenset[str], room: int, size: bool) -> Tiling | None:
        job = self.jobs[at]
        mine = frozenset(x.root for x in (*job.command.ins, job.command.out) if x.root in kept)
        key = at, mine, room, size
        if key not in self._memo:
            self._memo[key] = best_tiling(job, mine, room, size=size)
        return self._memo[key]

    def _too_small(self, at: int, job: Job, used: int) -> CompileError:
        """Say what would fit."""
        c, t = job.command, self.target
        need = max(
            least_bytes(j, frozenset() if t.dram_writable else frozenset(self.maps))
            + (0 if t.dram_writable else self.alive(i))
            for i, j in enumerate(self.jobs)
        )
        kib = -(-need // 1024) * (t.cores if t.sram_shared and t.dataflow != "ublock" else 1)
        kind = "its smallest tile" if t.dram_writable else "the feature maps alive there"
        return CompileError(
            f"node {c.node} ({c.op}): {kind} must fit the SRAM of {t.name}, {t.sram_bytes // 1024} KiB a core; "
            f"no program needs less than {-(-need // 1024)} KiB. It fits from sram_kib={kib} on."
        )

    def alive(self, at: int) -> int:
        """Bytes of all maps alive at a layer."""
        return sum(align(b.size) for b in self.maps.values() if b.first <= at <= b.last)
