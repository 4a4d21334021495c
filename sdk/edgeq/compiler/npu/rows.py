"""Rows: which rows of its inputs a command needs for some rows of its output, and where rows lie.

A map is a buffer of `height` rows of `pitch` elements. A view of it may skip rows (row r of the view is
row `step * r + phase` of the map): the parts of a transposed convolution do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.command import Command
from edgeq.compiler.npu.cut import WINDOWED
from edgeq.compiler.views import View
from edgeq.runtime import isa

ROWWISE = (*WINDOWED, "COPY", "ELEMENTWISE", "FILL", "LUT", "RESIZE", "SOFTMAX")


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of a map that a view's rows are, and the elements of a row from `left` to `right`."""

    step: int
    phase: int
    left: int
    right: int

    def span(self, start: int, stop: int) -> tuple[int, int]:
        """Rows of the map from the first to behind the last of the view's rows [start, stop)."""
        return self.step * start + self.phase, self.step * (stop - 1) + self.phase + 1

    def until(self, row: int) -> int:
        """Rows of the view that must be there so that all of the map's rows below `row` are."""
        return max(-(-(row - self.phase) // self.step), 0)

    def apart(self, other: Rows) -> bool:
        """True when the two share no element."""
        if self.step == other.step and (self.phase - other.phase) % self.step:
            return True
        return self.right <= other.left or other.right <= self.left


@dataclass(frozen=True, slots=True)
class Need:
    """An operand of a command: its map, its rows there, and the commands that write it before."""

    root: str
    operand: int  # -1: the output, where something was written before
    rows: Rows | None
    writers: tuple[int, ...]


class Flow:
    """The rows of all commands and maps of a program."""

    def __init__(self, commands: Sequence[Command], maps: Mapping[str, Lifetime]) -> None:
        self.commands = commands
        self.axis = [0 if c.opcode == "COPY" else 1 for c in commands]
        self.height = [_height(c, a) for c, a in zip(commands, self.axis, strict=True)]
        self.pitch: dict[str, int] = {}
        self._views: dict[str, list[tuple[int, View]]] = {}
        for at, c in enumerate(commands):
            for view in (*c.ins, c.out):
                if not view.constant:
                    self._views.setdefault(view.root, []).append((at, view))
        for root, life in maps.items():
            pitch = self._pitch(root, life.size)
            if pitch:
                self.pitch[root] = pitch
        self.writers: dict[str, list[int]] = {}
        self.readers: dict[str, list[int]] = {}
        self.needs: list[tuple[Need, ...]] = []
        for at, c in enumerate(commands):
            self.needs.append(tuple(self._needs(at, c)))
            self.writers.setdefault(c.out.root, []).append(at)
            for root in {x.root for x in c.ins if not x.constant}:
                self.readers.setdefault(root, []).append(at)
        self._tables: dict[int, tuple[list[int], list[int]]] = {}

    def rows(self, at: int, view: View) -> Rows | None:
        """Where the rows of a command's view lie in its map; None when they are not rows of it."""
        pitch, axis = self.pitch.get(view.root, 0), self.axis[at]
        return rows_of(view, axis, pitch) if pitch and self.height[at] > 1 else None

    def needed(self, at: int, operand: int, start: int, stop: int) -> tuple[int, int] | None:
        """Rows of an operand for the output's rows [start, stop); None: all there is."""
        c = self.commands[at]
        if operand < 0:
            return start, stop
        x = c.ins[operand]
        if self.height[at] == 1:
            return None
        if c.opcode in WINDOWED:
            f, size = c.fields, x.dims[1]
            first = start * f["sh"] - f["pt"]
            end = (stop - 1) * f["sh"] - f["pt"] + f["dh"] * (f["kh"] - 1) + 1
            low = min(max(first, 0), size - 1)
            return low, max(min(end, size), low + 1)
        if c.opcode == "RESIZE":
            low_rows, high_rows = self._table(at)
            return min(low_rows[start:stop]), max(high_rows[start:stop]) + 1
        axis = self.axis[at] - (len(c.out.dims) - len(x.dims))
        return None if axis < 0 or x.dims[axis] == 1 else (start, stop)

    @cached_property
    def conflicts(self) -> list[tuple[int, int]]:
        """Pairs (reader, later writer of the same bytes): stripes of a run must not mix the two."""
        found = []
        for at, c in enumerate(self.commands):
            mine = self.rows(at, c.out)
            for k in self.readers.get(c.out.root, ()):
                reads = [x for x in self.commands[k].ins if x.root == c.out.root]
                theirs = [self.rows(k, x) for x in reads]
                if k < at and any(mine is None or r is None or not mine.apart(r) for r in theirs):
                    found.append((k, at))
        return found

    def _table(self, at: int) -> tuple[list[int], list[int]]:
        if at not in self._tables:
            c = self.commands[at]
            table = np.frombuffer(c.constants, "<i4")
            oh = c.out.dims[1]
            parts = 2 if c.fields["kind"] == isa.RESIZE_KINDS["LINEAR"] else 1
            places = table[: parts * oh].reshape(parts, oh)
            self._tables[at] = places.min(0).tolist(), places.max(0).tolist()
        return self._tables[at]

    def _needs(self, at: int, c: Command) -> list[Need]:
        found = []
        for i, x in enumerate(c.ins):
            if not x.constant:
                before = tuple(self.writers.get(x.root, ()))
                found.append(Need(x.root, i, self.rows(at, x), before))
        mine = self.rows(at, c.out)
        over = []
        for k in self.writers.get(c.out.root, ()):
            theirs = self.rows(k, self.commands[k].out)
            if mine is None or theirs is None or not mine.apart(theirs):
                over.append(k)
        if over:
            found.append(Need(c.out.root, -1, mine, tuple(over)))
        return found

    def _pitch(self, root: str, size: int) -> int:
        """Elements of a row where every view of the map is made of rows, else 0."""
        views = self._views.get(root, [])
        if any(self.height[at] == 1 and self._whole(at, root) for at, _ in views):
            return 0
        inside = [(at, v) for at, v in views if len(v.dims) > self.axis[at]]
        steps = [v.strides[self.axis[at]] for at, v in inside if v.dims[self.axis[at]] > 1]
        if len(inside) < len(views) or not steps or min(steps) < 1:
            return 0
        pitch, count = min(steps), size // isa.DTYPE_BYTES[views[0][1].dtype]
        good = all(rows_of(v, self.axis[at], pitch) is not None for at, v in views)
        return pitch if good and count % pitch == 0 and count > pitch else 0

    def _whole(self, at: int, root: str) -> bool:
        """A command without rows of its own writes its output at once: that map does not roll."""
        return self.commands[at].out.root == root


def rows_of(view: View, axis: int, pitch: int) -> Rows | None:
    """A view's rows along `axis` as rows of `pitch` elements."""
    phase, left = divmod(view.offset, pitch)
    step, right = view.strides[axis], left + 1
    for i, (d, s) in enumerate(zip(view.dims, view.strides, strict=True)):
        if i == axis or d == 1:
            continue
        if s < 0 or i < axis:
            return None
        right += (d - 1) * s
    if view.dims[axis] == 1:
        step = pitch
    if step < pitch or step % pitch or right > pitch:
        return None
    return Rows(step // pitch, phase, left, right)


def _height(c: Command, axis: int) -> int:
    """Rows that a command may be cut into; 1 when it is done at once."""
    if c.opcode not in ROWWISE or len(c.out.dims) <= axis:
        return 1
    if c.opcode != "COPY" and (len(c.out.dims) != 4 or c.out.dims[0] != 1):
        return 1
    return c.out.dims[axis]
