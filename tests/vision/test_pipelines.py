"""One call from picture to result; text is read in order."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from edgeq.errors import CardError
from edgeq.vision import (
    Box,
    Class,
    Classifier,
    Ctc,
    Db,
    Detector,
    Input,
    Line,
    TaskCard,
    TextDetector,
    TextReader,
    TextRecognizer,
    TopK,
    draw,
)
from edgeq.vision.pipelines import cut_line, reading_order


def card(
    task: str, metric: str, rule: object, labels: tuple[str, ...], width: int = 64
) -> TaskCard:
    resize = "text_line" if task != "text_detection" else "letterbox_topleft"
    height = 64 if task == "text_detection" else 16
    size = Input(height=height, width=width, color="bgr", resize=resize)
    return TaskCard(task=task, input=size, decode=rule, metric=metric, labels=labels)  # type: ignore[arg-type]


TOPK = card("text_direction", "top1", TopK(), ("0", "180"))


def square(x: float, y: float, w: float = 10, h: float = 10) -> tuple[tuple[float, float], ...]:
    return (x, y), (x + w, y), (x + w, y + h), (x, y + h)


def test_importing_vision_loads_numpy_only() -> None:
    code = "import sys, edgeq.vision, edgeq.zoo; print('cv2' in sys.modules, 'onnx' in sys.modules)"
    sdk = Path(__file__).parents[2] / "sdk"
    out = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(sdk)},
        check=True,
    )
    assert out.stdout.split() == ["False", "False"]


def test_every_part_is_timed() -> None:
    result = Classifier(lambda x: {"p": np.float32([[0.2, 0.8]])}, TOPK)(
        np.zeros((9, 9, 3), np.uint8)
    )
    assert [(one.label, one.index) for one in result.items if isinstance(one, Class)] == [
        ("180", 1),
        ("0", 0),
    ]
    assert set(result.ms) == {"pre", "run", "post"}


def test_a_card_for_another_task_is_refused() -> None:
    with pytest.raises(CardError, match="Detector"):
        Detector(lambda x: {}, TOPK)


def test_text_is_found_turned_and_read() -> None:
    page = np.full((64, 64, 3), 255, np.uint8)
    page[10:22, 8:40] = 0
    page[10:22, 8:14] = (0, 0, 255)  # red start: this line is upright
    page[40:52, 8:40] = 0
    page[40:52, 34:40] = (0, 0, 255)  # red end: this one is upside down

    def find(x: np.ndarray) -> dict[str, np.ndarray]:
        return {"map": (x[..., 0] < 128).astype(np.float32)[:, None]}

    def turn(x: np.ndarray) -> dict[str, np.ndarray]:
        red = x[0, 8, :48, 2] > 128
        upside = float(red[:24].sum() < red[24:].sum())
        return {"p": np.float32([[1 - upside, upside]])}

    def read(x: np.ndarray) -> dict[str, np.ndarray]:
        red = x[0, 8, :48, 2] > 128
        return {"p": np.float32([[[0, 1, 0] if red[:24].sum() > red[24:].sum() else [0, 0, 1]]])}

    reader = TextReader(
        TextDetector(
            find,
            card("text_detection", "hmean", Db(threshold=0.3, score=0.6, unclip=0), ()),
        ),
        [
            TextRecognizer(
                read,
                card("text_recognition", "exact", Ctc(blank=0, time_axis=1), ("", "a", "b"), w),
            )
            for w in (16, 64)
        ],
        Classifier(turn, TOPK),
    )
    result = reader(page)
    assert [line.text for line in result.items if isinstance(line, Line)] == ["a", "a"]
    assert result.items[0].polygon[0][1] < result.items[1].polygon[0][1]  # type: ignore[union-attr]
    untold = TextReader(reader.detector, reader.recognizers)(page)
    assert [line.text for line in untold.items if isinstance(line, Line)] == ["a", "b"]


def test_lines_come_row_by_row() -> None:
    spots = [square(50, 3), square(0, 20), square(0, 0), square(30, 22)]
    order = reading_order([Line(str(i), 1.0, spot) for i, spot in enumerate(spots)])
    assert [line.text for line in order] == ["2", "0", "1", "3"]
    assert reading_order([]) == []


def test_a_cut_line_is_upright_whatever_its_first_corner() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    corners = square(10, 20, 30, 12)
    for turned in (corners, corners[2:] + corners[:2], corners[::-1]):
        np.testing.assert_array_equal(cut_line(image, turned), image[20:32, 10:40])
    assert cut_line(image, square(10, 5, 8, 40)).shape == (8, 40, 3)


def test_drawing_leaves_the_original_and_accepts_any_text() -> None:
    image = np.zeros((120, 160, 3), np.uint8)
    items = [
        Box(-5, -5, 400, 90, 0.9, "사람 person", 0),
        Line("皖AG4449 — é", 0.8, square(20, 60, 80, 20)),
        Class("x" * 500, 3, 0.5),
    ]
    painted = draw(image, items)
    assert painted.shape == image.shape
    assert painted.any()
    assert not image.any()
    assert draw(np.zeros((1, 1, 3), np.uint8), items).shape == (1, 1, 3)
