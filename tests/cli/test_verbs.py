"""Every verb does its work, and --json prints one document and nothing else on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeq.runtime import load
from tests.cli.conftest import Edgeq, Tiny

VERBS = ["demo", "quantize", "run", "eval", "verify", "bench", "inspect", "doctor"]


@pytest.mark.parametrize(
    "verb", [[], *([v] for v in VERBS), ["zoo"], ["zoo", "list"], ["zoo", "info"], ["zoo", "pull"]]
)
def test_help_fits_80_columns(edgeq: Edgeq, verb: list[str]) -> None:
    done = edgeq(*verb, "--help")
    assert done.code == 0
    assert done.out.startswith("Usage: ")
    assert max(map(len, done.out.splitlines())) <= 80


def test_help_loads_no_heavy_module() -> None:
    code = "import sys; from edgeq.cli import app; print(*(m for m in ('onnx', 'onnxruntime', 'cv2', 'scipy') if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_version(edgeq: Edgeq) -> None:
    assert edgeq("--version").out.strip() == "edgeq 0.1.0"


def test_quantize_writes_both_kinds_and_tells_keys(
    edgeq: Edgeq, tiny: Tiny, tmp_path: Path
) -> None:
    done = edgeq(
        "quantize",
        tiny.onnx,
        "-o",
        "a.edgeq",
        "-o",
        "b.onnx",
        "--data",
        tiny.data,
        "--samples",
        5,
        "--json",
    )
    assert done.code == 0, done.err
    made = done.json
    assert [one["file"] for one in made["outputs"]] == ["a.edgeq", "b.onnx"]
    assert all(Path(one["file"]).stat().st_size == one["bytes"] for one in made["outputs"])
    assert made["float_islands"] == []
    assert made["warnings"] == []
    assert made["samples"] == 5
    assert made["seconds"] > 0
    assert made["peak_rss_mb"] > 10


def test_the_recipe_w4a8_stores_4_bits_that_other_runtimes_read(
    edgeq: Edgeq, tiny: Tiny, tmp_path: Path
) -> None:
    import onnx
    import onnxruntime as ort

    Path("all.toml").write_text("name = 'all'\n[weights]\nbits = 4\nkeep8 = []\n")
    outputs = ("-o", "a.edgeq", "-o", "b.onnx", "--data", tiny.data)
    kept = edgeq("quantize", tiny.onnx, *outputs, "--recipe", "w4a8", "--json").json
    assert kept["weights"] == {
        "int8": 8 * 27 + 4 * 8
    }  # its first and its last layer are all it has
    done = edgeq("quantize", tiny.onnx, *outputs, "--recipe", "all.toml", "--json")
    assert done.code == 0, done.err
    assert done.json["weights"] == {"int4": 8 * 27 + 4 * 8}
    about = edgeq("inspect", "a.edgeq", "--commands", "--json").json
    assert about["weight_bits"] == {"4": 2}
    assert [row.get("weight_bits") for row in about["commands"]].count(4) == 2
    assert "2 commands in 4 bits" in edgeq("inspect", "a.edgeq").out
    model = onnx.load("b.onnx")
    narrow = {i.name for i in model.graph.initializer if i.data_type == onnx.TensorProto.INT4}
    assert {"w1~int", "w2~int"} <= narrow
    assert model.opset_import[0].version == 21
    session = ort.InferenceSession("b.onnx", providers=["CPUExecutionProvider"])
    x = np.random.default_rng(0).uniform(-1, 1, (1, 3, 16, 16)).astype(np.float32)
    with load("a.edgeq") as ours:
        mine = ours.run({"x": x.transpose(0, 2, 3, 1)})["prob"]
    np.testing.assert_allclose(session.run(None, {"x": x})[0], mine, atol=2 / 256)


def test_quantize_gives_the_same_bytes_again(edgeq: Edgeq, tiny: Tiny) -> None:
    for name in ("a", "b"):
        assert (
            edgeq(
                "quantize",
                tiny.onnx,
                "-o",
                f"{name}.edgeq",
                "-o",
                f"{name}.onnx",
                "--data",
                tiny.data,
            ).code
            == 0
        )
    assert Path("a.edgeq").read_bytes() == Path("b.edgeq").read_bytes()
    assert Path("a.onnx").read_bytes() == Path("b.onnx").read_bytes()


def test_statistics_replace_the_pictures(edgeq: Edgeq, tiny: Tiny) -> None:
    first = edgeq("quantize", tiny.onnx, "-o", "a.onnx", "--data", tiny.data, "--stats", "s.npz")
    again = edgeq("quantize", tiny.onnx, "-o", "b.onnx", "--stats", "s.npz", "--json")
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert again.json["samples"] == 12


def test_arrays_need_no_card(edgeq: Edgeq, tiny: Tiny, tmp_path: Path) -> None:
    model = tmp_path / "bare.onnx"
    model.write_bytes(tiny.onnx.read_bytes())
    np.savez("x.npz", x=np.random.default_rng(0).normal(0, 1, (9, 3, 16, 16)).astype(np.float32))
    assert edgeq("quantize", model, "-o", "bare.edgeq", "--data", "x.npz").code == 0
    done = edgeq("verify", model, "bare.edgeq", "--data", "x.npz", "--json")
    assert done.code == 0, done.out + done.err
    assert done.json["bit_equal"] == {"reference": True, "cpu": True}


def test_run_finds_the_colour(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("run", tiny.edgeq, tiny.data / "images", "--save", "out", "--hash", "--json")
    assert done.code == 0, done.err
    results = done.json["results"]
    assert [one["classes"][0]["label"] for one in results[:3]] == ["red", "green", "blue"]
    assert set(results[0]["ms"]) == {"pre", "run", "post"}
    assert len(results[0]["hash"]) == 64
    assert sorted(path.name for path in Path("out").iterdir()) == sorted(
        f"{i}.png" for i in range(12)
    )


def test_hash_does_not_depend_on_threads(edgeq: Edgeq, tiny: Tiny) -> None:
    calls = [
        edgeq("run", tiny.edgeq, tiny.data / "images", "--hash", "--json", "--threads", n)
        for n in (1, 2)
    ]
    one, two = ([row["hash"] for row in done.json["results"]] for done in calls)
    assert one == two


def test_run_prints_a_table_for_people(edgeq: Edgeq, tiny: Tiny) -> None:
    few = edgeq("run", tiny.edgeq, tiny.data / "images" / "1.png")
    many = edgeq("run", tiny.edgeq, tiny.data / "images")
    assert "green" in few.out
    assert "per second" in few.out
    assert "12 pictures" in many.out
    assert max(map(len, many.out.splitlines())) <= 80


def test_eval_compares_files_side_by_side(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("eval", tiny.onnx, tiny.edgeq, "--data", tiny.data, "--min", "top1=0.5", "--json")
    assert done.code == 0, done.err
    document = done.json
    assert document["data"] == str(tiny.data)
    assert [(one["samples"], one["metrics"]["top1"]) for one in document["results"]] == [
        (12, 1.0),
        (12, 1.0),
    ]


def test_eval_gives_markdown(edgeq: Edgeq, tiny: Tiny) -> None:
    lines = edgeq("eval", tiny.edgeq, "--data", tiny.data, "--markdown").out.splitlines()
    assert lines[0].startswith("| file |")
    assert lines[1].startswith("| --- |")


def test_a_failed_check_gives_1(edgeq: Edgeq, tiny: Tiny) -> None:
    evaluated = edgeq("eval", tiny.edgeq, "--data", tiny.data, "--min", "top1=1.1", "--json")
    timed = edgeq("bench", tiny.edgeq, "--seconds", 0.1, "--max", "p50_ms=0", "--json")
    verified = edgeq(
        "verify", tiny.onnx, tiny.edgeq, "--data", tiny.data, "--min-sqnr", 150, "--json"
    )
    assert (evaluated.code, timed.code, verified.code) == (1, 1, 1)
    assert [done.json["pass"] for done in (evaluated, timed, verified)] == [False] * 3


def test_verify_passes_with_equal_bits(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("verify", tiny.onnx, tiny.edgeq, "--data", tiny.data, "--json")
    assert done.code == 0, done.out + done.err
    document = done.json
    assert document["pass"] is True
    assert document["bit_equal"] == {"reference": True, "cpu": True}
    assert document["agreement"] == 1.0
    assert document["sqnr_db"] > 20


def test_inspect_shows_everything(edgeq: Edgeq, tiny: Tiny) -> None:
    document = edgeq("inspect", tiny.edgeq, "--commands", "--json").json
    assert document["inputs"][0]["shape"] == [1, 16, 16, 3]
    assert document["float_islands"] == []
    assert document["card"]["labels"] == ["red", "green", "blue", "grey"]
    assert document["provenance"]["source"] == "tiny.onnx"
    assert sum(document["ops"].values()) == len(document["commands"])
    text = edgeq("inspect", tiny.edgeq, "--commands").out
    assert "none: every operation is on integers" in text


def test_doctor_and_zoo_answer(edgeq: Edgeq, tiny: Tiny) -> None:
    assert edgeq("doctor", "--json").json["kernels"]["chosen"]
    names = [one["name"] for one in edgeq("zoo", "list", "--json").json["models"]]
    assert "yolox_nano" in names
    assert edgeq("zoo", "info", "yolox_nano", "--json").json["card"]["task"] == "detection"
    assert "Apache-2.0" in edgeq("zoo", "info", "yolox_nano").out


def test_json_stays_alone_on_stdout_in_a_process(tiny: Tiny) -> None:
    command = [
        sys.executable,
        "-c",
        "from edgeq.cli import main; main()",
        "run",
        tiny.edgeq,
        tiny.data / "images",
        "--json",
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True)
    assert len(json.loads(done.stdout)["results"]) == 12


def test_demo_needs_no_network(
    edgeq: Edgeq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network"))
    )
    monkeypatch.delenv("EDGEQ_ZOO_MIRROR", raising=False)
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    done = edgeq("demo", "--scenes", 6, "--seconds", 0.2, "--json")
    assert done.code == 0, done.err
    document = done.json
    assert Path(document["annotated"]).stat().st_size > 10_000
    found, found8, read, read8 = (one["metrics"] for one in document["results"])
    assert found["ap50"] > 0.8
    assert found8["ap50"] > found["ap50"] - 0.05
    assert read["exact"] > 0.8
    assert read8["exact"] > read["exact"] - 0.05


@pytest.mark.slow
def test_demo_on_photographs_makes_a_picture_and_a_table(
    edgeq: Edgeq, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEQ_ZOO_MIRROR", str(shared))
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    assert "EDGEQ_DEMO_DATA" not in os.environ
    done = edgeq("demo", "--model", "yolox_nano", "--seconds", 0.5, "--json")
    assert done.code == 0, done.err
    document = done.json
    assert Path(document["annotated"]).stat().st_size > 10_000
    assert document["agreement"] > 0.9
