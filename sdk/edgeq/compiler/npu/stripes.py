"""Stripes: a cascade as steps on the queues, over its rolling buffers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import prod

from edgeq.compiler.command import Command
from edgeq.compiler.npu.cascade import Cascade, Part, Shift, unroll
from edgeq.compiler.npu.cut import as_layout
from edgeq.compiler.npu.price import shift
from edgeq.compiler.npu.rows import Flow
from edgeq.compiler.npu.schedule import STAGING, LayerSteps, Ring, StepMaker
from edgeq.compiler.npu.tile import Tiling, align, any_cut, chunked
from edgeq.compiler.views import View, contiguous
from edgeq.runtime import isa
from edgeq.runtime.target import Target


def cascade_steps(flow: Flow, run: Cascade, kept: frozenset[str], t: Target) -> LayerSteps:
    """The steps of all layers of a cascade; its buffers live from its first layer to its last."""
    names = {root: f"{STAGING}{run.first}.{root}" for root in run.rolling}
    made = _Run(run, kept | frozenset(names.values()), t)
    made.out.until = run.last
    for event in unroll(flow, run):
        made.begin(event.at, flow.commands[event.at])
        if isinstance(event, Shift):
            for c in _moved(flow, event, names):
                made._add("EXEC", c, shift(t, prod(c.out.dims)))
            continue
        piece = _piece(flow, event, names)
        on_buffers = made.fetch(piece)
        if piece.opcode == "COPY":
            on_buffers = as_layout(on_buffers)
        for part in chunked(on_buffers, run.chunks.get(event.at, 1)):
            made.execute(part)
        made.finish_layer()
        made.store(on_buffers, piece)
    for root, rows in run.rolling.items():
        view = flow.commands[flow.writers[root][0]].out
        size = rows * flow.pitch[root] * isa.DTYPE_BYTES[view.dtype]
        made.out.buffers[names[root]], made.out.cores[names[root]] = align(size), 0
    return made.done()


class _Run(StepMaker):
    """Collects the steps of a cascade: what streams shares buffers, what is resident has its own."""

    def __init__(self, run: Cascade, kept: frozenset[str], t: Target) -> None:
        super().__init__(run.first, Tiling(), kept, t)
        self.run = run

    def _ring(self, name: str) -> Ring:
        shared = name == "w" and self.layer not in self.run.resident
        at, slots = (
            (self.run.first, self.run.slots) if shared else (self.layer, 1 if name == "w" else 2)
        )
        key = f"{name} of {at}" if shared else f"{name} in {at}"
        return self.rings.setdefault(
            (self.core, key), Ring(f"{STAGING}{key.replace(' ', '.')}", slots)
        )


def _piece(flow: Flow, part: Part, names: Mapping[str, str]) -> Command:
    """A command's rows, its rolling operands at their place in the buffers."""
    c = flow.commands[part.at]
    if flow.height[part.at] > 1:
        c = any_cut(c, flow.axis[part.at], part.start, part.stop)

    def place(x: View) -> View:
        if x.root not in names:
            return x
        below = part.tops[x.root] * flow.pitch[x.root]
        return replace(x, root=names[x.root], offset=x.offset - below)

    return replace(c, ins=tuple(place(x) for x in c.ins), out=place(c.out))


def _moved(flow: Flow, shift: Shift, names: Mapping[str, str]) -> Iterator[Command]:
    """Copies of the rows that stay, none onto itself."""
    c, pitch = flow.commands[shift.at], flow.pitch[shift.root]
    writer = flow.commands[flow.writers[shift.root][0]].out
    row = writer.dims[2:] if prod(writer.dims[2:]) == pitch else (pitch,)
    step = shift.low - shift.top
    for start in range(shift.low, shift.high, step):
        dims = (min(start + step, shift.high) - start, *row)

        def rows(first: int, dims: tuple[int, ...] = dims) -> View:
            at = first * pitch
            return View(names[shift.root], writer.dtype, at, dims, contiguous(dims))

        move = Command("COPY", c.node, c.op, (rows(start - shift.top),), rows(start - shift.low))
        yield as_layout(move)
