"""Every bad input gets one clear sentence and exit code 2; nothing is written half; no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeq.cli import console
from edgeq.errors import UnsupportedOp
from tests.cli.conftest import Called, Edgeq, Tiny, tiny_model, write_pictures


def refused(done: Called, *words: str) -> None:
    """Check: exit code 2, nothing on stdout, one line on stderr that holds the words."""
    assert done.code == 2, done.out + done.err
    assert done.out == ""
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    assert done.err.splitlines()[-1] == lines[0]
    assert "Traceback" not in done.err
    assert "internal" not in done.err
    for word in words:
        assert word in lines[0], lines[0]


def quantize(edgeq: Edgeq, model: object, data: object, *more: object) -> Called:
    return edgeq("quantize", model, "-o", "made.edgeq", "--data", data, *more)


def test_unknown_verb_gets_a_suggestion(edgeq: Edgeq) -> None:
    refused(edgeq("quantise"), "Did you mean 'quantize'?")


def test_unknown_option_names_the_help(edgeq: Edgeq) -> None:
    refused(edgeq("doctor", "--jsonn"), "--jsonn", "edgeq doctor --help")


def test_text_named_onnx(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("text.onnx").write_text("This is no model.\n")
    for done in (
        quantize(edgeq, "text.onnx", tiny.data),
        edgeq("eval", "text.onnx", "--data", tiny.data, "--card", tiny.card),
    ):
        refused(done, "text.onnx", "must be an ONNX")
    assert not Path("made.edgeq").exists()


def test_empty_file_named_onnx(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("empty.onnx").touch()
    refused(quantize(edgeq, "empty.onnx", tiny.data), "empty.onnx", "empty")


@pytest.mark.parametrize("verb", ["run", "inspect", "bench", "eval"])
@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_truncated_edgeq(edgeq: Edgeq, tiny: Tiny, verb: str, keep: int) -> None:
    Path("cut.edgeq").write_bytes(tiny.edgeq.read_bytes()[:keep])
    more = {"run": [tiny.data / "images"], "eval": ["--data", tiny.data]}.get(verb, [])
    refused(edgeq(verb, "cut.edgeq", *more), "cut.edgeq")


def test_damaged_edgeq(edgeq: Edgeq, tiny: Tiny) -> None:
    body = bytearray(tiny.edgeq.read_bytes())
    body[len(body) // 2] ^= 0x55
    Path("bad.edgeq").write_bytes(body)
    refused(edgeq("run", "bad.edgeq", tiny.data / "images"), "bad.edgeq", "checksum")


def test_quantized_model(edgeq: Edgeq, tiny: Tiny) -> None:
    assert edgeq("quantize", tiny.onnx, "-o", "q.onnx", "--data", tiny.data).code == 0
    refused(
        quantize(edgeq, "q.onnx", tiny.data, "--card", tiny.card), "q.onnx", "quantized already"
    )


def test_a_long_list_is_shortened(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [
        "tiny.onnx: 90 nodes are not supported:",
        *(f"  node {i}" for i in range(90)),
        "Replace them.",
    ]
    assert console.report(UnsupportedOp("\n".join(lines))) == 2
    shown = capsys.readouterr().err.splitlines()
    assert len(shown) == console.MOST_LINES + 1
    assert shown[-2:] == ["  ... and 80 more (all: EDGEQ_DEBUG=1)", "Replace them."]


def test_empty_data_folder(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("nothing").mkdir()
    refused(quantize(edgeq, tiny.onnx, "nothing"), "nothing", "must hold pictures")
    refused(edgeq("run", tiny.edgeq, "nothing"), "nothing", "must hold pictures")
    refused(edgeq("eval", tiny.edgeq, "--data", "nothing"), "nothing")
    assert not Path("made.edgeq").exists()


def test_missing_data_folder(edgeq: Edgeq, tiny: Tiny) -> None:
    refused(quantize(edgeq, tiny.onnx, "nowhere"), "nowhere", "does not exist")
    refused(edgeq("run", tiny.edgeq, "nowhere.jpg"), "nowhere.jpg", "does not exist")


def test_no_data_names_the_ways(edgeq: Edgeq, tiny: Tiny) -> None:
    refused(edgeq("quantize", tiny.onnx, "-o", "made.edgeq"), "--data FOLDER", ".npz", "--stats")


def corrupt(folder: Path) -> None:
    write_pictures(folder)
    body = (folder / "images" / "3.png").read_bytes()
    (folder / "images" / "3.png").write_bytes(body[: len(body) // 2])
    (folder / "images" / "4.png").write_bytes(b"not a picture")


def test_corrupt_pictures_are_skipped_and_counted(edgeq: Edgeq, tiny: Tiny) -> None:
    corrupt(Path("mixed"))
    run = edgeq("run", tiny.edgeq, "mixed/images", "--json")
    made = quantize(edgeq, tiny.onnx, "mixed", "--json")
    measured = edgeq("eval", tiny.edgeq, "--data", "mixed", "--json")
    assert (run.code, made.code, measured.code) == (0, 0, 0), run.err + made.err + measured.err
    assert run.json["skipped"] == 2
    assert len(run.json["results"]) == 10
    assert made.json["samples"] == 10
    assert measured.json["results"][0]["skipped"] == 2
    for done in (run, made, measured):
        assert "skipped 2 pictures" in done.err
        assert "skipped 2 pictures" in done.json["warnings"][0]


def test_only_corrupt_pictures(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("bad").mkdir()
    Path("bad/one.jpg").write_bytes(b"\xff\xd8 no")
    for done in (
        quantize(edgeq, tiny.onnx, "bad"),
        edgeq("run", tiny.edgeq, "bad"),
        edgeq("verify", tiny.onnx, tiny.edgeq, "--data", "bad"),
    ):
        assert done.code == 2
        assert "usable picture" in done.err.splitlines()[-1]
    assert not Path("made.edgeq").exists()


def test_picture_of_an_unknown_kind(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("note.txt").write_text("no picture")
    refused(edgeq("run", tiny.edgeq, "note.txt"), "note.txt", "must end in")


def test_card_of_another_size(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("other.toml").write_text(tiny.card.read_text().replace("height = 16", "height = 32"))
    refused(
        quantize(edgeq, tiny.onnx, tiny.data, "--card", "other.toml"),
        "card",
        "1x32x16x3",
        "1x16x16x3",
    )
    refused(
        edgeq("run", tiny.edgeq, tiny.data / "images", "--card", "other.toml"), "(1, 16, 16, 3)"
    )


def test_broken_card(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("broken.toml").write_text(tiny.card.read_text().replace('"rgb"', '"grey"'))
    refused(
        quantize(edgeq, tiny.onnx, tiny.data, "--card", "broken.toml"),
        "broken.toml",
        "color",
        "'rgb'",
    )
    refused(
        quantize(edgeq, tiny.onnx, tiny.data, "--card", "absent.toml"),
        "absent.toml",
        "cannot be read",
    )


def test_nan_weights(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("nan.onnx").write_bytes(tiny_model(bad_weight=True))
    refused(quantize(edgeq, "nan.onnx", tiny.data, "--card", tiny.card), "finite")
    assert not Path("made.edgeq").exists()


def test_missing_card(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("bare.onnx").write_bytes(tiny.onnx.read_bytes())
    refused(quantize(edgeq, "bare.onnx", tiny.data), "task card", "--card", "[card.decode] kind")
    np.savez(
        "x.npz",
        x=np.zeros((2, 3, 16, 16), np.float32)
        + np.arange(2, dtype=np.float32)[:, None, None, None],
    )
    assert quantize(edgeq, "bare.onnx", "x.npz").code == 0
    refused(edgeq("run", "made.edgeq", tiny.data / "images"), "task card", "--card")


def test_unknown_zoo_name_gets_a_suggestion(edgeq: Edgeq, tiny: Tiny) -> None:
    refused(quantize(edgeq, "yolox_nan", tiny.data), "Did you mean yolox_nano?", "edgeq zoo list")
    refused(edgeq("zoo", "info", "yolo_nano"), "Did you mean yolox_nano?")
    refused(edgeq("zoo", "pull", "zzz"), "edgeq zoo list")


def test_file_that_does_not_exist(edgeq: Edgeq, tiny: Tiny) -> None:
    refused(quantize(edgeq, "absent.onnx", tiny.data), "absent.onnx", "does not exist")
    refused(edgeq("run", "absent.edgeq", tiny.data), "absent.edgeq", "does not exist")
    refused(edgeq("inspect", "absent.edgeq"), "absent.edgeq", "does not exist")
    refused(edgeq("inspect", "."), "is a folder")


def test_output_that_cannot_be_written(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("file").write_text("in the way")
    refused(
        edgeq("quantize", tiny.onnx, "-o", "file/made.edgeq", "--data", tiny.data),
        "file",
        "Choose another",
    )
    refused(
        edgeq("run", tiny.edgeq, tiny.data / "images", "--save", "file"), "file", "Choose another"
    )
    refused(edgeq("demo", "--out", "file/x"), "file", "Choose another")


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_folder_without_the_right_to_write(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("closed").mkdir(mode=0o500)
    refused(
        edgeq("quantize", tiny.onnx, "-o", "closed/made.edgeq", "--data", tiny.data),
        "closed",
        "cannot be written",
    )


@pytest.mark.parametrize("name", ["made.tflite", "made", "."])
def test_output_of_an_unknown_kind(edgeq: Edgeq, tiny: Tiny, name: str) -> None:
    refused(
        edgeq("quantize", tiny.onnx, "-o", name, "--data", tiny.data), "must end in .edgeq or .onnx"
    )


def test_output_over_the_model(edgeq: Edgeq, tiny: Tiny) -> None:
    before = tiny.onnx.read_bytes()
    refused(
        edgeq("quantize", tiny.onnx, "-o", tiny.onnx, "--data", tiny.data),
        "must differ from the model",
    )
    refused(
        edgeq("quantize", tiny.onnx, "-o", "a.edgeq", "-o", "a.edgeq", "--data", tiny.data),
        "comes twice",
    )
    assert tiny.onnx.read_bytes() == before


@pytest.mark.parametrize(
    ("option", "value", "word"),
    [
        ("--samples", "0", "at least 1"),
        ("--samples", "many", "--samples"),
        ("--recipe", "int3", "int8"),
        ("--recipe", "absent.toml", "absent.toml"),
        ("--target", "npu9000", "cpu"),
        ("--shape", "x", "NAME=1,3,640,640"),
        ("--shape", "y=1,3,16,16", "the inputs are x"),
        ("--shape", "x=1,3,32,32", "must fit"),
        ("--stats", "no/where.txt", ".npz"),
    ],
)
def test_wrong_option_values(edgeq: Edgeq, tiny: Tiny, option: str, value: str, word: str) -> None:
    refused(quantize(edgeq, tiny.onnx, tiny.data, option, value), word)
    assert not Path("made.edgeq").exists()


def test_statistics_of_another_model(edgeq: Edgeq, tiny: Tiny) -> None:
    Path("s.npz").write_bytes(b"no statistics")
    refused(edgeq("quantize", tiny.onnx, "-o", "made.edgeq", "--stats", "s.npz"), "s.npz")


@pytest.mark.parametrize(
    ("rows", "word"),
    [
        ({"y": np.zeros((2, 3, 16, 16))}, "named x"),
        ({"x": np.zeros((2, 3, 8, 8))}, "3x16x16"),
        ({"x": np.full((2, 3, 16, 16), np.nan)}, "finite"),
        ({"x": np.zeros((0, 3, 16, 16))}, "0 rows"),
    ],
)
def test_wrong_arrays(edgeq: Edgeq, tiny: Tiny, rows: dict[str, np.ndarray], word: str) -> None:
    np.savez("x.npz", **rows)
    refused(quantize(edgeq, tiny.onnx, "x.npz"), "x.npz", word)


def test_wrong_limits(edgeq: Edgeq, tiny: Tiny) -> None:
    refused(edgeq("eval", tiny.edgeq, "--data", tiny.data, "--min", "top1"), "METRIC=VALUE")
    refused(edgeq("eval", tiny.edgeq, "--data", tiny.data, "--min", "ap50=0.1"), "top1")
    refused(edgeq("bench", tiny.edgeq, "--max", "speed=1"), "p50_ms")
    refused(edgeq("bench", tiny.edgeq, "--vs", "tensorrt"), "must be one of ort")


def test_demo_without_network_says_what_to_do(
    edgeq: Edgeq, tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "urllib.request.urlopen", lambda *_, **__: (_ for _ in ()).throw(OSError("no network"))
    )
    done = edgeq("demo", "--model", "yolox_nano", "--json")
    assert done.code == 2
    assert "EDGEQ_ZOO_MIRROR" in done.json["error"]


def test_an_error_is_a_document_with_json(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("run", "absent.edgeq", "x.png", "--json")
    assert done.code == 2
    assert done.json == {"error": done.err.strip().removeprefix("error: ")}


def test_a_bug_asks_for_a_report(edgeq: Edgeq, tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeq.cli.inspection.require_file", lambda *_: 1 / 0)
    done = edgeq("inspect", tiny.edgeq)
    assert done.code == 3
    assert done.err.startswith("error: internal error: ZeroDivisionError")
    assert "report" in done.err
    assert "Traceback" not in done.err
    monkeypatch.setenv("EDGEQ_DEBUG", "1")
    assert "Traceback" in edgeq("inspect", tiny.edgeq).err


def test_missing_package_names_the_extra(capsys: pytest.CaptureFixture[str]) -> None:
    broken = ModuleNotFoundError("No module named 'onnx'", name="onnx")
    assert console.report(broken) == 2
    assert "pip install 'edgeq[host]'" in capsys.readouterr().err


def test_interrupt_is_one_word(capsys: pytest.CaptureFixture[str]) -> None:
    assert console.report(KeyboardInterrupt()) == 130
    assert capsys.readouterr().err.strip() == "error: interrupted."


def test_a_closed_pipe_is_quiet(tiny: Tiny) -> None:
    code = "from edgeq.cli import main; main()"
    command = f"{sys.executable} -c '{code}' run {tiny.edgeq} {tiny.data}/images -v | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert "error" not in done.stderr
