"""Micro-block arrays (Ethos-U-like): choice of block and traversal, and the cycles of one operation.

The array computes `ublock` outputs (h, w, oc) at a time from ic input channels; an operation runs as
blocks that fit the block memory, double-buffered: inputs from the front, accumulators from the back.
Formulas: Arm Ethos-U Vela 5, performance model and block search (Apache-2.0), restated here; the
start and end terms were identified from its published per-operation reports (tests/npu/test_vela.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from edgeq.compiler.work import Work
from edgeq.errors import CompileError
from edgeq.graph.ir import Array
from edgeq.runtime.target import Target

BLOCK_MAX = (32, 64, 128)  # h, w, oc
SUBKERNEL = 8  # kernels run in parts of at most 8x8
SPLIT_DEPTH = 16  # blocks that do not hold all channels hold a multiple of this
BANK_BYTES = 1024
OUTPUT_BANKS, LUT_BANKS = 2, 2


@dataclass(frozen=True, slots=True)
class Block:
    """Output and input block of an operation, and whether channels or taps run innermost."""

    oh: int
    ow: int
    oc: int
    ih: int
    iw: int
    ic: int
    part_kernel: bool


@lru_cache(maxsize=4096)
def find_block(t: Target, w: Work) -> Block:
    """Choose the block that fetches least per output and fits. Raises CompileError when none fits."""
    uh, uw, ud = t.ublock_h, t.ublock_w, t.ublock_oc
    part = w.kind == "conv" and _prefers_part_kernel(w)
    ic = (
        _round_up(min(w.ic, 16), 4)
        if w.bits == 16
        else _round_up(min(w.ic, 16 if part else 32), t.ublock_ic)
    )
    high, wide, deep = (
        _round_up(min(o, top), u)
        for o, top, u in zip((w.oh, w.ow, w.oc), BLOCK_MAX, (uh, uw, ud), strict=True)
    )
    kh, kw = w.dh * (w.kh - 1) + 1, w.dw * (w.kw - 1) + 1
    taps = w.kh * w.kw if w.kind in ("conv", "depthwise") else 0
    repeats = -(-kh // SUBKERNEL) * -(-kw // SUBKERNEL)
    depths = []
    depth = max(ud, min(deep, SPLIT_DEPTH))
    while depth <= deep:
        if depth < w.oc:
            depth = _round_up(depth, SPLIT_DEPTH)
        if depth <= deep:
            depths.append(depth)
        depth += ud
    bd, bh, bw = np.ix_(depths, range(uh, high + 1, uh), range(uw, wide + 1, uw))
    ih = _round_up((bh - 1) * w.sh + min(kh, SUBKERNEL), uh)
    iw = _round_up((bw - 1) * w.sw + min(kw, SUBKERNEL), uw)
    rows = np.minimum(bh, w.oh) if w.oh == 1 and w.kh == 1 and uh == 2 else bh
    grid = _Grid(bh, bw, bd, ih, iw, bd if w.equal_depth else ic, rows)
    fits = _fits(t, w, grid)
    if not fits.any():
        raise CompileError(
            f"{w.kind} {w.kh}x{w.kw} with stride {w.sh}x{w.sw}: no block fits {t.accumulator_kib} KiB of block memory of {t.name}."
        )
    cost = np.where(fits, _cost(w, grid, taps, repeats), np.inf)
    ties = np.argwhere(cost == cost.min())
    best, best_coverage = ties[0], float("inf")
    for tie in ties[1:]:  # of equal ones the first, or a small one that covers more of the input
        _, y, x = tie
        if bh[0, y, 0] > 4 or bw[0, 0, x] > 4:
            continue
        coverage = w.ih * w.iw / max(min(w.ih, ih[0, y, 0]) * min(w.iw, iw[0, 0, x]), 1)
        if coverage <= best_coverage:
            best, best_coverage = tie, coverage
    d, y, x = best
    oc = int(bd[d, 0, 0])
    return Block(
        int(bh[0, y, 0]), int(bw[0, 0, x]), oc, int(ih[0, y, 0]), int(iw[0, 0, x]),
        oc if w.equal_depth else ic, part,
    )  # fmt: skip


class _Grid(NamedTuple):
    """All blocks at once: arrays that broadcast over (depth, height, width). `rows` are those computed."""

    oh: Array
    ow: Array
    oc: Array
    ih: Array
    iw: Array
    ic: Array | int
    rows: Array


def _prefers_part_kernel(w: Work) -> bool:
    """Taps innermost where that wastes fewer multipliers than channels innermost."""
    if w.ic <= 8:
        return True
    taps, deep = w.kh * w.kw, 32 if w.bits == 8 else 16
    by_depth = w.ic / _round_up(w.ic, deep)
    by_taps = w.ic / _round_up(w.ic, 8) * taps / _round_up(taps, 4 if w.bits == 8 else 2)
    return bool(by_taps >= by_depth)


def _fits(t: Target, w: Work, b: _Grid) -> Array:
    """Double-buffered input and accumulator banks against the block memory of one core."""
    macs = t.macs_per_cycle // t.cores
    granule = macs // (16 if w.bits == 32 else 32)
    inputs = b.ih * b.iw * _round_up(b.ic * (w.bits // 8), 8)
    banks = _round_up(-(-inputs // BANK_BYTES) * 2, granule)
    if w.kind == "elementwise":
        banks = banks * (2 if w.operands > 1 or w.bits == 32 else 1)
    else:
        accumulators = b.rows * b.ow * _round_up(b.oc, 8) * 4
        banks = banks + _round_up(-(-accumulators // BANK_BYTES) * 2, max(macs // 16, 1))
    end = LUT_BANKS if t.accumulator_kib > 16 else 0
    return np.asarray(OUTPUT_BANKS + banks <= t.accumulator_kib - end)


def _cost(w: Work, b: _Grid, taps: int, repeats: int) -> Array:
    """Elements fetched per output element; halved when the whole input fits both buffers."""
    elements = w.outputs
    if w.kind == "elementwise":
        cost = elements / (b.oh * b.ow * b.oc)
    else:
        up, across, deep = -(-w.oh // b.rows), -(-w.ow // b.ow), -(-w.oc // b.oc)
        weights = taps * w.ic * up * across * 1.0
        if w.kind != "depthwise":
            weights = weights * w.oc
        inputs = b.ih * b.iw * w.ic * repeats * (w.oh / b.rows) * (w.ow / b.ow)
        cost = (inputs * (1 if w.equal_depth else deep) + weights) / elements
    whole = w.ih * w.iw * w.ic < b.ih * b.iw * b.ic * 2
    return np.where(whole, cost / 2, cost)


@dataclass(frozen=True, slots=True)
class UblockCycles:
    """Cycles of one operation: multipliers, output stage, command issue bound, all together.

    `ends` of the total fill and drain the pipeline: an operation that follows at once hides them.
    """

    mac: int
    output: int
    issue: int
    total: int
    ends: int = 0


def ublock_cycles(
    t: Target,
    w: Work,
    block: Block | None = None,
    *,
    read: int = 0,
    write: int = 0,
    bias_latency: int = 0,
) -> UblockCycles:
    """Cycles of an operation run block by block, the two stages overlapped.

    `read` and `write` are the cycles to fetch the first input block and to store the last output block,
    `bias_latency` the read latency of the memory that holds scales and biases.
    """
    b = block or find_block(t, w)
    if w.kind == "elementwise":
        return _elementwise_cycles(t, w, b, read, write)
    uh, uw, ud = t.ublock_h, t.ublock_w, t.ublock_oc
    rows, columns, deep = min(b.oh, w.oh), min(b.ow, w.ow), min(b.oc, w.oc)
    if uh == 2 and w.oh == 1 and w.ow % 2 == 0 and w.kh == 1 and w.kind in ("conv", "gemm"):
        uh, uw, rows = 1, 4, 1  # one-row outputs use the array as a row of micro blocks
    first = _block_macs(t, w, b, -(-rows // uh) * -(-columns // uw), -(-deep // ud)) // t.cores
    rate = stage_rate(t, w)
    store = int(rate * rows * columns * deep)
    if w.bias:
        store = max(store, 10 * deep * bias_latency // 256)
    blocks = (w.oh / rows) * (w.ow / columns) * (w.oc / deep)  # a part of a block takes its share
    issue = (abs(read - write) + store + first) // 4
    slow, quick = max(first, store, issue), max(min(first, store), issue)
    ends = quick + read + write
    total = int(blocks * slow) + ends
    return UblockCycles(
        int(blocks * first) + store, int(blocks * store) + first, issue, total, ends
    )


def _block_macs(t: Target, w: Work, b: Block, n_hw: int, n_d: int) -> int:
    """Multiplier cycles of one output block over all input channels, `n_hw` x `n_d` micro blocks."""
    weights = 32 * t.ublock_oc // 8  # a weight set takes this long to load
    ic = min(b.ic, w.ic)
    total = 0
    for y in range(0, w.kh, SUBKERNEL if w.kind != "gemm" else 1):
        for x in range(0, w.kw, SUBKERNEL if w.kind != "gemm" else 1):
            taps = min(w.kh - y, SUBKERNEL) * min(w.kw - x, SUBKERNEL)
            repeat = 1
            if w.kind in ("pool_max", "pool_avg"):
                steps, cycles = 1, max(4, taps) * n_hw * n_d * (w.bits // 2)
            elif w.kind == "depthwise":
                steps = -(-taps // 4)
                cycles = max(weights, 4 * n_hw * (w.bits // 8)) * steps * n_d
            elif b.part_kernel:
                steps = -(-taps // (2 if w.bits == 16 else 4))
                repeat = -(-ic // 8)
                cycles = max(weights, 4 * n_hw) * steps * n_d * repeat
            else:
                steps = taps
                cycles = max(weights, 4 * n_hw) * steps * n_d
            if n_hw == 1:  # too small to hide the accumulator's own latency
                cycles += 2 * repeat * (steps if n_d == 1 else (steps - 1) * n_d)
            total += cycles
    if w.kind in ("conv", "gemm", "reduce_sum"):
        total *= -(-w.ic // ic)
    return total


def _elementwise_cycles(t: Target, w: Work, b: Block, read: int, write: int) -> UblockCycles:
    elements, rate = w.oh * w.ow * _round_up(w.oc, 16), stage_rate(t, w)
    issue = ((read + write) / (b.oh * b.ow * b.oc) + rate) / 4
    total = int(elements * max(rate, issue))
    return UblockCycles(0, int(elements * rate), int(elements * issue), total)


def stage_rate(t: Target, w: Work) -> float:
    """Cycles per element of the output stage or vector function that ends the operation."""
    if w.kind == "pool_max" and w.function == "output":
        return t.pool_max_cycles
    rate = float(getattr(t, f"{w.function}_cycles"))
    return max(rate, t.output_cycles) if w.function == "lut" else rate


def _round_up(n: Any, to: int) -> Any:
    return -(-n // to) * to
