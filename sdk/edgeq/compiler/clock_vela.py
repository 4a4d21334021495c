"""Check mode `vela`: what Arm's Vela 5 would report for a network on an Ethos-U-like target.

Sum over operations of max(NPU cycles, cycles of each memory), with Vela's schedule: weights staged in
SRAM where they are read more than once, in slices when they are late; cascades of height stripes for
size, or where feature maps do not fit; the rest of SRAM given to the feature maps that are read most.
Formulas and order of decisions after Vela 5 (Arm, Apache-2.0), restated and checked against its
reports. The clock of the simulated NPU itself is another one (an event timeline).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeq.compiler.clock import memory
from edgeq.compiler.ublock import find_block
from edgeq.compiler.vela_ops import Step, choose_block, memory_bytes, op_cycles
from edgeq.compiler.vela_schedule import schedule
from edgeq.compiler.work import Work
from edgeq.compiler.workload import Layer, Network
from edgeq.errors import CompileError
from edgeq.runtime.target import Target

SOFTMAX_SCALARS = 21  # 32-bit operations on single numbers: the reciprocal of the sum


@dataclass(frozen=True, slots=True)
class OpEstimate:
    """One operation: NPU cycles, cycles of each memory, and the largest of them."""

    name: str
    op: str
    npu: int
    sram: int
    dram: int
    cycles: int


@dataclass(frozen=True, slots=True)
class VelaEstimate:
    """Sums over the operations, and the most SRAM in use at once."""

    npu_cycles: int
    sram_cycles: int
    dram_cycles: int
    total_cycles: int
    sram_peak_bytes: int
    ops: tuple[OpEstimate, ...]


def estimate_vela(network: Network, t: Target, *, optimize: str = "performance") -> VelaEstimate:
    """Estimate a network as Vela does. Raises CompileError unless the target is of micro blocks."""
    if t.dataflow != "ublock":
        raise CompileError(f"target {t.name}: vela mode needs dataflow ublock, got {t.dataflow}.")
    if optimize not in ("performance", "size"):
        raise CompileError(f"optimize {optimize!r}: it must be performance or size.")
    steps = [_step(network, t, at, layer) for at, layer in enumerate(network.layers)]
    peak = schedule(steps, network, t, size=optimize == "size")
    ops: list[OpEstimate] = []
    slack = 0
    for step in steps:
        estimate, slack = _estimate(step, t, slack)
        ops += [estimate, *_softmax_rest(step.layer, t)]
    return VelaEstimate(
        npu_cycles=sum(o.npu for o in ops),
        sram_cycles=sum(o.sram for o in ops),
        dram_cycles=sum(o.dram for o in ops),
        total_cycles=sum(o.cycles for o in ops),
        sram_peak_bytes=peak,
        ops=tuple(ops),
    )


def _step(network: Network, t: Target, at: int, layer: Layer) -> Step:
    w = _as_vela(layer.work)
    edges = {*network.inputs, *network.outputs}
    names = (*layer.inputs, layer.output)
    linear = tuple(n in edges or not _bricks(network, n, w, own=n == layer.output) for n in names)
    where = ("dram" if t.dram_writable else "sram",) * len(names)
    step = Step(at, layer, w, find_block(t, w), linear, where)
    choose_block(t, step, w.oh)
    step.cycles = op_cycles(t, step)
    return step


def _bricks(network: Network, name: str, w: Work, *, own: bool) -> bool:
    """Bricks of 16 channels need producer and consumer to agree on width and channels."""
    _, width, channels = network.buffers[name]
    want = (w.ow, w.oc) if own else (w.iw, w.ic)
    return (width, channels) == want or channels % 16 == 0


def _as_vela(w: Work) -> Work:
    """Means are average pools, functions of one variable pools of one tap; softmax begins with a maximum."""
    if w.kind == "pool_avg" and w.function == "reduce":
        return replace(w, function="output")
    if w.kind == "elementwise" and w.function in ("lut", "copy"):
        function = "lut" if w.function == "lut" else "output"
        return replace(w, kind="pool_avg", function=function, ih=w.oh, iw=w.ow, ic=w.oc)
    if w.kind == "elementwise" and w.function == "softmax":
        return Work("pool_max", 1, w.ic, 1, 1, 1, w.oh * w.ow, 1, w.ic)
    return w


def _estimate(step: Step, t: Target, slack: int) -> tuple[OpEstimate, int]:
    """Cycles of one operation, and the cycles it leaves for the next one's weights to arrive."""
    npu = step.cycles = op_cycles(t, step)
    left = npu
    if step.buffered:
        dram = memory(t, "dram")
        first = dram.read_latency + int(
            step.constant_bytes * step.slices[0] / step.work.oc / dram.bytes_per_cycle
        )
        whole = dram.read_latency + int(step.constant_bytes / dram.bytes_per_cycle)
        if len(step.slices) > 1:
            left = op_cycles(t, step, depth=step.slices[-1] - step.slices[-2])
        npu = max(whole - slack + left if step.cascade < 0 else 0, npu + max(first - slack, 0))
    if step.work.function == "lut":
        npu += max(
            memory(t, "dram").read_latency + int(2048 / memory(t, "dram").bytes_per_cycle) - slack,
            0,
        )
    used = memory_bytes(t, step)
    sram, dram_cycles = (int(used[m] / memory(t, m).bytes_per_cycle) for m in ("sram", "dram"))
    return OpEstimate(
        step.layer.name, step.layer.op, npu, sram, dram_cycles, max(npu, sram, dram_cycles)
    ), left


def _softmax_rest(layer: Layer, t: Target) -> list[OpEstimate]:
    """What follows the maximum of an 8-bit softmax: table, sum, reciprocal, products, shifts."""
    w = layer.work
    if w.kind != "elementwise" or w.function != "softmax":
        return []
    rows, n = w.oh * w.ow, w.ic
    padded, row = -(-n // 16) * 16 * rows, -(-rows // 1) * 16
    sram, dram = (memory(t, m).bytes_per_cycle for m in ("sram", "dram"))
    parts = [
        ("exp", padded * t.lut_cycles, 5 * padded / sram, 0),
        ("shift", n * rows * t.int32_binary_cycles, 8 * n * rows / sram, 0),
        ("sum", n * rows * 8 * t.pool_tap_cycles, 4 * padded / sram, 0),
        (
            "reciprocal",
            SOFTMAX_SCALARS * row * t.int32_binary_cycles,
            SOFTMAX_SCALARS * 8 * row / sram,
            0,
        ),
        ("product", padded * t.int32_binary_cycles, 8 * padded / sram, 0),
        ("offset", padded * t.int32_binary_cycles, 8 * padded / sram, 4 * n / dram),
        ("scale", n * rows * t.int32_binary_cycles, 5 * n * rows / sram, 0),
    ]
    return [
        OpEstimate(f"{layer.name}/{name}", "Softmax", int(npu), int(s), int(d), int(max(npu, s, d)))
        for name, npu, s, d in parts
    ]
