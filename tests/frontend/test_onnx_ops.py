"""Every ONNX operator: read, canonicalise, run and write back give what ONNX Runtime gives."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeq.frontend.onnx_reader import read_onnx
from edgeq.frontend.onnx_writer import write_onnx
from edgeq.graph.ir import Graph
from edgeq.graph.reference import run_float
from edgeq.graph.verify import verify
from edgeq.passes import PASSES, canonicalise
from tests.frontend.onnx_cases import CASES, Case

ROWS = [pytest.param(c, o, id=f"{c.name}-{o}") for c in CASES for o in c.opsets]


def ort_run(model: onnx.ModelProto, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, inputs))


def graph_inputs(graph: Graph, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    layout = graph.meta["input_layout"]
    return {k: x.transpose(0, 2, 3, 1) if layout.get(k) == "NHWC" else x for k, x in inputs.items()}


def close(got: np.ndarray, want: np.ndarray, tolerance: float = 1e-5) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(
        got, want, rtol=tolerance, atol=tolerance * max(1.0, float(np.abs(want).max()))
    )


@pytest.mark.parametrize(("case", "opset"), ROWS)
def test_graph_computes_what_the_model_computes(case: Case, opset: int) -> None:
    model, inputs = case.model(opset), case.inputs()
    (want,) = ort_run(model, inputs)
    raw = read_onnx(model, canonical=False)
    verify(raw)
    out = raw.outputs[0]
    close(run_float(raw, graph_inputs(raw, inputs))[out], want, case.tolerance)
    graph = verify(canonicalise(raw))
    assert graph.outputs == raw.outputs
    close(run_float(graph, graph_inputs(graph, inputs))[out], want, case.tolerance)
    assert canonicalise(graph) is graph


@pytest.mark.parametrize(("case", "opset"), ROWS)
def test_written_model_computes_what_the_model_computes(case: Case, opset: int) -> None:
    model, inputs = case.model(opset), case.inputs()
    (want,) = ort_run(model, inputs)
    written = write_onnx(read_onnx(model))
    onnx.checker.check_model(written, full_check=True)
    assert [o.name for o in written.graph.output] == [o.name for o in model.graph.output]
    close(ort_run(written, inputs)[0], want)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_every_pass_alone_keeps_the_result(case: Case) -> None:
    model, inputs = case.model(case.opsets[-1]), case.inputs()
    graph = read_onnx(model, canonical=False)
    out = graph.outputs[0]
    for rewrite in PASSES:
        before = run_float(graph, graph_inputs(graph, inputs))[out]
        graph = verify(rewrite(graph))
        after = run_float(graph, graph_inputs(graph, inputs))[out]
        close(after, before)


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_reading_is_deterministic(case: Case) -> None:
    model = case.model(case.opsets[-1])
    first, second = (
        write_onnx(read_onnx(model)).SerializeToString(deterministic=True) for _ in range(2)
    )
    assert first == second
