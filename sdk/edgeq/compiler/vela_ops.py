"""Costs of one operation in check mode `vela`: block pipeline, memory traffic, weight transfer."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from edgeq.compiler.clock import Memory, memory
from edgeq.compiler.ublock import SUBKERNEL, Block, find_block, ublock_cycles
from edgeq.compiler.weight_size import encoded_bytes
from edgeq.compiler.work import Work
from edgeq.compiler.workload import Layer
from edgeq.runtime.target import Target

SCALE_BYTES = 10
BRICK = 16  # channels that lie together in a bricked feature map


@dataclass(slots=True)
class Step:
    """One operation and what the schedule decides about it.

    `linear` says which feature maps (inputs, then output) lie row by row instead of in bricks; `where`
    names their memories. `slices` are output depths at which a new part of the weights arrives.
    """

    at: int
    layer: Layer
    work: Work
    block: Block
    linear: tuple[bool, ...]
    where: tuple[str, ...]
    stripe: int = 0  # output rows at a time; 0 = all
    cascade: int = -1  # index of the cascade it runs in
    buffered: bool = False
    slices: tuple[int, ...] = ()
    weight_bytes: int = 0
    cycles: int = 0  # estimate with every feature map in its default memory
    sizes: dict[bool, int] = field(default_factory=dict)

    @property
    def refetch(self) -> int:
        """How often the weights are read."""
        return refetch(self.work, self.block)

    @property
    def scale_bytes(self) -> int:
        return (
            -(-SCALE_BYTES * self.work.oc // 16) * 16 * self.layer.groups
            if self.weight_bytes
            else 0
        )

    @property
    def constant_bytes(self) -> int:
        return self.weight_bytes + self.scale_bytes

    def stripe_input(self, rows: int) -> int:
        """Input rows that `rows` output rows need."""
        w = self.work
        return min((rows - 1) * w.sh + w.dh * (w.kh - 1) + 1, w.ih)


def choose_block(t: Target, step: Step, rows: int) -> None:
    """Set the block for stripes of `rows` output rows, and the coded size of the weights it reads."""
    w = step.work
    if rows < w.oh:
        step.block = find_block(t, replace(w, oh=rows, ih=step.stripe_input(rows)))
    else:
        step.block = find_block(t, w)
    step.stripe = rows
    part = step.block.part_kernel
    if w.weighted and part not in step.sizes:
        step.sizes[part] = _coded_size(step.layer, part)
    step.weight_bytes = step.sizes.get(part, 0)


def _coded_size(layer: Layer, part: bool) -> int:
    if layer.op == "MatMul":
        return 0
    if layer.weights is None:
        return layer.groups * layer.work.weight_count
    return encoded_bytes(layer.weights, depthwise=layer.work.kind == "depthwise", part_kernel=part)


def op_cycles(
    t: Target, step: Step, *, depth: int = 0, where: tuple[str, ...] | None = None
) -> int:
    """NPU cycles without weight transfer; `depth` limits the output channels, `where` moves feature maps."""
    w, b = step.work, step.block
    if depth:
        w = replace(w, oc=min(depth, w.oc))
    read, write = ends(t, w, b, where or step.where, step.linear)
    bias = memory(t, "sram" if step.buffered else "dram").read_latency
    return (
        step.layer.groups * ublock_cycles(t, w, b, read=read, write=write, bias_latency=bias).total
    )


def ends(
    t: Target, w: Work, b: Block, where: tuple[str, ...], linear: tuple[bool, ...]
) -> tuple[int, int]:
    """Cycles to fetch the first input block and to store the last output block."""
    read = 0
    for place, flat in zip(where[:-1], linear[:-1], strict=True):
        m = memory(t, place)
        count = min(b.ih, w.ih) * min(b.iw, w.iw) * min(b.ic, w.ic) * w.bits // 8
        moved = transfer_bytes(m, count, w.iw, w.ic, b.iw, b.ic, w.bits, read=True, linear=flat)
        read = max(read, m.read_latency + int(moved / m.bytes_per_cycle))
    m = memory(t, where[-1])
    count = min(b.oh, w.oh) * min(b.ow, w.ow) * min(b.oc, w.oc)
    moved = transfer_bytes(
        m, count, w.ow, w.oc, b.ow, b.oc, 8, read=False, linear=linear[-1], cores=t.cores
    )
    return read, m.write_latency + int(moved / m.bytes_per_cycle)


def transfer_bytes(
    m: Memory, count: int, width: int, channels: int, block_width: int, block_channels: int, bits: int,
    *, read: bool, linear: bool, cores: int = 1,
) -> int:  # fmt: skip
    """Bytes that `count` bytes cost on the bus: short runs waste the rest of a burst."""
    if not linear:
        run = BRICK * bits * block_width * (1 if read else cores)
        if width * bits * BRICK // 8 == block_channels:
            run = bits * block_width * block_channels
    elif channels * bits // 8 == block_channels and (read or block_channels <= 16):
        run = bits * block_width * block_channels
    else:
        run = (
            bits * block_channels if read else min(64 * 8, 16 * bits * cores, bits * block_channels)
        )
    return count * m.burst // max(min(m.burst, run // 8), 1)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Elements that an operation reads per input and writes."""

    inputs: tuple[int, ...]
    output: int


def traffic(step: Step) -> Traffic:
    """Feature-map elements moved between memory and block memory over the whole operation."""
    return map_traffic(step.work, step.block, step.linear)


def map_traffic(w: Work, b: Block, linear: tuple[bool, ...]) -> Traffic:
    """The same from plain numbers; `linear` says of every input, then of the output, how it lies."""
    out = w.oh * w.ow * (w.oc if linear[-1] else _brick(w.oc))
    operands = len(linear) - 1
    if w.kind == "elementwise":
        return Traffic((w.oh * w.ow * (w.oc if linear[0] else _brick(w.oc)),) * operands, out)
    deep = 1 if w.equal_depth else -(-w.oc // min(b.oc, w.oc))
    parts = -(-w.kh // SUBKERNEL) * -(-w.kw // SUBKERNEL) if w.kind != "gemm" else 1
    channels = w.ic if linear[0] else _brick(w.ic)
    one = min(b.ih, w.ih) * min(b.iw, w.iw) * channels * parts * refetch(w, b) * deep
    return Traffic((one, *(w.ih * w.iw * w.ic,) * (operands - 1)), out)


def refetch(w: Work, b: Block) -> int:
    """How often the weights are read: once per block of rows and columns."""
    return -(-w.oh // b.oh) * -(-w.ow // b.ow)


def map_bytes(
    t: Target, w: Work, b: Block, where: tuple[str, ...], linear: tuple[bool, ...]
) -> dict[str, float]:
    """Bytes of feature maps on each memory over the whole operation."""
    moved = map_traffic(w, b, linear)
    out: dict[str, float] = {"sram": 0.0, "dram": 0.0}
    for place, flat, count in zip(where[:-1], linear[:-1], moved.inputs, strict=True):
        out[place] += transfer_bytes(
            memory(t, place), count * w.bits // 8, w.iw, w.ic, b.iw, b.ic, w.bits, read=True, linear=flat
        )  # fmt: skip
    out[where[-1]] += transfer_bytes(
        memory(t, where[-1]), moved.output, w.ow, w.oc, b.ow, b.oc, 8, read=False, linear=linear[-1], cores=t.cores
    )  # fmt: skip
    return out


def memory_bytes(t: Target, step: Step) -> dict[str, float]:
    """Bytes on each memory over the whole operation: feature maps, weights, scales, staging."""
    w = step.work
    out = map_bytes(t, w, step.block, step.where, step.linear)
    out = {place: count * step.layer.groups for place, count in out.items()}
    reads, early = step.refetch * step.weight_bytes, step.weight_bytes
    if step.buffered:
        late = step.weight_bytes - int(step.weight_bytes * step.slices[0] / w.oc)
        early = late if step.cascade < 0 and step.at else step.weight_bytes
        out["sram"] += reads + early
        out["dram"] += early + step.refetch * step.scale_bytes
    else:
        out["dram"] += reads + step.refetch * step.scale_bytes
    return out


def _brick(channels: int) -> int:
    return -(-channels // BRICK) * BRICK
