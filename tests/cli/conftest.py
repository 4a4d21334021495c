"""A tiny classifier with its card and pictures, made on the spot, and a way to call the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from typer.testing import CliRunner

from edgeq.cli import app
from edgeq.runtime.program import write_atomic

CARD = """
[card]
task = "classification"
metric = "top1"
labels = ["red", "green", "blue", "grey"]

[card.input]
height = 16
width = 16
color = "rgb"
resize = "stretch"
mean = [127.5, 127.5, 127.5]
std = [127.5, 127.5, 127.5]

[card.decode]
kind = "top_k"
k = 2
"""


@dataclass(frozen=True)
class Called:
    """What a call left: exit code and both streams."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Edgeq = Callable[..., Called]


@pytest.fixture
def edgeq() -> Edgeq:
    def call(*args: object) -> Called:
        done = CliRunner().invoke(app, [str(arg) for arg in args])
        return Called(done.exit_code, done.stdout, done.stderr)

    return call


def tiny_model(*, bad_weight: bool = False) -> bytes:
    """Conv, ReLU, global average, linear, softmax: tells which colour a picture has."""
    rng = np.random.default_rng(1)
    conv = rng.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32)
    conv[:3] = 0
    for channel in range(3):
        conv[channel, channel, 1, 1] = 1.0  # the colours themselves
    linear = rng.normal(0, 0.05, (4, 8)).astype(np.float32)
    linear[:3, :3] += 4 * np.eye(3, dtype=np.float32)
    linear[3] = 0
    if bad_weight:
        conv[0, 0, 0, 0] = np.nan
    constants = {
        "w1": conv,
        "b1": np.zeros(8, np.float32),
        "w2": linear,
        "b2": np.array([0, 0, 0, 1], np.float32),
    }
    nodes = [
        helper.make_node(
            "Conv", ["x", "w1", "b1"], ["c"], "conv", strides=[2, 2], pads=[1, 1, 1, 1]
        ),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("GlobalAveragePool", ["r"], ["g"], "gap"),
        helper.make_node("Flatten", ["g"], ["f"], "flat"),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["l"], "linear", transB=1),
        helper.make_node("Softmax", ["l"], ["prob"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("prob", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(x, name) for name, x in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.checker.check_model(model)
    body: bytes = model.SerializeToString()
    return body


def write_pictures(folder: Path, count: int = 12) -> None:
    """Write PNG pictures of one colour with noise, and labels.csv."""
    import cv2

    rng = np.random.default_rng(2)
    rows = ["file,label"]
    for number in range(count):
        image = rng.integers(0, 80, (20 + number, 24, 3), np.uint8)
        image[..., 2 - number % 3] += 150  # BGR
        good, body = cv2.imencode(".png", image)
        assert good
        write_atomic(folder / "images" / f"{number}.png", body.tobytes())
        rows.append(f"{number}.png,{('red', 'green', 'blue')[number % 3]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")


@dataclass(frozen=True)
class Tiny:
    """Paths of the tiny model, its card, its pictures and its compiled file."""

    onnx: Path
    card: Path
    data: Path
    edgeq: Path


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    folder = tmp_path_factory.mktemp("tiny")
    tiny = Tiny(folder / "tiny.onnx", folder / "tiny.toml", folder / "data", folder / "tiny.edgeq")
    tiny.onnx.write_bytes(tiny_model())
    tiny.card.write_text(CARD)
    write_pictures(tiny.data)
    done = CliRunner().invoke(
        app, ["quantize", str(tiny.onnx), "-o", str(tiny.edgeq), "--data", str(tiny.data)]
    )
    assert done.exit_code == 0, done.output
    return tiny


@pytest.fixture
def tiny(tiny_files: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tiny:
    """The tiny files, with an empty current folder, an empty cache and no mirror."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("EDGEQ_ZOO_MIRROR", raising=False)
    monkeypatch.delenv("EDGEQ_DEMO_DATA", raising=False)
    return tiny_files
