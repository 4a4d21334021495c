"""Parts: what one stripe of a layer costs, in cycles of the array and of transfers to the memory outside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from edgeq.compiler.command import Command
from edgeq.compiler.npu.price import execute, nbytes, transfer
from edgeq.compiler.npu.rows import Flow
from edgeq.compiler.npu.tile import Job, align, any_cut
from edgeq.compiler.views import View
from edgeq.runtime.target import Target


@dataclass(frozen=True, slots=True)
class Moved:
    """Transfers of one part: the buffers they go through, their cycles, and of these on the memory outside."""

    bytes: int = 0
    cycles: int = 0
    dram: int = 0


class Parts:
    """Prices of stripes from the middle of each layer, remembered."""

    def __init__(self, flow: Flow, jobs: Sequence[Job], target: Target) -> None:
        self.flow, self.jobs, self.target = flow, jobs, target
        self.busy = cache(self._busy)
        self.loads = cache(self._loads)
        self.store = cache(self._store)

    def weights(self, at: int) -> tuple[int, int]:
        """Bytes of a layer's weights and constant operands in SRAM, and cycles to bring the weights."""
        job = self.jobs[at]
        fixed = self.fixed(at)
        if not job.weighted:
            return fixed, 0
        return fixed + align(len(job.command.constants)), job.weight_load.cycles

    def fixed(self, at: int) -> int:
        """Bytes of a layer's constant operands."""
        return sum(align(nbytes(x)) for x in self.jobs[at].command.ins if x.constant)

    def _busy(self, at: int, rows: int) -> int:
        return execute(self.target, self._middle(at, rows)).cycles + self.target.layer_cycles

    def _loads(self, at: int, rows: int) -> list[tuple[str, Moved]]:
        """Its operands by map, as they are loaded where the map lies outside."""
        part = self._middle(at, rows)
        return [(x.root, self._moved(x)) for x in part.ins if not x.constant]

    def _store(self, at: int, rows: int) -> Moved:
        return self._moved(self._middle(at, rows).out, write=True)

    def _moved(self, view: View, *, write: bool = False) -> Moved:
        price = transfer(self.target, view, write=write)
        return Moved(2 * align(nbytes(view)), price.cycles, price.dram_cycles)

    def _middle(self, at: int, rows: int) -> Command:
        c, height = self.jobs[at].command, self.flow.height[at]
        if rows >= height:
            return c
        start = (height - rows) // 2
        return any_cut(c, self.flow.axis[at], start, start + rows)
