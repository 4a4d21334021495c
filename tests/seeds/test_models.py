"""The committed models are small, fit their cards, and find and read what is drawn."""

from __future__ import annotations

import hashlib
import tomllib
from pathlib import Path

import numpy as np
import pytest

from edgeq.report.evaluate import evaluate
from edgeq.seeds.lettering import CHARSET
from edgeq.seeds.measure import runner
from edgeq.seeds.objects import KINDS
from edgeq.seeds.scenes import write_folder
from edgeq.vision.card import TaskCard

pytest.importorskip("onnxruntime")
SEEDS = Path(__file__).resolve().parents[2] / "seeds"
NAMES = ("panel_detect", "panel_read")


@pytest.fixture(scope="module")
def unseen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unseen")
    write_folder(folder, 20, 0)
    return folder


def test_both_models_together_stay_below_1_5_megabytes() -> None:
    assert sum((SEEDS / f"{name}.onnx").stat().st_size for name in NAMES) < 1_500_000


@pytest.mark.parametrize("name", NAMES)
def test_card_names_the_committed_file(name: str) -> None:
    data = (SEEDS / f"{name}.onnx").read_bytes()
    (entry,) = tomllib.loads((SEEDS / f"{name}.toml").read_text(encoding="utf-8"))["file"]
    assert entry["bytes"] == len(data)
    assert entry["sha256"] == hashlib.sha256(data).hexdigest()


def test_labels_are_those_of_the_scenes() -> None:
    assert TaskCard.from_toml(SEEDS / "panel_detect.toml").labels == KINDS
    assert TaskCard.from_toml(SEEDS / "panel_read.toml").labels == ("", *CHARSET)


@pytest.mark.parametrize("name", NAMES)
def test_output_has_the_shape_that_the_card_decodes(name: str) -> None:
    card = TaskCard.from_toml(SEEDS / f"{name}.toml")
    tensor = np.zeros((1, card.input.height, card.input.width, 3), np.float32)
    (out,) = runner(SEEDS / f"{name}.onnx")(tensor).values()
    wanted = (1, 1680, 13) if name == "panel_detect" else (1, len(card.labels), 48)
    assert out.shape == wanted and np.isfinite(out).all()


@pytest.mark.parametrize(
    ("name", "metric", "least"),
    [("panel_detect", "ap50", 0.9), ("panel_detect", "ap", 0.65), ("panel_read", "exact", 0.93)],
)
def test_accuracy_on_20_unseen_scenes(unseen: Path, name: str, metric: str, least: float) -> None:
    card = TaskCard.from_toml(SEEDS / f"{name}.toml")
    result = evaluate(runner(SEEDS / f"{name}.onnx"), card, unseen)
    assert result["skipped"] == 0
    assert result["metrics"][metric] > least
