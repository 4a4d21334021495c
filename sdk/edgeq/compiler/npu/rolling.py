"""Rolling: what the buffers of maps inside a cascade take, as estimates for choosing runs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.npu.cascade import least_rows
from edgeq.compiler.npu.price import shift
from edgeq.compiler.npu.rows import Flow
from edgeq.compiler.npu.tile import align
from edgeq.runtime import isa
from edgeq.runtime.target import Target

LONGEST = 48  # layers that a rolling map may live
FAR = 8  # rows over which the speed of a reader is taken
SAMPLE = 24  # rows of the last layer after which buffers have grown


class Rolling:
    """Rolling buffers of all maps, each as if the layers from its producer to its last reader were a run."""

    def __init__(self, flow: Flow, maps: Mapping[str, Lifetime], target: Target) -> None:
        self.flow, self.maps, self.target = flow, maps, target

    @cached_property
    def rows(self) -> dict[str, int]:
        """Rows of a map's buffer in the lowest stripes; maps that cannot roll are not there."""
        out, flow = {}, self.flow
        for name, life in self.maps.items():
            if name not in flow.pitch or name not in flow.writers:
                continue
            if not 0 < life.last - life.first < LONGEST or life.last >= len(flow.commands):
                continue
            rows = least_rows(flow, life.first, life.last, 1, [name], SAMPLE)
            out[name] = rows[name]
        return out

    def bytes(self, name: str, rows: int) -> int:
        """Bytes of so many rows of a map."""
        view = self.flow.commands[self.flow.writers[name][0]].out
        return align(rows * self.flow.pitch[name] * isa.DTYPE_BYTES[view.dtype])

    def cost(self, name: str, rows: int) -> tuple[int, int]:
        """Bytes of a map's buffer in stripes of `rows`, and cycles of the rows that move up in it."""
        least, height = self.rows[name], self.maps[name].size // self.bytes(name, 1)
        speed = self._speed(name)
        keeps = max(least - max(int(speed), 1), 0)
        turns = height / max(rows * speed, 1)
        moved = turns * shift(self.target, keeps * self.flow.pitch[name]).cycles if keeps else 0
        return self.bytes(name, min(least + int((rows - 1) * speed), height)), int(moved)

    def _speed(self, name: str) -> float:
        """Rows of a map that its last reader leaves behind for each row it makes."""
        at = self.flow.readers[name][-1]
        need = next(n for n in self.flow.needs[at] if n.root == name and n.operand >= 0)
        half = self.flow.height[at] // 2
        far = min(FAR, self.flow.height[at] - half - 1)
        low = self.flow.needed(at, need.operand, half, half + 1)
        high = self.flow.needed(at, need.operand, half + far, half + far + 1)
        if far < 1 or low is None or high is None or need.rows is None:
            return 1.0
        return need.rows.step * (high[0] - low[0]) / far
