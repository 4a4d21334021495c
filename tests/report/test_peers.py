"""Runtimes in processes of their own: what they answer, what fails, and when two models are the same."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgeq.compiler import compile_graph
from edgeq.errors import DeviceError
from edgeq.report import loadgen, peers
from edgeq.report.peers import (
    PACKAGES,
    Candidate,
    candidates,
    edgeq_row,
    installed,
    measure,
    relative_error,
)
from edgeq.report.speed import duel, markdown
from tests.cases import CASES, build
from tests.cli.conftest import tiny_model
from tests.frontend.onnx_build import Model
from tests.runtime.samples import everything


@pytest.fixture
def network(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(tiny_model())
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "net.edgeq"
    path.write_bytes(everything())
    return path


@pytest.mark.parametrize("peer", PACKAGES)
def test_every_peer_that_is_here_runs(
    peer: str, network: Path, program: Path, tmp_path: Path
) -> None:
    if not installed(PACKAGES[peer]):
        pytest.skip(f"no {PACKAGES[peer]} (pip install 'edgeq[peers]')")
    found = candidates(program, network, [peer], tmp_path / "models")
    results = measure(found.rows, 1, 0.1, lambda done, total: None)
    for one in results:
        assert one.get("p50_ms", 0) > 0, one
        assert one["quartiles_ms"][0] <= one["p50_ms"] <= one["quartiles_ms"][1]
        assert one["peak_rss_mb"] >= one["bare_rss_mb"] > 0
    assert len(found.rows) > 1 or found.left_out


def test_what_cannot_run_is_a_result(network: Path, program: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(network.read_bytes()[:200])
    rows = [Candidate("edgeq", "int8", program), Candidate("ort", "f32", broken)]
    ours, theirs = measure(rows, 1, 0.1, lambda done, total: None)
    assert ours["p50_ms"] > 0
    assert "INVALID_PROTOBUF" in theirs["error"]
    assert duel([ours, theirs]) is None


def row(runtime: str, ms: float, inputs: str = "float32") -> dict[str, object]:
    return {"runtime": runtime, "precision": "int8", "threads": 1, "inputs": inputs, "p50_ms": ms,
            "quartiles_ms": [ms, ms]}  # fmt: skip


def test_the_best_peer_counts() -> None:
    results = [row("edgeq", 2.0), row("ort", 6.0), row("openvino", 3.0)]
    document = {"versions": {"ort": "1"}, "load": 0.0, "peak_gmacs": 0.0,
                "models": {"m": {"results": results, "left_out": ["ncnn: gone"], "layers": []}}}  # fmt: skip
    text = markdown(document, {"cpu": "C", "cores": 1})
    assert "| m | edgeq int8 2 (2-2) | openvino int8 3 (3-3) | 1.50 | ort int8 6 (6-6) |" in text
    assert "| geometric mean | | | 1.50 | |" in text
    assert "m: ncnn: gone" in text


def test_integers_meet_integers() -> None:
    ours, native = row("edgeq", 2.0), row("edgeq", 1.0, "integers")
    lite = row("litert", 1.5, "integers")
    pair = duel([ours, native, lite])
    assert pair is not None and (pair.ours, pair.ratio) == (native, 1.5)
    pair = duel([ours, native, lite, row("ort", 2.5)])  # the float one comes closer
    assert pair is not None and (pair.ours, pair.ratio) == (ours, 1.25)
    pair = duel([ours, lite])  # nothing equal was timed
    assert pair is not None and pair.ratio == 0.75


@pytest.mark.parametrize(("bits", "expected"), [(4, "w4a8"), (8, "int8")])
def test_the_precision_is_read_off_the_commands(bits: int, expected: str, tmp_path: Path) -> None:
    case = next(c for c in CASES if c.op == "Conv" and c.bits == bits)
    path = tmp_path / "one.edgeq"
    path.write_bytes(compile_graph(build(case)[0]).to_bytes())
    assert edgeq_row(path).precision == expected


def test_a_converted_model_is_compared_with_its_source(network: Path, tmp_path: Path) -> None:
    m = Model(13)
    m.op("Relu", m.op("Conv", "x", m.weight(4, 3, 3, 3)))
    other = tmp_path / "other.onnx"
    other.write_bytes(m.proto([(1, 3, 16, 16)]).SerializeToString())
    one = Candidate("ort", "f32", network)
    assert relative_error(one, one, tmp_path) == 0.0
    assert relative_error(one, Candidate("ort", "f32", other), tmp_path) == float("inf")
    with pytest.raises(DeviceError):
        relative_error(one, Candidate("ort", "f32", tmp_path / "none.onnx"), tmp_path)


def test_an_error_inside_a_scenario_comes_out_of_loadgen(program: Path, tmp_path: Path) -> None:
    pytest.importorskip("mlperf_loadgen")
    good = {"in0": np.zeros((1, 6, 6, 3), np.float32)}
    with pytest.raises(DeviceError, match="inputs must be"):
        loadgen.run_scenario(
            program, [good, {"nothing": np.zeros(1)}], "offline",
            threads=2, seconds=0.1, queries=None, folder=tmp_path, step=lambda done, total: None,
        )  # fmt: skip


def test_the_converter_is_found_inside_its_wheel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wheel's own script imports torch, which --no-deps leaves out."""
    package = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: package)
    monkeypatch.setenv("PATH", "")
    assert peers._pnnx() is None
    (tmp_path / "pnnx").write_bytes(b"")
    assert peers._pnnx() == str(tmp_path / "pnnx")
