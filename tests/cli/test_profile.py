"""`edgeq profile`, and `--target` of quantize and compile: an NPU program and what its clock says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from edgeq.runtime import load
from tests.cli.conftest import Edgeq, Tiny

KEYS = ("target", "cycles", "latency_ms", "fps", "sram_peak_bytes", "sram_bound_bytes", "dram_bytes",
        "energy_uj", "layers")  # fmt: skip
LAYER = ("name", "op", "cycles", "utilization", "bound", "verdict")


@pytest.fixture
def made(edgeq: Edgeq, tiny: Tiny) -> Tiny:
    """The tiny model quantized to a.edgeq for npu-dev, b.onnx and c.edgeq for the cpu."""
    more = ("--data", tiny.data, "--samples", 5)
    done = edgeq(
        "quantize", tiny.onnx, "-o", "a.edgeq", "-o", "b.onnx", "--target", "npu-dev", *more
    )
    assert done.code == 0, done.err
    done = edgeq("compile", "b.onnx", "-o", "c.edgeq")
    assert done.code == 0, done.err
    return tiny


def test_the_same_pictures_give_the_same_hash_on_cpu_and_npu(edgeq: Edgeq, made: Tiny) -> None:
    picture = next((made.data / "images").iterdir())
    hashes = {
        edgeq("run", f, picture, "--hash", "--json").json["results"][0]["hash"]
        for f in ("a.edgeq", "c.edgeq")
    }
    assert len(hashes) == 1


def test_profile_json_holds_the_keys_of_the_contract(edgeq: Edgeq, made: Tiny) -> None:
    done = edgeq("profile", "a.edgeq", "--json")
    assert done.code == 0, done.err
    assert set(KEYS) <= set(done.json)
    assert done.json["target"] == "npu-dev"
    assert sum(layer["cycles"] for layer in done.json["layers"]) == done.json["cycles"]
    for layer in done.json["layers"]:
        assert set(LAYER) <= set(layer)
        assert layer["bound"] in ("compute", "dma", "dependency")
        assert 0 <= layer["utilization"] <= 1
    energy = done.json["energy"]
    assert energy["low_uj"] < done.json["energy_uj"] < energy["high_uj"]
    assert done.json["sram_bound_bytes"] <= done.json["sram_peak_bytes"]


def test_two_recipes_of_a_model_stand_side_by_side(edgeq: Edgeq, made: Tiny) -> None:
    Path("all.toml").write_text("name = 'all'\n[weights]\nbits = 4\nkeep8 = []\n")
    quantized = edgeq(
        "quantize", made.onnx, "-o", "w4.onnx", "--recipe", "all.toml", "--data", made.data
    )
    assert quantized.code == 0, quantized.err
    eight, four = edgeq("profile", "b.onnx", "--vs", "w4.onnx", "--json").json["compare"]
    assert (eight["file"], four["file"]) == ("b.onnx", "w4.onnx")
    assert eight["target"] == four["target"] == "npu-dev"
    assert four["weight_bytes"] < eight["weight_bytes"]
    assert four["energy_uj"] < eight["energy_uj"]
    assert four["cycles"] <= eight["cycles"]
    layers = edgeq("profile", "w4.onnx", "--json").json["layers"]
    assert sorted(a["weight_bits"] for a in layers if a["weight_bits"]) == [4, 4]
    assert all(0 <= a["utilization"] <= 1 for a in layers)
    text = edgeq("profile", "b.onnx", "--vs", "w4.onnx")
    assert "npu-dev, w4.onnx" in text.out
    assert "8 bit, " in text.out
    assert edgeq("profile", "b.onnx", "--vs", "none.onnx").code == 2


def test_a_model_is_profiled_on_any_target(edgeq: Edgeq, made: Tiny) -> None:
    done = edgeq("profile", "b.onnx", "--vs", "npu-micro-256", "--what-if", "cols=64", "--json")
    assert done.code == 0, done.err
    assert [row["target"] for row in done.json["compare"]] == ["npu-dev", "npu-micro-256"]
    text = edgeq("profile", "b.onnx", "--target", "npu-hat-25t")
    assert text.code == 0, text.err
    assert "npu-hat-25t" in text.out
    assert max(map(len, text.out.splitlines())) <= 110


def test_reports_are_whole(edgeq: Edgeq, made: Tiny) -> None:
    done = edgeq("profile", "a.edgeq", "--html", "p.html", "--trace", "t.json")
    assert done.code == 0, done.err
    page = Path("p.html").read_text()
    assert page.count("data:image/png;base64,") == 2
    assert "http://" not in page
    events = json.loads(Path("t.json").read_text())["traceEvents"]
    assert {e["ph"] for e in events} == {"X", "M"}
    assert all(e["dur"] > 0 for e in events if e["ph"] == "X")


def test_a_cpu_program_has_no_clock(edgeq: Edgeq, made: Tiny) -> None:
    done = edgeq("profile", "c.edgeq")
    assert done.code == 2
    assert "--target npu-dev" in done.err
    with pytest.raises(Exception, match="compiled for an NPU"):
        load("c.edgeq", device="npu")


def test_another_target_needs_the_model(edgeq: Edgeq, made: Tiny) -> None:
    done = edgeq("profile", "a.edgeq", "--target", "npu-micro-256")
    assert done.code == 2
    assert "quantized .onnx" in done.err


def test_inspect_disassembles_an_npu_program(edgeq: Edgeq, made: Tiny) -> None:
    done = edgeq("inspect", "a.edgeq", "--commands", "--json")
    assert {"LOAD", "LOAD_W", "EXEC", "STORE"} == {row["queue"] for row in done.json["commands"]}
    assert any(row["wait"] for row in done.json["commands"])
    text = edgeq("inspect", "a.edgeq", "--commands")
    assert "DMA_WEIGHTS" in text.out


def test_session_profiles_its_layers(made: Tiny) -> None:
    with load("a.edgeq", device="npu") as session:
        layers, total = session.profile(), session.clock()
    assert [layer["name"] for layer in layers] == [layer["name"] for layer in total["layers"]]
    assert total["cycles"] == sum(layer["cycles"] for layer in layers)
