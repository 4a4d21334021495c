"""Measure the committed float models on scenes that training has not seen."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeq.report.evaluate import evaluate
from edgeq.seeds.examples import on_objects
from edgeq.seeds.scenes import draw, write_folder
from edgeq.vision.card import TaskCard
from edgeq.vision.decode import Line
from edgeq.vision.pipelines import TextRecognizer

MODELS = ("panel_detect", "panel_read")
UNSEEN = 10_000  # first seed; 0 to 999 were looked at while the models were made
_SHOWN = {"ap50": "AP50", "ap": "AP50:95", "exact": "exact", "cer": "CER"}


def runner(path: Path) -> Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]:
    """Return a callable (1, h, w, 3) -> named outputs that runs an ONNX file in ONNX Runtime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    names = [value.name for value in session.get_outputs()]

    def run(tensor: NDArray[np.float32]) -> Mapping[str, NDArray[np.float32]]:
        outputs = session.run(None, {name: np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))})
        return dict(zip(names, outputs, strict=True))

    return run


def check(models: Path, folder: Path, count: int, *, only: str = "") -> dict[str, dict[str, float]]:
    """Measure the models in `models` on `count` unseen scenes, kept in `folder`; prints and returns."""
    data = folder / f"scenes_{count}"
    if not (data / "lines.csv").is_file():
        print(f"drawing {count} unseen scenes into {data}", flush=True)
        write_folder(data, count, UNSEEN)
    figures = {}
    for name in MODELS:
        path = models / f"{name}.onnx"
        if not path.is_file() or only not in name:
            continue
        card = TaskCard.from_toml(Path(__file__).resolve().parent / f"{name}.toml")
        result = evaluate(runner(path), card, data)
        figures[name] = result["metrics"]
        shown = ", ".join(f"{key} {value:.4f}" for key, value in figures[name].items())
        print(
            f"{name} ({path.stat().st_size} bytes) on {result['samples']} samples: {shown}",
            flush=True,
        )
    return figures


def read_objects(path: Path, count: int) -> dict[str, float]:
    """Return the share of displays and label plates read without a mistake from their whole box.

    Scenes are the first `count` unseen ones; the sides of the boxes are off by up to 4 % each.
    """
    read = TextRecognizer(runner(path), TaskCard.from_toml(path.with_suffix(".toml")))
    hits: dict[str, list[bool]] = {}
    for seed in range(UNSEEN, UNSEEN + count):
        scene, rng = draw(seed), np.random.default_rng([seed, 6])
        for line, corners in on_objects(scene):
            w, h = corners[2] - corners[0]
            x0, y0, x1, y1 = (*corners[0], *corners[2]) + rng.uniform(-0.04, 0.04, 4) * (w, h, w, h)
            box = np.array([x0, y0, x1, y1]).round().astype(int).clip(0)
            (item,) = read(scene.image[box[1] : box[3], box[0] : box[2]]).items
            assert isinstance(item, Line)
            hits.setdefault(line.place, []).append(item.text == line.text)
    return {place: float(np.mean(right)) for place, right in sorted(hits.items())}


def note(models: Path, figures: Mapping[str, Mapping[str, float]], count: int) -> None:
    """Write size, checksum and measured accuracy of the models into the cards beside them."""
    for name, metrics in figures.items():
        data = (models / f"{name}.onnx").read_bytes()
        shown = ", ".join(f"{_SHOWN[key]} {value:.3f}" for key, value in metrics.items())
        what = "" if name == "panel_detect" else "lines of "
        values = {
            "bytes": str(len(data)),
            "sha256": f'"{hashlib.sha256(data).hexdigest()}"',
            "accuracy": f'"{what}{count} unseen drawn scenes, float32: {shown}"',
        }
        card = models / f"{name}.toml"
        text = card.read_text(encoding="utf-8")
        for key, value in values.items():
            text = re.sub(rf"^{key} = .*$", f"{key} = {value}", text, count=1, flags=re.MULTILINE)
        card.write_text(text, encoding="utf-8")
