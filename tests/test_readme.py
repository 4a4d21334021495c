"""Every code block of README.md runs, or says why not.

A ```sh or ```python block is preceded by one of
    <!-- runnable: tiny -->     runs in a folder with model.onnx, model.toml, model.edgeq and photos/
    <!-- runnable: zoo -->      runs in a folder with yolox_nano.onnx, photos/ and coco/ (slow: real models)
    <!-- not run: REASON -->    is shown only
Blocks of one kind share a folder and run in their order. Python blocks find `image` (the picture as the
model's float32 input) and `samples` (a list of inputs) in place.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.conftest import CARD, tiny_model, write_pictures

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(
    r"(?:^<!-- (?P<mark>[^\n]*?) -->\n+)?^```(?P<kind>sh|python)\n(?P<text>.*?)^```$", re.M | re.S
)
TIMEOUT_S = 600


@dataclass(frozen=True)
class Block:
    line: int
    mark: str
    kind: str
    text: str


def blocks() -> list[Block]:
    text = README.read_text(encoding="utf-8") if README.is_file() else ""
    return [
        Block(
            text.count("\n", 0, found.start("text")),
            found["mark"] or "",
            found["kind"],
            found["text"],
        )
        for found in BLOCK.finditer(text)
    ]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: f"line-{block.line}")
def test_a_block_says_whether_it_runs(block: Block) -> None:
    assert re.fullmatch(r"runnable: (tiny|zoo)|not run: .+", block.mark), (
        f"README.md:{block.line}: mark this block"
    )


def run(block: Block, folder: Path, prelude: str) -> None:
    """Run one block as a reader would."""
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    command = ["bash", "-euo", "pipefail", "-c", block.text]
    if block.kind == "python":
        command = [sys.executable, "-c", prelude + block.text]
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"README.md:{block.line}\n{done.stdout}{done.stderr}"


TINY = """
import numpy as np
from edgeq.vision import TaskCard, preprocess, read_picture
_card = TaskCard.from_toml("model.toml")
samples = [{"x": preprocess(read_picture(f"photos/images/{i}.png"), _card.input)[0]} for i in range(6)]
image = samples[0]["x"]
"""

ZOO = """
from edgeq import zoo
from edgeq.vision import preprocess, read_picture
from edgeq.report.data import calibration_data
_card = zoo.info("yolox_nano").card
samples = [{"images": preprocess(s.image, _card.input)[0]} for s in calibration_data("photos", _card, 8)]
image = samples[0]["images"]
"""


def test_tiny_blocks_run(tmp_path: Path) -> None:
    chosen = [block for block in blocks() if block.mark == "runnable: tiny"]
    if not chosen:
        pytest.skip("README.md has no block marked runnable: tiny")
    (tmp_path / "model.onnx").write_bytes(tiny_model())
    (tmp_path / "model.toml").write_text(CARD)
    write_pictures(tmp_path / "photos")
    make = "edgeq quantize -q model.onnx -o model.edgeq --data photos"
    run(Block(0, "", "sh", make), tmp_path, "")
    for block in chosen:
        run(block, tmp_path, TINY)


@pytest.mark.slow
def test_zoo_blocks_run(tmp_path: Path, shared: Path) -> None:
    chosen = [block for block in blocks() if block.mark == "runnable: zoo"]
    if not chosen:
        pytest.skip("README.md has no block marked runnable: zoo")
    shutil.copy(shared / "models" / "yolox_nano" / "yolox_nano.onnx", tmp_path)
    (tmp_path / "coco").symlink_to(shared / "data" / "coco")
    (tmp_path / "photos").symlink_to(shared / "data" / "coco" / "images")
    for block in chosen:
        run(block, tmp_path, ZOO)
