"""What a command costs on a target: cycles of its EXEC or transfer, bytes it moves, work it does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from edgeq.compiler.clock import decode_cycles, dma_cycles, memory, tile_cycles
from edgeq.compiler.command import Command
from edgeq.compiler.estimate import sram_traffic
from edgeq.compiler.ublock import find_block, ublock_cycles
from edgeq.compiler.vela_ops import ends, map_bytes, refetch
from edgeq.compiler.views import View
from edgeq.compiler.weight_codes import LayerCodes
from edgeq.compiler.work import Work
from edgeq.compiler.workload import picture_shape
from edgeq.runtime import isa
from edgeq.runtime.target import Target

SCALE_BYTES = 10  # bias, multiplier and shift of one output channel, loaded with its weights
COPIES = ("LAYOUT", "COPY", "FILL", "RESIZE", "GATHER")
_ELEMENTWISE = {number: name for name, number in isa.ELEMENTWISE_KINDS.items()}


@dataclass(frozen=True, slots=True)
class Price:
    """One command: cycles from start to end, of them on the external memory, and what it counts."""

    cycles: int
    dram_cycles: int = 0
    dram_bytes: int = 0
    sram_bytes: int = 0
    vector: int = 0
    macs: int = 0
    ends: int = 0  # of the cycles, those that a part of the same layer behind this one hides


def nbytes(view: View) -> int:
    """Bytes of a dense copy of a view."""
    return prod(view.dims) * isa.DTYPE_BYTES[view.dtype]


def reach(view: View) -> tuple[int, int]:
    """First byte and end of what a view touches, from the start of its root."""
    size = isa.DTYPE_BYTES[view.dtype]
    low = high = view.offset
    for d, s in zip(view.dims, view.strides, strict=True):
        if s < 0:
            low += (d - 1) * s
        else:
            high += (d - 1) * s
    return low * size, (high + 1) * size


def runs(view: View, burst: int = 1) -> tuple[int, int]:
    """A view as (rows, bytes of one row): the pieces a transfer meets. Gaps below a burst are read over."""
    size = isa.DTYPE_BYTES[view.dtype]
    row, rows = size, 1
    for d, s in zip(reversed(view.dims), reversed(view.strides), strict=True):
        step = abs(s) * size
        if d == 1:
            continue
        if rows == 1 and row <= step < row + burst:
            row += (d - 1) * step
        else:
            rows *= d
    return rows, row


def transfer(t: Target, view: View, *, write: bool = False) -> Price:
    """A DMA between SRAM and `view` outside.

    A micro-block array has no DMA for feature maps: it fetches its input itself, and what does not
    lie in bricks pixel by pixel, a burst for as many channels as a micro block takes.
    """
    rows, row = runs(view, max(t.dram_burst_bytes, 1))
    if not write and in_rows(t, view):
        rows, row = -(-nbytes(view) // t.ublock_ic), t.ublock_ic
    cycles = dma_cycles(t, rows, row, write=write)
    latency = memory(t, "dram").write_latency if write else memory(t, "dram").read_latency
    count = rows * row
    return Price(cycles, max(cycles - latency, 0), count, count)


def weights(t: Target, c: Command, codes: LayerCodes) -> Price:
    """A DMA of the weights of CONV or DWCONV, decoded on the way, and of their scales."""
    count = weight_bytes(t, c, codes)
    cycles = dma_cycles(t, 1, count)
    latency = memory(t, "dram").read_latency
    dram = max(cycles - latency, 0)
    cycles = max(cycles, latency + decode_cycles(t, len(c.constants)))
    return Price(cycles, dram, count, len(c.constants))


def weight_bytes(t: Target, c: Command, codes: LayerCodes) -> int:
    """Coded weights and scales of a CONV or DWCONV as they cross the external bus."""
    stored = codes.choose(c.constants)[2] if coded(t) else len(c.constants)
    return stored + SCALE_BYTES * c.out.dims[3]


def coded(t: Target) -> bool:
    """True when the target decodes weights on their way into SRAM."""
    return t.weight_decoder_bytes_per_cycle > 0


def in_rows(t: Target, view: View) -> bool:
    """True for a map that a micro-block array reads row by row: too few channels for a brick."""
    return t.dataflow == "ublock" and picture_shape(view.dims)[2] < t.ublock_ic


def execute(t: Target, c: Command) -> Price:
    """An EXEC with its operands in SRAM."""
    work, groups = work_of(c)
    cycles, hidden = _array_cycles(t, c, work, groups)
    vector = 0 if work.weighted else work.outputs * max(work.taps, work.operands)
    return Price(
        cycles,
        sram_bytes=sram_traffic(t, work) * groups,
        vector=(vector + work.outputs) * groups,
        macs=work.macs * groups,
        ends=hidden,
    )


def shift(t: Target, elements: int) -> Price:
    """Elements of a rolling buffer moved to its top. A micro-block array reads buffers that wrap round
    (Ethos-U: four tile bases a map) and moves nothing; only the kernels of the model need plain strides.
    """
    if t.dataflow == "ublock":
        return Price(0)
    return Price(
        int(elements * t.copy_cycles) + t.issue_cycles, sram_bytes=2 * elements, vector=elements
    )


def parts_cycles(t: Target, c: Command, channels: int, count: int) -> int:
    """Cycles of `count` parts of a layer like `c`, with so many of its channels."""
    work, groups = work_of(c)
    if channels < c.out.dims[-1]:
        if groups == 1:
            work = replace(work, oc=channels)
        else:
            groups = channels // work.oc
    cycles, hidden = _array_cycles(t, c, work, groups)
    return count * (cycles - hidden) + hidden


def _array_cycles(t: Target, c: Command, w: Work, groups: int) -> tuple[int, int]:
    """Cycles of an EXEC, and those of them that a part behind it hides.

    A micro-block array is never quicker than the SRAM port, through which every block fetches its
    input and its weights anew.
    """
    if t.dataflow != "ublock":
        cycles = groups * tile_cycles(t, w).total
        if w.weight_count:
            count = groups * w.weight_count * w.weight_bits // 8
            cycles = max(cycles, decode_cycles(t, count))
        return cycles, 0
    b = find_block(t, w)
    linear = tuple(in_rows(t, v) for v in (*c.ins[: max(w.operands, 1)], c.out))
    where = ("sram",) * len(linear)
    read, write = ends(t, w, b, where, linear)
    latency = memory(t, "sram").read_latency
    one = ublock_cycles(t, w, b, read=read, write=write, bias_latency=latency)
    moved = map_bytes(t, w, b, where, linear)["sram"]
    moved += refetch(w, b) * (w.weight_count * w.weight_bits // 8)
    port = int(groups * moved / t.sram_bytes_per_cycle)
    cycles = groups * one.total + t.issue_cycles
    return max(cycles, port), max(min(one.ends, cycles - port), 0)


def work_of(c: Command) -> tuple[Work, int]:
    """A command as plain numbers for the clock, and how often they are done."""
    x = c.ins[0] if c.ins else c.out
    (ih, iw, ic), (oh, ow, oc) = picture_shape(x.dims), picture_shape(c.out.dims)
    bits = 16 if x.dtype == "int16" else 8
    f = c.fields
    if c.opcode in ("CONV", "DWCONV"):
        groups = int(f.get("groups", 1)) if c.opcode == "CONV" else 1
        kind = "depthwise" if c.opcode == "DWCONV" else "conv"
        function = "lut" if c.lut_kind else "relu" if _clamps(c) else "output"
        one = Work(kind, ih, iw, ic // groups, oh, ow, oc // groups, f["kh"], f["kw"], f["sh"],
                   f["sw"], f["dh"], f["dw"], bits=bits, weight_bits=c.weight_bits,
                   function=function, bias=True)  # fmt: skip
        return one, groups
    match c.opcode:
        case "GEMM":
            m, k = c.out.dims[-2], x.dims[-1]
            return Work("gemm", 1, m, k, 1, m, oc, bits=bits), prod(c.out.dims[:-2])
        case "POOL":
            kind = "pool_avg" if f["kind"] == isa.POOL_KINDS["AVG"] else "pool_max"
            return Work(kind, ih, iw, ic, oh, ow, oc, f["kh"], f["kw"], f["sh"], f["sw"], bits=bits), 1  # fmt: skip
        case "REDUCE":
            if len(x.dims) == 4 and f["axes"] == 0b0110:
                return Work("pool_avg", ih, iw, ic, oh, ow, oc, x.dims[1], x.dims[2], bits=bits,
                            function="reduce"), 1  # fmt: skip
            return Work("reduce_sum", ih, iw, ic, ih, iw, ic, bits=bits, function="reduce"), 1
        case "SOFTMAX":
            function = "softmax"
        case "ELEMENTWISE":
            function = "add" if _ELEMENTWISE[int(f["kind"])] == "ADD" else "mul"
        case "LUT":
            function = "lut"
        case _:
            function = "copy"
    operands = max(len(c.ins), 1)
    return Work("elementwise", oh, ow, oc, oh, ow, oc, bits=bits, function=function,
                operands=operands), 1  # fmt: skip


def _clamps(c: Command) -> bool:
    """True when the output is clamped to less than its dtype."""
    low = -128 if c.out.dtype == "int8" else -32768
    oc = c.out.dims[3]  # rows may be padded behind
    lo, hi = c.rows["lo"][:oc], c.rows["hi"][:oc]
    return bool((lo > low).any() or (hi < -low - 1).any())
