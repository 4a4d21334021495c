"""Whole real models: an NPU target gives the bytes of the cpu target, quickly enough, and its clock is cheap."""

from __future__ import annotations

import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq.compiler import compile_graph
from edgeq.compiler.npu.check import missing_weights
from edgeq.graph.ir import Array, Graph
from edgeq.runtime import Session
from edgeq.runtime.npu.timeline import run_clock, slow_clock, tables

MODELS = {
    "resnet8": "resnet8_cifar/resnet8.onnx",
    "resnet20": "resnet20_cifar/resnet20.onnx",
    "vww_96": "vww_96/vww_96.onnx",
    "mobilenet_v1": "mobilenet_v1_075/mobilenet_v1_0.75_224.onnx",
    "mobilenet_v2": "mobilenet_v2/mobilenet_v2_1.0_224_dequantized.onnx",
    "yolox_nano": "yolox_nano/yolox_nano.onnx",
    "nanodet_m": "nanodet_m/nanodet_m.onnx",
    "ppocr_cls": "ppocr_cls/ppocr_cls_48x192.onnx",
    "lprnet": "lprnet/lprnet.onnx",
    "ppocrv3_det_640": "ppocrv3_det/ppocrv3_det_640.onnx",
    "ppocrv3_det_960": "ppocrv3_det/ppocrv3_det_960.onnx",
}
TARGETS = ("npu-dev", "npu-micro-256", "npu-hat-25t")
SECONDS = {"yolox_nano": 3.0, "ppocrv3_det_960": 10.0}
TOO_LARGE = {("ppocrv3_det_640", "npu-micro-256"), ("ppocrv3_det_960", "npu-micro-256")}

pytestmark = pytest.mark.slow


@cache
def quantized(path: Path) -> tuple[Graph, dict[str, Array], dict[str, Array]]:
    """A model quantized on noise (bits matter here, not accuracy), an input, and what the cpu says."""
    graph, rng = edgeq.read(path), np.random.default_rng(0)
    noise = {n: rng.normal(0, 1, graph.values[n].shape).astype(np.float32) for n in graph.inputs}
    made = edgeq.quantize(graph, edgeq.calibrate(graph, [noise]))
    inputs = {n: rng.integers(-128, 128, made.values[n].shape).astype(np.int8) for n in made.inputs}
    with Session(compile_graph(made).to_bytes(), threads=1) as session:
        return made, inputs, session.run(inputs, native=True)


@pytest.mark.parametrize("optimize", ["performance", "size"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", MODELS)
def test_npu_equals_cpu(shared: Path, name: str, target: str, optimize: str) -> None:
    graph, inputs, expected = quantized(shared / "models" / MODELS[name])
    if (name, target) in TOO_LARGE:
        with pytest.raises(edgeq.CompileError, match=r"fits from sram_kib=\d+ on"):
            compile_graph(graph, target=target, optimize=optimize)
        return
    begin = time.perf_counter()
    program = compile_graph(graph, target=target, optimize=optimize)
    seconds = time.perf_counter() - begin
    assert seconds < SECONDS.get(name, 10.0)
    assert not missing_weights(program)
    with Session(program.to_bytes(), threads=1) as session:
        actual = session.run(inputs, native=True)
        total = session.clock()
    for key, value in expected.items():
        np.testing.assert_array_equal(actual[key], value)
    assert total["sram_bound_bytes"] <= total["sram_peak_bytes"] <= total["sram_bytes"]
    assert program.to_bytes() == compile_graph(graph, target=target, optimize=optimize).to_bytes()


def test_the_clock_costs_less_than_a_millisecond(shared: Path) -> None:
    graph, _, _ = quantized(shared / "models" / MODELS["mobilenet_v2"])
    program = compile_graph(graph, target="npu-dev")
    assert program.timing is not None
    t = tables(program.commands, program.timing, program.cores)
    best = min(_seconds(lambda: run_clock(t)) for _ in range(20))
    assert best < 1e-3
    np.testing.assert_array_equal(run_clock(t).finish, slow_clock(t).finish)


def _seconds(work: object) -> float:
    assert callable(work)
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin
