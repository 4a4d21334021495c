"""Tile: how each command is cut so that its operands, double-buffered, fit the SRAM it may use."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from math import prod

from edgeq.compiler.command import Command
from edgeq.compiler.npu.cut import axes, cut, span, weight_chunk
from edgeq.compiler.npu.price import Price, execute, nbytes, parts_cycles, transfer, weights
from edgeq.compiler.views import View
from edgeq.compiler.weight_codes import layer_codes
from edgeq.runtime.target import Target

PARTS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
ALIGN = 64
MOST_TILES = 16  # smaller tiles save little SRAM and cost commands


@dataclass(frozen=True, slots=True)
class Tiling:
    """Cuts of the output as (axis, parts), channel chunks of the weights, and which loop is outside.

    `slots` buffers per operand alternate; `bytes` is the SRAM they take, `cycles` the estimate.
    """

    cuts: tuple[tuple[int, int], ...] = ()
    chunks: int = 1
    weights_outer: bool = False
    slots: int = 2
    bytes: int = 0
    weights: int = 0  # of `bytes`
    cycles: int = 0

    @property
    def tiles(self) -> int:
        return prod(n for _, n in self.cuts)

    def __str__(self) -> str:
        parts = " ".join(f"axis {a} in {n}" for a, n in self.cuts) or "whole"
        order = " outside" if self.weights_outer else ""
        return f"{parts}, {self.chunks} weight chunks{order}, {self.bytes} B, ~{self.cycles} cycles"


@dataclass(frozen=True, eq=False)
class Job:
    """A command with what the search asks again and again."""

    command: Command
    target: Target
    cores: int = 1

    @cached_property
    def exec_cycles(self) -> int:
        return 0 if self.command.opcode == "COPY" else execute(self.target, self.command).cycles

    @cached_property
    def weighted(self) -> bool:
        return self.command.opcode in ("CONV", "DWCONV")

    def outside(self, kept: frozenset[str]) -> tuple[tuple[View, ...], bool]:
        """Inputs that must be staged, and whether the output must be."""
        c = self.command
        return tuple(x for x in c.ins if x.root not in kept), c.out.root not in kept

    def tilings(self, kept: frozenset[str], room: int) -> Iterator[Tiling]:
        """Every tiling worth a thought that fits `room` bytes."""
        staged, stored = self.outside(kept)
        for chunks in self.chunk_counts(room):
            for slots in (2, 1):
                found = False
                for cuts in self._cut_lists(bool(staged) or stored, chunks):
                    made = self._measure(kept, cuts, chunks, slots)
                    for one in made:
                        if one.bytes <= room:
                            found = True
                            yield one
                if found:
                    break

    def chunk_counts(self, room: int) -> list[int]:
        if not self.weighted or self.command.opcode == "DWCONV":
            return [1]
        units = -(-self.command.out.dims[3] // weight_chunk(self.command))
        return sorted({-(-units // -(-units // n)) for n in (*PARTS, units) if n <= units})

    def _cut_lists(self, outside: bool, chunks: int) -> Iterator[tuple[tuple[int, int], ...]]:
        """No cut; more and more parts of the first axis; then single parts of it and the next."""
        yield ()
        if not outside:
            return
        done: tuple[tuple[int, int], ...] = ()
        for axis in axes(self.command):
            size = self.command.out.dims[axis]
            seen = set()
            for n in (*PARTS, size):
                step = -(-size // n)
                parts = -(-size // step)
                if 1 < n <= size and parts not in seen:
                    seen.add(parts)
                    yield (*done, (axis, parts))
            done = (*done, (axis, size))

    def _measure(
        self, kept: frozenset[str], cuts: tuple[tuple[int, int], ...], chunks: int, slots: int
    ) -> list[Tiling]:
        """Bytes and cycles of one tiling, for both orders of the loops where they differ."""
        c, t = self.command, self.target
        piece = _middle(c, cuts)
        tiles = prod(n for _, n in cuts)
        staged = [x for x in piece.ins if x.root not in kept]
        stored = piece.out.root not in kept
        many = min(slots, tiles)
        load = sum(transfer(t, x).cycles for x in staged)
        store = transfer(t, piece.out, write=True).cycles if stored else 0
        ins = sum(many * align(nbytes(x)) for x in staged)
        out = many * align(nbytes(piece.out)) if stored else 0
        if c.opcode == "COPY":
            out = 0 if staged else out  # one buffer is both
        weights = self.chunk_bytes(piece, chunks) * min(slots, chunks)
        results = []
        for outer in (False, True) if chunks > 1 and tiles > 1 else (False,):
            loads = tiles * chunks if outer else tiles
            rounds = tiles if chunks > 1 and not outer else 1
            shared = 1  # cores that work at once
            if self.cores > 1 and (tiles >= self.cores or chunks >= self.cores):
                shared = self.cores
                by_chunk = tiles < self.cores
                loads = max(loads, tiles * shared) if by_chunk else loads
                rounds = rounds if by_chunk or rounds > 1 else shared
            stores = store
            if outer and stored:
                channels = -(-c.out.dims[3] // chunks)
                part = span(piece.out, 3, 0, channels)
                stores = chunks * transfer(t, part, write=True).cycles
            moved = loads * load + tiles * stores
            moved += rounds * self.weight_load.dram_cycles if self.weighted else 0
            run = self._run_cycles(piece, tiles, chunks) // shared
            size = ins + weights + (-(-out // chunks) if outer else out)
            both = moved + run if slots == 1 and tiles * chunks > 1 else max(moved, run)
            results.append(Tiling(cuts, chunks, outer, slots, size, weights, both + load + store))
        return results

    def _run_cycles(self, piece: Command, tiles: int, chunks: int) -> int:
        """Cycles of all EXEC, when the layer runs as pieces like this one and so many weight chunks."""
        if tiles * chunks == 1 or piece.opcode == "COPY":
            return self.exec_cycles
        channels = piece.out.dims[-1]
        if chunks > 1:
            unit = weight_chunk(self.command)
            channels = math.ceil(math.ceil(channels / unit) / chunks) * unit
        return parts_cycles(self.target, piece, channels, tiles * chunks)

    @cached_property
    def weight_load(self) -> Price:
        """All weights in one transfer."""
        return weights(self.target, self.command, layer_codes(self.command.constants))

    def chunk_bytes(self, piece: Command, chunks: int) -> int:
        if not self.weighted:
            return 0
        if chunks == 1:
            return align(len(piece.constants))
        unit, oc = weight_chunk(self.command), self.command.out.dims[3]
        units = -(-oc // unit)
        return align(len(piece.constants) * -(-units // chunks) // units) + 2 * ALIGN


def best_tiling(job: Job, kept: frozenset[str], room: int, *, size: bool = False) -> Tiling | None:
    """The quickest tiling that fits `room`, or None; with `size` the smallest of at most MOST_TILES."""
    if not size:
        return min(job.tilings(kept, room), key=lambda a: (a.cycles, a.bytes), default=None)
    few = (a for a in job.tilings(kept, room) if a.tiles * a.chunks <= MOST_TILES)
    return min(few, key=lambda a: (a.bytes, a.cycles), default=None)


def least_bytes(job: Job, kept: frozenset[str]) -> int:
    """SRAM that the command needs at least, whatever its speed."""
    c = job.command
    cuts = tuple((a, c.out.dims[a]) for a in axes(c)) if any(job.outside(kept)) else ()
    most = max(job.chunk_counts(1 << 62))
    return min(one.bytes for one in job._measure(kept, cuts, most, 1))


def pieces(c: Command, cuts: tuple[tuple[int, int], ...]) -> Iterator[Command]:
    """The command cut along every axis, the first axis outside."""
    ranges = []
    for axis, n in cuts:
        size = c.out.dims[axis]
        step = -(-size // n)
        ranges.append([(axis, a, min(a + step, size)) for a in range(0, size, step)])
    for part in product(*ranges):
        made = c
        for axis, a, b in part:
            made = any_cut(made, axis, a, b)
        yield made


def any_cut(c: Command, axis: int, start: int, stop: int) -> Command:
    """`cut`, for a COPY too."""
    if c.opcode != "COPY":
        return cut(c, axis, start, stop)
    return replace(c, ins=(span(c.ins[0], axis, start, stop),), out=span(c.out, axis, start, stop))


def chunked(c: Command, chunks: int) -> Iterator[Command]:
    """The command in `chunks` parts of its output channels."""
    if chunks == 1:
        yield c
        return
    unit, oc = weight_chunk(c), c.out.dims[3]
    units = -(-oc // unit)
    step = -(-units // chunks) * unit
    for start in range(0, oc, step):
        yield cut(c, 3, start, min(start + step, oc))


def _middle(c: Command, cuts: tuple[tuple[int, int], ...]) -> Command:
    """A part from the middle, where halos are widest."""
    for axis, n in cuts:
        size = c.out.dims[axis]
        step = -(-size // n)
        at = min(n // 2, -(-size // step) - 1) * step
        if at + step > size:
            at = max(at - step, 0)
        c = any_cut(c, axis, at, min(at + step, size))
    return c


def align(count: int) -> int:
    return -(-count // ALIGN) * ALIGN
