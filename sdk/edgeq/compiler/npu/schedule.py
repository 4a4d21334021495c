"""Schedule: tiles become steps on the four queues; buffers alternate, so that queues run side by side."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import prod

from edgeq.compiler.command import Command
from edgeq.compiler.npu.cut import as_layout
from edgeq.compiler.npu.price import Price, execute, nbytes, transfer, weights
from edgeq.compiler.npu.tile import Tiling, chunked, pieces
from edgeq.compiler.views import View, contiguous
from edgeq.compiler.weight_codes import layer_codes
from edgeq.runtime.target import Target

STAGING = "@"  # roots that begin so are buffers of tiles


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One command on one queue, and what it costs."""

    queue: str  # one of isa.QUEUES
    layer: int
    command: Command
    price: Price
    core: int = 0


@dataclass(slots=True)
class Ring:
    """Buffers used in turn; remembers what each holds."""

    name: str
    slots: int
    held: list[object] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    next: int = 0

    def take(self, key: object, size: int) -> tuple[str, bool]:
        """Return the root of the buffer that holds `key`, and whether it must be filled first."""
        if key in self.held:
            return f"{self.name}.{self.held.index(key)}", False
        at = self.next
        self.next = (at + 1) % self.slots
        if at == len(self.held):
            self.held.append(key)
            self.sizes.append(size)
        else:
            self.held[at] = key
            self.sizes[at] = max(self.sizes[at], size)
        return f"{self.name}.{at}", True


@dataclass(slots=True)
class LayerSteps:
    """Steps of one layer and the bytes of each buffer it uses."""

    steps: list[Step] = field(default_factory=list)
    buffers: dict[str, int] = field(default_factory=dict)
    cores: dict[str, int] = field(default_factory=dict)  # whose SRAM each buffer lies in
    weight_buffers: list[str] = field(default_factory=list)
    until: int = -1  # the last layer of a cascade, whose buffers live as long


def layer_steps(
    c: Command, layer: int, tiling: Tiling, kept: frozenset[str], t: Target, *, cores: int = 1
) -> LayerSteps:
    """The steps of one command under its tiling.

    Several cores take equal runs of the tiles, or of the weight chunks where those are more; a SYNC
    on every core stands before, so that each finds outside what the others have stored.
    """
    made = StepMaker(layer, tiling, kept, t)
    made.begin(layer, c)
    if cores > 1:
        made.sync(c, cores)
    tiles = prod(n for _, n in tiling.cuts)
    by_chunk = tiles < cores <= tiling.chunks
    if c.opcode == "COPY":
        made.copy(c, cores)
    elif tiling.weights_outer or by_chunk:
        for k, part in enumerate(chunked(c, tiling.chunks)):
            for i, piece in enumerate(pieces(part, tiling.cuts)):
                made.core = k * cores // tiling.chunks if by_chunk else i * cores // tiles
                with_operands = made.fetch(piece)
                made.execute(with_operands)
                made.store(with_operands, piece)
    else:
        for i, piece in enumerate(pieces(c, tiling.cuts)):
            made.core = i * cores // tiles
            with_operands = made.fetch(piece)
            for part in chunked(with_operands, tiling.chunks):
                made.execute(part)
            made.store(with_operands, piece)
    made.finish_layer()
    return made.done()


class StepMaker:
    """Collects the steps of one layer."""

    def __init__(self, layer: int, tiling: Tiling, kept: frozenset[str], t: Target) -> None:
        self.layer, self.tiling, self.kept, self.target = layer, tiling, kept, t
        self.out = LayerSteps()
        self.rings: dict[tuple[int, str], Ring] = {}
        self.filled = 0
        self.running: set[int] = set()  # cores that have begun the layer
        self.core = 0

    def begin(self, layer: int, c: Command) -> None:
        """What follows are parts of this layer."""
        if layer != self.layer:
            self.running.clear()
        self.layer, self.codes = layer, layer_codes(c.constants)

    def done(self) -> LayerSteps:
        for (core, kind), ring in self.rings.items():
            for at, size in enumerate(ring.sizes):
                name = f"{ring.name}.{at}"
                self.out.buffers[name], self.out.cores[name] = size, core
                if kind.startswith("w"):
                    self.out.weight_buffers.append(name)
        return self.out

    def sync(self, c: Command, cores: int) -> None:
        """Every core waits for all, and pays for the barrier."""
        nothing = View("", "int8", 0, (1,), (1,))
        command = Command("SYNC", c.node, c.op, (), nothing)
        for core in range(cores):
            price = Price(self.target.layer_cycles)
            self.out.steps.append(Step("EXEC", self.layer, command, price, core))

    def finish_layer(self) -> None:
        """The barrier at the end of a layer falls on its last EXEC, unless a SYNC has paid for it."""
        if self.out.steps and self.out.steps[0].command.opcode == "SYNC":
            return
        for at in reversed(range(len(self.out.steps))):
            step = self.out.steps[at]
            if step.queue == "EXEC":
                price = replace(step.price, cycles=step.price.cycles + self.target.layer_cycles)
                self.out.steps[at] = replace(step, price=price)
                return

    def fetch(self, piece: Command) -> Command:
        """Load what is not in SRAM; returns the piece on its buffers."""
        ins = tuple(self._load(piece, x, i) for i, x in enumerate(piece.ins))
        out = piece.out
        if out.root not in self.kept:
            self.filled += 1
            root, _ = self._ring("out").take(self.filled, nbytes(out))
            out = dense(root, out)
        return replace(piece, ins=ins, out=out)

    def store(self, done: Command, piece: Command) -> None:
        if done.out.root != piece.out.root:
            move = _move("DMA_STORE", piece, done.out, piece.out)
            self._add("STORE", move, transfer(self.target, piece.out, write=True))

    def execute(self, c: Command) -> None:
        price = execute(self.target, c)
        if self.core in self.running:  # the pipeline is full, it drains behind the last part
            price = replace(price, cycles=price.cycles - price.ends)
        self.running.add(self.core)
        if c.opcode in ("CONV", "DWCONV"):
            size = len(c.constants)
            root, fill = self._ring("w").take(c.constants, size)
            view = View(root, "int8", 0, (size,), (1,))
            if fill:
                load = Command("DMA_WEIGHTS", c.node, c.op, (), view, {"bytes": size},
                               constants=c.constants)  # fmt: skip
                self._add("LOAD_W", load, weights(self.target, c, self.codes))
            c = replace(c, ins=(*c.ins, view))
        self._add("EXEC", c, price)

    def copy(self, c: Command, cores: int = 1) -> None:
        """Data that only moves: by DMA where one end lies outside, else inside SRAM."""
        (x,) = c.ins
        inside = x.root in self.kept, c.out.root in self.kept
        if all(inside):
            layout = as_layout(c)
            self._add("EXEC", layout, execute(self.target, layout))
        elif inside[1]:
            self._add("LOAD", _move("DMA_LOAD", c, x, c.out), transfer(self.target, x))
        elif inside[0]:
            price = transfer(self.target, c.out, write=True)
            self._add("STORE", _move("DMA_STORE", c, x, c.out), price)
        else:
            tiles = prod(n for _, n in self.tiling.cuts)
            for i, piece in enumerate(pieces(c, self.tiling.cuts)):
                self.core = i * cores // tiles
                held = self._load(piece, piece.ins[0], 0)
                self.store(replace(piece, out=held), piece)

    def _load(self, piece: Command, x: View, operand: int) -> View:
        if x.root in self.kept:
            return x
        root, fill = self._ring(f"in{operand}").take(x, nbytes(x))
        held = dense(root, x)
        if fill:
            self._add("LOAD", _move("DMA_LOAD", piece, x, held), transfer(self.target, x))
        return held

    def _ring(self, name: str) -> Ring:
        prefix = f"{STAGING}{self.layer}" + (f"/{self.core}" if self.core else "")
        return self.rings.setdefault((self.core, name), Ring(f"{prefix}.{name}", self.tiling.slots))

    def _add(self, queue: str, c: Command, price: Price) -> None:
        self.out.steps.append(Step(queue, self.layer, c, price, self.core))


def _move(opcode: str, c: Command, source: View, target: View) -> Command:
    return Command(opcode, c.node, c.op, (source,), target)


def dense(root: str, like: View) -> View:
    """A dense buffer for a part of a value."""
    return View(root, like.dtype, 0, like.dims, contiguous(like.dims))
