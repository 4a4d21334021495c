"""edgeq bench: files in turns, peers of a program, MLPerf scenarios."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Edgeq, Tiny

SCENARIOS = ("singlestream", "multistream", "offline")


def test_bench_measures_both_runtimes(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("bench", tiny.edgeq, tiny.onnx, "--seconds", 0.1, "--threads", 1, "--json")
    assert done.code == 0, done.err
    results = done.json["results"]
    assert [(one["runtime"], one["precision"], one["threads"]) for one in results] == [
        ("edgeq", "int8", 1),
        ("ort", "f32", 1),
    ]
    for one in results:
        assert 0 < one["p50_ms"] <= one["p95_ms"]
        assert one["peak_rss_mb"] > 10
        assert one["cold_start_ms"] > 0


def test_bench_takes_turns_with_each_number_of_threads(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("bench", tiny.edgeq, "--seconds", 0.1, "--threads", "1,2", "--json")
    assert [one["threads"] for one in done.json["results"]] == [1, 2]
    for wrong in ("0", "65", "1,", "two"):
        refused = edgeq("bench", tiny.edgeq, "--threads", wrong)
        assert refused.code == 2
        assert "must be numbers of 1..64" in refused.err


def test_bench_keeps_its_tables(edgeq: Edgeq, tiny: Tiny, tmp_path: Path) -> None:
    done = edgeq("bench", tiny.edgeq, "--seconds", 0.1, "--json", "-o", tmp_path / "b")
    assert json.loads((tmp_path / "b" / "bench.json").read_text()) == done.json
    assert "| tiny.edgeq | edgeq int8 |" in (tmp_path / "b" / "bench.md").read_text()


def test_a_tflite_file_needs_litert(
    edgeq: Edgeq, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgeq.report.peers.installed", lambda name: "")
    lite = tmp_path / "x.tflite"
    assert "does not exist" in edgeq("bench", lite).err
    lite.write_bytes(b"TFL3")
    done = edgeq("bench", lite)
    assert done.code == 2
    assert "ai-edge-litert must be installed, is not. Run: pip install 'edgeq[peers]'" in done.err


def test_vs_times_the_float_and_an_int8_model_of_the_peer(
    edgeq: Edgeq, tiny: Tiny, tmp_path: Path
) -> None:
    done = edgeq(
        "bench", tiny.edgeq, "--vs", "ort", "--seconds", 0.1, "--json", "-o", tmp_path / "b"
    )
    assert done.code == 0, done.err
    rows = [(r["threads"], r["runtime"], r["precision"]) for r in done.json["results"]]
    runtimes = [("edgeq", "int8"), ("ort", "f32"), ("ort", "int8")]
    assert rows == [(count, *one) for count in (1, 2) for one in runtimes]
    layers = done.json["layers"]["tiny"]
    assert {"node", "opcode", "ms", "gmacs", "peak_share"} <= set(layers[0])
    stored = json.loads((tmp_path / "b" / "bench.json").read_text())
    assert stored["models"]["tiny"]["results"] == done.json["results"]
    text = (tmp_path / "b" / "bench.md").read_text()
    assert "| 2 threads | edgeq | best peer | ratio |" in text
    assert "### tiny, 1 thread" in text


def test_vs_takes_the_int8_model_that_is_given(edgeq: Edgeq, tiny: Tiny, tmp_path: Path) -> None:
    qdq = tmp_path / "mine.onnx"
    assert edgeq("quantize", tiny.onnx, "-o", qdq, "--data", tiny.data).code == 0
    done = edgeq(
        "bench", tiny.edgeq, qdq, "--vs", "ort", "--threads", 1, "--seconds", 0.1, "--json"
    )
    assert [Path(r["file"]).name for r in done.json["results"]] == [
        "tiny.edgeq",
        "tiny.onnx",
        "mine.onnx",
    ]


def test_vs_names_what_is_not_installed(
    edgeq: Edgeq, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "edgeq.report.peers.installed", lambda name: "1" if name == "onnxruntime" else ""
    )
    one = ("bench", tiny.edgeq, "--seconds", 0.1, "--threads", 1)
    done = edgeq(*one, "--vs", "ort,ncnn", "--json")
    assert done.code == 0
    assert done.json["left_out"] == {
        "tiny": ["ncnn: ncnn is not installed. Run: pip install 'edgeq[peers]'"]
    }
    done = edgeq(*one, "--vs", "openvino,litert")
    assert done.code == 2
    assert "openvino, ai-edge-litert must be installed. Run: pip install 'edgeq[peers]'" in done.err


@pytest.fixture
def loadgen() -> None:
    try:
        import mlperf_loadgen  # noqa: F401
    except ModuleNotFoundError:
        assert os.environ.get("CI") != "true", "mlcommons-loadgen must be installed"
        pytest.skip("no mlcommons-loadgen: the scenarios are SKIPPED (pip install 'edgeq[dev]')")


@pytest.mark.usefixtures("loadgen")
@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("threads", [1, 2])
def test_scenarios_go_through_loadgen(
    edgeq: Edgeq, tiny: Tiny, tmp_path: Path, scenario: str, threads: int
) -> None:
    done = edgeq("bench", tiny.edgeq, "--scenario", scenario, "--seconds", 0.2, "--queries", 700,
                 "--threads", threads, "--json", "-o", tmp_path / "logs")  # fmt: skip
    assert done.code == 0, done.err
    (one,) = done.json["results"]
    folder = tmp_path / "logs" / "tiny" / scenario
    assert one["logs"] == str(folder)
    summary = (folder / "mlperf_log_summary.txt").read_text()
    assert f"Result is : {'VALID' if one['valid'] else 'INVALID'}" in summary
    assert one["samples_per_second"] > 0
    if scenario == "offline":
        assert (one["queries"], one["p99_ms"]) == (1, None)
        return
    assert one["queries"] >= 700
    assert 0 < one["p50_ms"] <= one["p90_ms"] <= one["p99_ms"]
    assert f"samples_per_query : {8 if scenario == 'multistream' else 1}\n" in summary
    percentile = {"singlestream": ("90.0", "p90_ms"), "multistream": ("99.0", "p99_ms")}[scenario]
    stated = next(r for r in summary.splitlines() if r.startswith(f"{percentile[0]}th percentile"))
    assert int(stated.split(":")[1]) == round(one[percentile[1]] * 1e6)


@pytest.mark.usefixtures("loadgen")
def test_a_table_of_all_scenarios(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("bench", tiny.edgeq, "--scenario", ",".join(SCENARIOS), "--seconds", 0.1,
                 "--queries", 5, "--threads", 1)  # fmt: skip
    assert done.code == 0, done.err
    assert all(name in done.out for name in (*SCENARIOS, "p90 ms", "p99 ms", "samples/s"))
    assert Path("mlperf/tiny/offline/mlperf_log_detail.txt").is_file()


def test_scenarios_without_loadgen_say_how_to_get_it(
    edgeq: Edgeq, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlperf_loadgen", None)
    done = edgeq("bench", tiny.edgeq, "--scenario", "offline")
    assert done.code == 2
    assert done.err.strip().endswith('must be installed, is not. Run: pip install "edgeq[bench]"')
    assert not Path("mlperf").exists()


def test_scenarios_stand_alone(edgeq: Edgeq, tiny: Tiny) -> None:
    for wrong, text in (
        (("--scenario", "server"), "must be one of singlestream, multistream, offline"),
        (("--scenario", "offline", "--vs", "ort"), "must stand without --vs"),
        (("--scenario", "offline", "--threads", "1,2"), "with one --threads"),
    ):
        done = edgeq("bench", tiny.edgeq, *wrong)
        assert done.code == 2
        assert text in done.err
    assert "must end in .edgeq" in edgeq("bench", tiny.onnx, "--scenario", "offline").err
