"""QDQ files under construction, and how far their integers are from ONNX Runtime's."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from edgeq.compiler import compile_graph
from edgeq.frontend.qdq_reader import read_qdq
from edgeq.graph.reference import dequantize_outputs, quantize_inputs, run_integer
from edgeq.quantizer import verify_quantized
from tests.frontend.onnx_build import Model
from tests.frontend.test_onnx_ops import graph_inputs


class Qdq(Model):
    """A model under construction with pairs."""

    def pair(
        self, x: str, scale: Any = 0.05, zero: Any = 0, dtype: str = "int8", **how: Any
    ) -> str:
        s, z = self.const(scale), self.const(zero, dtype)
        return self.op("DequantizeLinear", self.op("QuantizeLinear", x, s, z, **how), s, z, **how)

    def stored(self, data: Any, scale: Any, zero: Any, dtype: str = "int8", **how: Any) -> str:
        return self.op(
            "DequantizeLinear", self.const(data, dtype), self.const(scale), self.const(zero, dtype), **how
        )  # fmt: skip

    def weights(self, *shape: int) -> str:
        data = np.random.default_rng(0).integers(-127, 128, shape)
        zero = np.zeros(shape[0])
        return self.stored(data, np.full(shape[0], 0.01), zero, axis=0)


def hand(build: Callable[[Qdq], Any], shape: Sequence[int] = (1, 3, 8, 8)) -> onnx.ModelProto:
    m = Qdq(21)
    build(m)
    model = m.proto([shape])
    model.ir_version = 10
    return model


def feeds(model: onnx.ModelProto, count: int, seed: int) -> list[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        for info in model.graph.input:
            n, c, h, w = (d.dim_value for d in info.type.tensor_type.shape.dim)
            x = 0.5 * rng.standard_normal((n, c, h, w)) + 0.7 * rng.standard_normal((1, c, 1, 1))
            found.append({info.name: x.astype(np.float32)})
    return found


def compare(body: bytes, inputs: Sequence[dict[str, np.ndarray]]) -> tuple[Counter[int], int]:
    """Differences to ONNX Runtime on the same file in LSB, and how often the largest output differs.

    Without its optimizations, which compute other integers on each machine.
    """
    graph = read_qdq(body)
    verify_quantized(graph)
    compile_graph(graph)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(body, options, providers=["CPUExecutionProvider"])
    found, wrong = Counter[int](), 0
    for x in inputs:
        ints = quantize_inputs(graph, graph_inputs(graph, x))
        got = dequantize_outputs(graph, run_integer(graph, ints))
        for name, want in zip(graph.outputs, session.run(list(graph.outputs), x), strict=True):
            q = graph.values[name].q
            assert q is not None
            lsb = np.abs(np.rint((got[name] - want) / q.scale)).astype(int)
            found.update(lsb.reshape(-1).tolist())
            wrong += int((got[name].argmax(-1) != want.argmax(-1)).sum())
    return found, wrong
