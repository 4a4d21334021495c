"""Formulas of one tile: hand-made numbers, and laws that hold on every target."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.compiler.clock import (
    decode_cycles,
    depthwise_cycles,
    dma_cycles,
    matrix_cycles,
    scalesim_cycles,
    tile_cycles,
)
from edgeq.compiler.clock_vela import estimate_vela
from edgeq.compiler.energy import energy
from edgeq.compiler.estimate import estimate, layer_cycles
from edgeq.compiler.ublock import find_block, ublock_cycles
from edgeq.compiler.weight_size import encoded_bytes, quantized_weights
from edgeq.compiler.work import Work
from edgeq.compiler.workload import NetworkBuilder, from_graph
from edgeq.errors import CompileError
from edgeq.runtime.target import Target, list_targets, load_target

NPUS = [name for name in list_targets() if name != "cpu"]
CONV = Work("conv", 14, 14, 64, 14, 14, 96, 3, 3, function="relu", bias=True)
WORKS = {
    "conv": CONV,
    "gemm": Work("gemm", 1, 7, 512, 1, 7, 1000, bias=True),
    "depthwise": Work("depthwise", 28, 28, 48, 14, 14, 48, 3, 3, 2, 2, bias=True),
    "pool": Work("pool_max", 28, 28, 48, 14, 14, 48, 2, 2, 2, 2),
    "mean": Work("pool_avg", 7, 7, 320, 1, 1, 320, 7, 7, function="reduce"),
    "add": Work("elementwise", 14, 14, 64, 14, 14, 64, function="add", operands=2),
    "table": Work("elementwise", 14, 14, 64, 14, 14, 64, function="lut"),
    "softmax": Work("elementwise", 1, 1, 1000, 1, 1, 1000, function="softmax"),
}


@pytest.mark.parametrize("name", NPUS)
@pytest.mark.parametrize("work", WORKS.values(), ids=WORKS)
def test_every_tile_takes_time_and_never_less_than_its_macs(name: str, work: Work) -> None:
    t = load_target(name)
    cycles = tile_cycles(t, work)
    assert cycles.total >= max(
        1, work.macs // (t.macs_per_cycle if t.dataflow == "ublock" else t.rows * t.cols)
    )


def test_weight_stationary_hides_the_preload() -> None:
    t = load_target("npu-dev")
    assert matrix_cycles(t, 100, 64, 64) == 32 + 62 + 4 * 100
    assert (
        matrix_cycles(t, 8, 64, 64) == 32 + 62 + 4 * 32
    )  # a fold never takes less than its weights


def test_output_stationary_streams_k() -> None:
    t = load_target("npu-dev").what_if({"dataflow": "os_systolic"})
    assert matrix_cycles(t, 64, 100, 64) == 62 + 2 * 2 * 100
    assert matrix_cycles(t, 64, 10, 64) == 62 + 2 * 2 * 32  # results need as long to shift out


@pytest.mark.parametrize("flow", ["ws_systolic", "os_systolic"])
def test_four_bit_and_sparse_weights_halve_deep_layers(flow: str) -> None:
    t = load_target("npu-dev").what_if({"dataflow": flow})
    dense = matrix_cycles(t, 4096, 1024, 32)
    assert matrix_cycles(t, 4096, 1024, 32, weight_bits=4) == pytest.approx(dense / 2, rel=0.01)
    assert matrix_cycles(t, 4096, 1024, 32, sparse=True) == pytest.approx(dense / 2, rel=0.01)
    assert matrix_cycles(t, 4096, 1024, 32, weight_bits=4, sparse=True) == pytest.approx(
        dense / 4, rel=0.02
    )


@given(
    m=st.integers(1, 5000),
    k=st.integers(1, 5000),
    n=st.integers(1, 2000),
    flow=st.sampled_from(["ws_systolic", "os_systolic"]),
)
@settings(max_examples=100)
def test_the_overlapped_clock_never_exceeds_scalesim(m: int, k: int, n: int, flow: str) -> None:
    t = load_target("npu-dev").what_if({"dataflow": flow})
    assert (
        matrix_cycles(t, m, k, n)
        <= scalesim_cycles(flow, t.rows, t.cols, max(m, 32), max(k, 32), n) + 1
    )


@given(m=st.integers(1, 2000), k=st.integers(1, 2000), n=st.integers(1, 500))
@settings(max_examples=100)
def test_more_work_never_takes_fewer_cycles(m: int, k: int, n: int) -> None:
    t = load_target("npu-hat-25t")
    base = matrix_cycles(t, m, k, n)
    assert all(
        matrix_cycles(t, *more) >= base for more in ((m + 1, k, n), (m, k + 1, n), (m, k, n + 1))
    )


def test_depthwise_has_its_own_path() -> None:
    t = load_target("npu-dev")
    assert depthwise_cycles(t, 100, 64, 9) == 32 + 2 * 100 * 3


def test_transfers_pay_latency_bursts_and_what_is_in_flight() -> None:
    t = load_target("npu-dev").what_if(
        {"dram_efficiency": "1", "dram_read_latency_cycles": "100", "dram_outstanding": "100"}
    )
    assert dma_cycles(t, 1, 1600) == 100 + 1600 // 16
    assert dma_cycles(t, 100, 1) == 100 + 100 * 64 // 16  # a byte costs a burst
    assert dma_cycles(t, 0, 64) == dma_cycles(t, 3, 0) == 0
    starved = t.what_if({"dram_outstanding": "1"})
    assert dma_cycles(starved, 1, 6400) == 100 + 6400 * 100 // 64  # one burst per latency


def test_the_decoder_is_a_rate() -> None:
    assert decode_cycles(load_target("npu-dev"), 3200) == 100


def test_the_cpu_has_no_clock() -> None:
    with pytest.raises(CompileError, match="no clock"):
        tile_cycles(load_target("cpu"), CONV)
    with pytest.raises(CompileError, match="no energy table"):
        energy(load_target("cpu"), macs=1, sram_bytes=1, dram_bytes=1, vector_elements=1, seconds=1)


def _micro() -> Target:
    return load_target("npu-micro-256")


def test_block_memory_too_small_for_any_block_is_an_error() -> None:
    with pytest.raises(CompileError, match="no block fits"):
        find_block(_micro().what_if({"accumulator_kib": "4"}), CONV)


@given(
    ih=st.integers(1, 64), iw=st.integers(1, 64), ic=st.integers(1, 96), oc=st.integers(1, 96), k=st.integers(1, 9),
    kind=st.sampled_from(["conv", "depthwise", "pool_max", "gemm", "elementwise"]),
)  # fmt: skip
@settings(max_examples=60)
def test_a_chosen_block_covers_micro_blocks_and_does_the_work(
    ih: int, iw: int, ic: int, oc: int, k: int, kind: str
) -> None:
    t = _micro()
    k = k if kind in ("conv", "depthwise", "pool_max") else 1
    oc = oc if kind in ("conv", "gemm") else ic
    w = Work(
        kind, ih, iw, ic, ih, iw, oc, k, k, function="add" if kind == "elementwise" else "output"
    )
    b = find_block(t, w)
    assert b.oh % t.ublock_h == b.ow % t.ublock_w == b.oc % t.ublock_oc == 0
    cycles = ublock_cycles(t, w, b)
    assert cycles.total >= w.macs // t.macs_per_cycle


def test_vela_mode_is_for_micro_blocks_only(shared: Path) -> None:
    n = NetworkBuilder("one")
    net = n.build(n.conv(n.input(8, 8, 8), 8, 1))
    with pytest.raises(CompileError, match="needs dataflow ublock"):
        estimate_vela(net, load_target("npu-dev"))
    with pytest.raises(CompileError, match="performance or size"):
        estimate_vela(net, _micro(), optimize="speed")


def test_coded_weights_shrink_with_entropy_and_zeros() -> None:
    rng = np.random.default_rng(0)
    flat = rng.integers(-127, 128, (64, 3, 3, 64))
    peaked = np.clip(np.rint(rng.laplace(0, 4, flat.shape)), -127, 127).astype(int)
    sparse = np.where(rng.random(flat.shape) < 0.9, 0, flat)
    raw = flat.size
    assert encoded_bytes(peaked) < 0.75 * raw < encoded_bytes(flat) < 1.08 * raw
    assert encoded_bytes(sparse) < 0.3 * raw
    assert encoded_bytes(np.zeros((64, 64), int)) <= 32


def test_the_coded_size_does_not_depend_on_the_dtype_of_the_weights() -> None:
    w = np.random.default_rng(1).integers(-127, 128, (16, 3, 3, 16))
    assert encoded_bytes(w.astype(np.int8)) == encoded_bytes(w)


def test_dead_channels_become_zeros() -> None:
    w = np.ones((4, 3, 3, 2), np.float32)
    w[1] = 1e-12
    q = quantized_weights(w)
    assert not q[1].any()
    assert q[0].max() == 127


@pytest.mark.parametrize("name", ["npu-dev", "npu-hat-25t", "npu-micro-256", "npu-phone-40t"])
def test_four_bit_weights_never_slow_a_network_down(name: str) -> None:
    n = NetworkBuilder("net")
    x = n.conv(n.input(56, 56, 3), 64, 3, 2)
    net = n.build(n.conv(n.mean(n.add(n.conv(x, 64, 3), x)), 100, 1))
    t = load_target(name)
    wide, narrow = estimate(net, t), estimate(net, t, weight_bits=4)
    assert narrow.fps >= wide.fps
    assert narrow.dram_bytes < wide.dram_bytes
    assert wide.macs == net.macs == sum(layer.macs for layer in wide.layers)


def test_less_sram_never_moves_fewer_bytes() -> None:
    n = NetworkBuilder("net")
    x = n.conv(n.input(128, 128, 3), 32, 3)
    net = n.build(n.conv(n.conv(x, 64, 3), 8, 1))
    moved = [
        estimate(net, load_target("npu-dev").what_if({"sram_kib": str(k)})).dram_bytes
        for k in (8192, 1024, 128)
    ]
    assert moved == sorted(moved)
    assert moved[0] < moved[-1]


def test_layers_of_a_graph_are_priced_one_by_one(shared: Path) -> None:
    from edgeq.frontend.onnx_reader import read_onnx

    graph = read_onnx(shared / "models/mobilenet_v2/mobilenet_v2_1.0_224_dequantized.onnx")
    t = load_target("npu-dev")
    cycles = {node.name: layer_cycles(node, graph, t) for node in graph.nodes}
    assert cycles["Flatten_99"] == 0
    assert cycles["Conv_0"] == tile_cycles(t, from_graph(graph).layers[0].work).total
    assert sum(cycles.values()) == sum(c.exec_cycles for c in estimate(from_graph(graph), t).layers)


def test_energy_adds_up_and_has_its_band() -> None:
    t = load_target("npu-dev")
    e = energy(
        t, macs=10**9, sram_bytes=10**6, dram_bytes=10**6, vector_elements=10**6, seconds=1e-3
    )
    assert e.mac_uj == pytest.approx(200)
    assert e.dram_uj == pytest.approx(64)
    assert e.static_uj == pytest.approx(100)
    assert (e.low_uj, e.high_uj) == pytest.approx((0.5 * e.total_uj, 1.5 * e.total_uj))
    assert energy(
        t, macs=10**9, sram_bytes=0, dram_bytes=0, vector_elements=0, seconds=0, macs4=10**9
    ).total_uj == pytest.approx(130)
    assert replace(CONV, weight_bits=4).macs == CONV.macs
