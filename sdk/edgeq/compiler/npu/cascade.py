"""Cascade: a run of layers done stripe by stripe, so that the maps between them are a few rows each.

The last layer asks for `rows` rows at a time and every layer makes only the rows that are asked of it,
none twice. A map that lives within the run lies in a rolling buffer: before new rows would run over its
end, the rows that are still read move to its top.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.npu.rows import Flow, Need


@dataclass(frozen=True, slots=True)
class Cascade:
    """Commands first..last, rows a stripe, the rolling buffers, and how the weights come.

    `rolling` holds the rows of each buffer. Layers in `resident` keep all their weights in SRAM, the
    others bring them again for every stripe, in `chunks` parts through `slots` buffers they share.
    """

    first: int
    last: int
    rows: int
    rolling: Mapping[str, int] = field(default_factory=dict)
    resident: frozenset[int] = frozenset()
    chunks: Mapping[int, int] = field(default_factory=dict)
    slots: int = 1
    bytes: int = 0  # of its buffers
    cycles: int = 0  # estimate

    def __str__(self) -> str:
        buffers = " ".join(f"{name} x{rows}" for name, rows in self.rolling.items())
        return (
            f"layers {self.first}..{self.last} in stripes of {self.rows}: {buffers or 'nothing rolls'}; "
            f"{len(self.resident)} keep their weights; {self.bytes} B, ~{self.cycles} cycles"
        )


@dataclass(frozen=True, slots=True)
class Part:
    """Rows [start, stop) of the output of a command, and the top row of every rolling buffer then."""

    at: int
    start: int
    stop: int
    tops: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Shift:
    """Rows [low, high) of a map move up to the top of its buffer, whose top row was `top`."""

    at: int
    root: str
    top: int
    low: int
    high: int


def inner_maps(flow: Flow, maps: Mapping[str, Lifetime], first: int, last: int) -> list[str]:
    """Maps that only the commands first..last touch and that are made of rows."""
    return [
        root for root, life in maps.items()
        if first <= life.first and life.last <= last and root in flow.pitch and root in flow.writers
    ]  # fmt: skip


def stretched(maps: Mapping[str, Lifetime], cascades: tuple[Cascade, ...]) -> dict[str, Lifetime]:
    """Lifetimes of the maps that do not roll: what a run touches lives through all of it."""
    out = {}
    for name, life in maps.items():
        if any(name in c.rolling for c in cascades):
            continue
        for c in cascades:
            if life.first <= c.last and c.first <= life.last:
                life = replace(life, first=min(life.first, c.first), last=max(life.last, c.last))
        out[name] = life
    return out


class _Stripes:
    """Unrolls a run into parts and shifts; without sizes for the buffers it finds the least."""

    def __init__(
        self, flow: Flow, first: int, last: int, rows: int, inner: list[str],
        rolling: Mapping[str, int] | None = None,
    ) -> None:  # fmt: skip
        self.flow, self.first, self.last, self.height = flow, first, last, rows
        self.done = dict.fromkeys(range(first, last + 1), 0)
        self.least = dict.fromkeys(inner, 0)
        self.rolling = rolling
        self.tops = dict.fromkeys(inner, 0)
        self.written = dict.fromkeys(inner, 0)
        self.users = {
            root: (
                [(k, n) for k in sorted(set(flow.readers.get(root, ()))) for n in flow.needs[k]
                 if n.root == root and n.operand >= 0],
                flow.writers[root],
            )
            for root in inner
        }  # fmt: skip
        self.events: list[Part | Shift] = []

    def run(self, most: int = 1 << 30) -> None:
        """Make all rows, or for an estimate those for the first `most` of the last command."""
        flow, total = self.flow, self.flow.height[self.last]
        ends = [
            at for at in range(self.first, self.last)
            if not any(self.first <= k <= self.last for k in flow.readers.get(flow.commands[at].out.root, ()) if k > at)
        ]  # fmt: skip
        for t in range(0, total, self.height):
            stop = min(t + self.height, total)
            self.make(self.last, stop)
            for at in ends:
                self.make(at, -(-flow.height[at] * stop // total))
            if stop >= most:
                return
        for at in self.done:
            if flow.commands[at].out.root not in self.least:
                self.make(at, flow.height[at])

    def make(self, at: int, upto: int) -> None:
        """Produce the rows of a command below `upto`, and before them what they need."""
        begin, count = self.done[at], upto - self.done[at]
        if count <= 0:
            return
        parts = -(-count // self.height)
        for i in range(parts):
            start, stop = begin + count * i // parts, begin + count * (i + 1) // parts
            for need in self.flow.needs[at]:
                self.ask(at, need, start, stop)
            self.emit(at, start, stop)
            self.done[at] = stop

    def ask(self, at: int, need: Need, start: int, stop: int) -> None:
        wanted = self.flow.needed(at, need.operand, start, stop)
        for k in need.writers:
            if k < self.first:
                continue
            rows = self.flow.rows(k, self.flow.commands[k].out)
            if wanted is None or need.rows is None or rows is None:
                self.make(k, self.flow.height[k])
            else:
                upto = rows.until(need.rows.span(*wanted)[1])
                self.make(k, min(upto, self.flow.height[k]))

    def emit(self, at: int, start: int, stop: int) -> None:
        out = self.flow.commands[at].out
        if out.root in self.least:
            rows = self.flow.rows(at, out)
            assert rows is not None, "a rolling map is made of rows"
            root, high = out.root, rows.span(start, stop)[1]
            low = self.low(root)
            self.least[root] = max(self.least[root], high - low)
            if self.rolling is not None and high - self.tops[root] > self.rolling[root]:
                if low < self.written[root]:
                    self.events.append(Shift(at, root, self.tops[root], low, self.written[root]))
                self.tops = {**self.tops, root: low}
            self.written[root] = max(self.written[root], high)
        self.events.append(Part(at, start, stop, self.tops))

    def low(self, root: str) -> int:
        """The first row of a map that is still read or not yet written."""
        flow = self.flow
        readers, writers = self.users[root]
        least = []
        for k, need in readers:
            if self.done[k] == flow.height[k]:
                continue
            wanted = flow.needed(k, need.operand, self.done[k], self.done[k] + 1)
            if wanted is None or need.rows is None:
                return 0
            least.append(need.rows.span(*wanted)[0])
        for k in writers:
            rows = flow.rows(k, flow.commands[k].out)
            if self.done[k] < flow.height[k] and rows is not None:
                least.append(rows.span(self.done[k], self.done[k] + 1)[0])
        return min(least, default=self.written[root])


def least_rows(
    flow: Flow, first: int, last: int, rows: int, inner: list[str], most: int = 1 << 30
) -> dict[str, int]:
    """The least rows of each rolling buffer."""
    stripes = _Stripes(flow, first, last, rows, inner)
    stripes.run(most)
    return stripes.least


def unroll(flow: Flow, cascade: Cascade) -> list[Part | Shift]:
    """A cascade as parts of commands in order, with the shifts between them."""
    inner = list(cascade.rolling)
    stripes = _Stripes(flow, cascade.first, cascade.last, cascade.rows, inner, cascade.rolling)
    stripes.run()
    return stripes.events
