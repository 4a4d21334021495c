"""`edgeq compile`: a QDQ file becomes the program that quantize would have written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeq.runtime.program import Program
from tests.cli.conftest import Edgeq, Tiny


@pytest.fixture
def both(edgeq: Edgeq, tiny: Tiny) -> Tiny:
    """The tiny model quantized to a.edgeq and b.onnx in the current folder."""
    more = ("-o", "b.onnx", "--data", tiny.data, "--samples", 5)
    done = edgeq("quantize", tiny.onnx, "-o", "a.edgeq", *more)
    assert done.code == 0, done.err
    return tiny


def test_help_fits_80_columns(edgeq: Edgeq) -> None:
    done = edgeq("compile", "--help")
    assert done.code == 0
    assert max(map(len, done.out.splitlines())) <= 80


def test_compile_gives_the_program_that_quantize_gave(edgeq: Edgeq, both: Tiny) -> None:
    done = edgeq("compile", "b.onnx", "-o", "c.edgeq", "--json")
    assert done.code == 0, done.err
    assert done.json["outputs"] == [{"file": "c.edgeq", "bytes": Path("c.edgeq").stat().st_size}]
    assert done.json["warnings"] == []
    assert done.json["card"] == "the model"
    a, c = (Program.from_bytes(Path(f).read_bytes()) for f in ("a.edgeq", "c.edgeq"))
    for part in ("commands", "constants", "qparams", "luts"):
        assert getattr(a, part) == getattr(c, part)
    assert a.meta["card"] == c.meta["card"]
    assert c.meta["provenance"]["source"] == both.onnx.name
    assert c.meta["provenance"]["compiled_from"] == "b.onnx"
    picture = next((both.data / "images").iterdir())
    hashes = [edgeq("run", f, picture, "--hash", "--json").json for f in ("a.edgeq", "c.edgeq")]
    assert hashes[0]["results"][0]["hash"] == hashes[1]["results"][0]["hash"]


def test_a_named_card_wins(edgeq: Edgeq, both: Tiny) -> None:
    done = edgeq("compile", "b.onnx", "-o", "c.edgeq", "--card", both.card, "--json")
    assert done.json["card"] == str(both.card)


def test_a_broken_card_inside_is_a_warning(edgeq: Edgeq, both: Tiny) -> None:
    model = onnx.load("b.onnx")
    next(p for p in model.metadata_props if p.key == "edgeq.card").value = "{]"
    next(p for p in model.metadata_props if p.key == "edgeq.provenance").value = "[1"
    onnx.save(model, "b.onnx")
    done = edgeq("compile", "b.onnx", "-o", "c.edgeq", "--json")
    assert done.code == 0, done.err
    assert "task card" in done.json["warnings"][0]


def test_a_float_model_is_sent_to_quantize(edgeq: Edgeq, tiny: Tiny) -> None:
    done = edgeq("compile", tiny.onnx, "-o", "c.edgeq")
    assert done.code == 2
    assert f"edgeq quantize {tiny.onnx} -o c.edgeq --data FOLDER" in done.err
    assert not Path("c.edgeq").exists()


@pytest.mark.parametrize(
    ("more", "words"),
    [(("-o", "c.onnx"), "must end in .edgeq"), (("-o", "c.edgeq", "--target", "x"), "target 'x'")],
)
def test_wrong_usage_is_told(edgeq: Edgeq, both: Tiny, more: tuple[str, ...], words: str) -> None:
    done = edgeq("compile", "b.onnx", *more)
    assert done.code == 2
    assert words in done.err


def test_a_damaged_pair_is_told(edgeq: Edgeq, both: Tiny) -> None:
    model = onnx.load("b.onnx")
    scale = next(t for t in model.graph.initializer if t.name == "x~scale")
    scale.CopyFrom(onnx.numpy_helper.from_array(np.asarray(-1, np.float32), "x~scale"))
    onnx.save(model, "b.onnx")
    done = edgeq("compile", "b.onnx", "-o", "c.edgeq")
    assert done.code == 2
    assert "every scale must be a positive number, got -1.0" in done.err
    assert "b.onnx: node" in done.err
