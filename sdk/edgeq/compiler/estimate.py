"""Whole-layer and whole-network estimates on a Target: the quick answer before tiling and scheduling.

Layers run in order on one core; the DMA prefetches the next layer's weights while the present layer
runs. Feature maps stay in SRAM where they fit, else they go through external memory once per reader.
In throughput mode every core works on its own picture and all share the external memory.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgeq.compiler.clock import decode_cycles, dma_cycles, memory, tile_cycles
from edgeq.compiler.work import Work
from edgeq.compiler.workload import Layer, Network, from_graph, lifetimes
from edgeq.errors import CompileError
from edgeq.graph.ir import Graph, Node
from edgeq.runtime.target import Target

FIRST_PART = 4  # a quarter of what a layer reads must be there before it starts
SRAM_SHARE = 8  # one part in so many of the SRAM holds tiles on their way


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer on one core, and what it moves."""

    name: str
    op: str
    macs: int
    exec_cycles: int  # array, output stage or vector unit
    dma_cycles: int  # external memory, when this core has it alone
    cycles: int  # time from the end of the layer before
    weight_bytes: int
    dram_bytes: int  # weights included
    sram_bytes: int
    vector_elements: int
    utilization: float  # MACs done of the MACs possible in `cycles`
    bound: str  # compute or dma


@dataclass(frozen=True, slots=True)
class NetworkCost:
    """A network on a target. `fps` runs one picture per core; `latency_ms` is one picture alone."""

    target: str
    layers: tuple[LayerCost, ...]
    cycles: int
    latency_ms: float
    fps: float
    fps_bound: str  # cores, dram or host link
    macs: int
    dram_bytes: int
    sram_bytes: int
    sram_peak_bytes: int
    vector_elements: int


def layer_cycles(node: Node, graph: Graph, t: Target) -> int:
    """Cycles of one node of a graph with its operands in SRAM; 0 where it is only a view."""
    part = replace(
        graph,
        nodes=(node,),
        inputs=tuple(i for i in node.inputs if i and not graph.values[i].is_constant),
        outputs=node.outputs,
    )
    return sum(exec_cycles(t, layer) for layer in from_graph(part).layers)


def exec_cycles(t: Target, layer: Layer) -> int:
    """Cycles of a layer on the array or vector unit of one core, everything in SRAM."""
    cycles = layer.groups * tile_cycles(t, layer.work).total
    if layer.work.weight_count and t.dataflow != "ublock":
        count = layer.groups * layer.work.weight_count
        cycles = max(cycles, decode_cycles(t, count * layer.work.weight_bits // 8))
    return cycles


def estimate(network: Network, t: Target, *, weight_bits: int = 8) -> NetworkCost:
    """Estimate a network. Raises CompileError when the target has no clock or no room for a layer."""
    if t.dataflow == "none":
        raise CompileError(f"target {t.name}: it has no clock; choose an NPU target.")
    if weight_bits == 4:
        network = replace(network, layers=tuple(_four_bits(layer) for layer in network.layers))
    kept, peak = resident(network, t)
    costs, dma_free, start, end = [], 0, 0, 0
    for layer in network.layers:
        run = exec_cycles(t, layer)
        outside = _outside_bytes(network, layer, kept)
        moved = layer.weight_bytes + outside
        transfer = _transfer_cycles(t, layer.weight_bytes) + _transfer_cycles(t, outside)
        dma_start = max(dma_free, start)  # weights prefetch during the layer before
        dma_free = dma_start + transfer
        start = max(end, dma_start + transfer // FIRST_PART)
        done = max(start + run, dma_free) + t.layer_cycles
        costs.append(_cost(network, t, layer, run, transfer, done - end, moved))
        end = done
    core_fps = (t.cores + t.small_cores * _small_share(t)) * t.clock_hz / max(end, 1)
    dram_bytes = sum(c.dram_bytes for c in costs)
    fps, bound = _throughput(t, core_fps, dram_bytes, _edge_bytes(network))
    return NetworkCost(
        target=t.name,
        layers=tuple(costs),
        cycles=end,
        latency_ms=1e3 * end / t.clock_hz + 1e3 * _link_s(t, _edge_bytes(network)),
        fps=fps,
        fps_bound=bound,
        macs=network.macs,
        dram_bytes=dram_bytes,
        sram_bytes=sum(c.sram_bytes for c in costs),
        sram_peak_bytes=peak,
        vector_elements=sum(c.vector_elements for c in costs),
    )


def resident(network: Network, t: Target) -> tuple[frozenset[str], int]:
    """Buffers that stay in SRAM (short-lived and small ones first), and the most bytes they take.

    Weight tiles and tiles of spilled maps keep their room: an eighth of the SRAM.
    """
    room = t.sram_bytes - t.sram_bytes // SRAM_SHARE
    live = _in_place(network, lifetimes(network))
    if not t.dram_writable:
        room = 1 << 62
    used = [0] * max(len(network.layers), 1)
    kept = set()
    sizes = {n: h * w * c for n, (h, w, c) in network.buffers.items()}
    edges = {*network.inputs, *network.outputs}
    for n in sorted(live, key=lambda n: (sizes[n] * (live[n][1] - live[n][0] + 1), n)):
        span = range(live[n][0], live[n][1] + 1)
        if n not in edges and all(used[at] + sizes[n] <= room for at in span):
            kept.add(n)
            for at in span:
                used[at] += sizes[n]
    return frozenset(kept), max(used) + (t.sram_bytes // SRAM_SHARE if t.dram_writable else 0)


def _in_place(network: Network, live: dict[str, tuple[int, int]]) -> dict[str, tuple[int, int]]:
    """An elementwise result takes the place of an operand of its size that ends there."""
    for at, layer in enumerate(network.layers):
        end = live[layer.output][1]
        same = (n for n in layer.inputs if network.buffers[n] == network.buffers[layer.output])
        if layer.work.kind == "elementwise" and end > at and any(live[n][1] == at for n in same):
            live[layer.output] = (at + 1, end)
    return live


def _outside_bytes(network: Network, layer: Layer, kept: frozenset[str]) -> int:
    """Feature-map bytes through external memory: what the layer itself reads and writes of spilled maps."""
    w = layer.work
    one = w.ih * w.iw * w.ic * (1 if w.equal_depth else layer.groups)
    reads = [n for n in layer.inputs if n not in kept]
    out = w.outputs * (1 if w.equal_depth else layer.groups)
    return one * len(reads) + (out if layer.output not in kept else 0)


def _transfer_cycles(t: Target, count: int) -> int:
    return dma_cycles(t, 1, count) if count else 0


def _cost(
    network: Network, t: Target, layer: Layer, run: int, transfer: int, cycles: int, moved: int
) -> LayerCost:
    w = layer.work
    peak = t.macs_per_cycle if t.dataflow == "ublock" else t.rows * t.cols
    vector = 0 if w.weighted else w.outputs * max(w.taps, w.operands)
    return LayerCost(
        layer.name,
        layer.op,
        layer.macs,
        run,
        transfer,
        cycles,
        layer.weight_bytes,
        moved,
        sram_traffic(t, w) * layer.groups,
        vector + w.outputs * layer.groups,
        layer.macs / max(cycles * peak, 1),
        "dma" if transfer > run else "compute",
    )


def sram_traffic(t: Target, w: Work) -> int:
    """Bytes that one operation reads from and writes to SRAM: inputs once per fold of columns."""
    cols = t.cols or t.ublock_oc * 16
    folds = -(-w.oc // cols) if w.kind in ("conv", "gemm") else max(w.operands, 1)
    taps = min(w.taps, 3)  # line buffers keep the rows of a window; its columns are read again
    return w.pixels * w.ic * taps * folds + w.weight_count * w.weight_bits // 8 + w.outputs


def _throughput(t: Target, core_fps: float, dram_bytes: int, edge_bytes: int) -> tuple[float, str]:
    """Pictures per second with one picture per core: the slowest of cores, shared memory and host link."""
    limits = {"cores": core_fps}
    if dram_bytes:
        limits["dram"] = memory(t, "dram").bytes_per_cycle * t.clock_hz / dram_bytes
    if t.host_link_bytes_per_s:
        limits["host link"] = t.host_link_bytes_per_s / max(edge_bytes, 1)
    if t.dataflow == "ublock":
        limits["cores"] = core_fps / t.cores  # its cores share one picture
    bound = min(limits, key=lambda k: limits[k])
    return limits[bound], bound


def _small_share(t: Target) -> float:
    """How much of a big core a small one does."""
    return t.small_rows * t.small_cols / (t.rows * t.cols) if t.small_cores else 0.0


def _edge_bytes(network: Network) -> int:
    return sum(
        h * w * c for h, w, c in (network.buffers[n] for n in (*network.inputs, *network.outputs))
    )


def _link_s(t: Target, count: int) -> float:
    return count / t.host_link_bytes_per_s if t.host_link_bytes_per_s else 0.0


def _four_bits(layer: Layer) -> Layer:
    return replace(layer, work=replace(layer.work, weight_bits=4)) if layer.work.weighted else layer
