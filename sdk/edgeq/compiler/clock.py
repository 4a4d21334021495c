"""The clock's formulas: cycles of one tile on a Target, from plain numbers alone.

Array (M pixels, K = kh*kw*ic, N = oc; Fk = ceil(K/R), Fn = ceil(N/C), Fm = ceil(M/R)):
  weight-stationary   fill R + C - 2 and preload R once, then Fk*Fn passes of max(M, R): the next
                      weights load while the present ones work;
  output-stationary   Fm*Fn passes of max(K, C) behind a fill R + C - 2: results shift out while the
                      next pass begins;
  ublock              compiler/ublock.py.
Pooling runs on the vector unit as two passes, kh taps down and kw taps along.
`scalesim_cycles` is the same without any overlap, as SCALE-Sim counts (Samajdar et al., ISPASS 2020).
Everything is data-independent: the compiler stores these numbers, the model recomputes them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeq.compiler.ublock import Block, find_block, stage_rate, ublock_cycles
from edgeq.compiler.work import Work
from edgeq.errors import CompileError
from edgeq.runtime.target import Target


@dataclass(frozen=True, slots=True)
class TileCycles:
    """Cycles of one EXEC: array, output stage or vector unit, and both overlapped with the issue."""

    array: int
    output: int
    total: int


def tile_cycles(t: Target, w: Work, *, block: Block | None = None) -> TileCycles:
    """Cycles of one tile that lies in SRAM on one core (all cores together for ublock targets).

    Raises CompileError when the target has no array (cpu).
    """
    if t.dataflow == "none":
        raise CompileError(f"target {t.name}: it has no clock; choose an NPU target.")
    if t.dataflow == "ublock":
        return _ublock_tile(t, w, block)
    outputs = math.ceil(w.outputs * stage_rate(t, w))
    match w.kind:
        case "conv" | "gemm":
            k = w.taps * w.ic
            array = matrix_cycles(t, w.pixels, k, w.oc, weight_bits=w.weight_bits, sparse=w.sparse)
            array *= max(w.bits // 8, 1)  # 16-bit inputs pass twice
        case "depthwise":
            array = depthwise_cycles(t, w.pixels, w.oc, w.taps, weight_bits=w.weight_bits)
            array *= max(w.bits // 8, 1)
        case "pool_max" | "pool_avg":
            array, outputs = 0, vector_cycles(t, w.outputs * (w.kh + w.kw), "pool_tap")
            if w.function == "reduce":
                outputs = vector_cycles(t, w.outputs * w.taps, "reduce")
        case _:
            array = 0
            if w.kind == "reduce_sum":
                outputs = vector_cycles(t, w.pixels * w.ic, "reduce")
    return TileCycles(array, outputs, max(array, outputs) + t.issue_cycles)


def matrix_cycles(
    t: Target,
    m: int,
    k: int,
    n: int,
    *,
    weight_bits: int = 8,
    sparse: bool = False,
    small: bool = False,
) -> int:
    """Cycles of (m, k) x (k, n) on one systolic core; 4-bit and 2:4 sparse weights deepen the array."""
    rows, cols = (t.small_rows, t.small_cols) if small else (t.rows, t.cols)
    deep = int(rows * (t.w4a8_rate if weight_bits == 4 else 1) * (t.sparse24_rate if sparse else 1))
    fill = rows + cols - 2
    if t.dataflow == "ws_systolic":
        return rows + fill + -(-k // deep) * -(-n // cols) * max(m, rows)
    return fill + -(-m // rows) * -(-n // cols) * max(-(-k * rows // deep), cols)


def scalesim_cycles(dataflow: str, rows: int, cols: int, m: int, k: int, n: int) -> int:
    """Cycles of (m, k) x (k, n) as SCALE-Sim 3 reports them for a layer without memory stalls.

    Weight-stationary: every fold loads R rows of weights, then streams M behind R + C - 2.
    Output-stationary: every fold streams K behind R + C - 2. It counts from 0, so one is taken off.
    """
    fill = rows + cols - 2
    if dataflow == "ws_systolic":
        return -(-k // rows) * -(-n // cols) * (m + rows + fill) - 1
    if dataflow == "os_systolic":
        return -(-m // rows) * -(-n // cols) * (k + fill) - 1
    raise CompileError(f"dataflow {dataflow!r}: SCALE-Sim mode knows ws_systolic and os_systolic.")


def depthwise_cycles(
    t: Target, pixels: int, channels: int, taps: int, *, weight_bits: int = 8
) -> int:
    """Depthwise path of one systolic core: a column per channel, `depthwise_taps_per_cycle` each.

    The same multipliers as elsewhere: w4a8_rate times as many taps with 4-bit weights.
    """
    rate = int(t.depthwise_taps_per_cycle * (t.w4a8_rate if weight_bits == 4 else 1))
    return t.rows + -(-channels // t.cols) * pixels * -(-taps // rate)


def vector_cycles(t: Target, elements: int, function: str) -> int:
    """Cycles of `elements` on one vector unit; `function` names a `<function>_cycles` of the target."""
    return -(-int(elements * getattr(t, f"{function}_cycles") * 1024) // 1024)


@dataclass(frozen=True, slots=True)
class Memory:
    """One memory as a DMA channel or a core's port sees it."""

    bytes_per_cycle: float
    read_latency: int
    write_latency: int
    burst: int
    outstanding: int


def memory(t: Target, name: str) -> Memory:
    """The `sram` of a core or the `dram` (or flash) that all cores share."""
    if name == "sram":
        return Memory(t.sram_bytes_per_cycle, t.sram_read_latency_cycles, t.sram_write_latency_cycles,
                      t.sram_burst_bytes, t.sram_outstanding)  # fmt: skip
    return Memory(t.dram_bytes_per_cycle * t.dram_efficiency, t.dram_read_latency_cycles,
                  t.dram_write_latency_cycles, t.dram_burst_bytes, t.dram_outstanding)  # fmt: skip


def dma_cycles(
    t: Target, rows: int, row_bytes: int, *, where: str = "dram", write: bool = False
) -> int:
    """Cycles of one transfer of `rows` separate rows: latency, then whole bursts at the memory's rate.

    The rate falls when too few requests are in flight to cover the latency.
    """
    if rows <= 0 or row_bytes <= 0:
        return 0
    m = memory(t, where)
    latency = m.write_latency if write else m.read_latency
    bursts = rows * -(-row_bytes // m.burst)
    rate = (
        min(m.bytes_per_cycle, m.outstanding * m.burst / latency) if latency else m.bytes_per_cycle
    )
    return latency + math.ceil(bursts * m.burst / rate)


def decode_cycles(t: Target, weight_bytes: int) -> int:
    """Cycles to expand coded weights to `weight_bytes` in the array's order."""
    rate = t.weight_decoder_bytes_per_cycle
    return math.ceil(weight_bytes / rate) if rate else 0


def _ublock_tile(t: Target, w: Work, block: Block | None) -> TileCycles:
    b = block or find_block(t, w)
    sram = memory(t, "sram")
    read = sram.read_latency + int(
        min(b.ih, w.ih) * min(b.iw, w.iw) * min(b.ic, w.ic) * w.bits / 8 / sram.bytes_per_cycle
    )
    write = sram.write_latency + int(
        min(b.oh, w.oh) * min(b.ow, w.ow) * min(b.oc, w.oc) / sram.bytes_per_cycle
    )
    c = ublock_cycles(t, w, b, read=read, write=write, bias_latency=sram.read_latency)
    return TileCycles(c.mac, c.output, c.total + t.issue_cycles)
