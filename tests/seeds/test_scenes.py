"""Scenes are the same for the same seed, their truth is exact, and folders of them are readable."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeq.report.data import Boxes, open_data
from edgeq.seeds.lettering import CHARSET, STROKES, code_128, faces, ink, qr, seven_segments
from edgeq.seeds.objects import KINDS
from edgeq.seeds.scenes import HEIGHT, WIDTH, Scene, cut, draw, jitter, write_folder
from edgeq.vision.card import TaskCard

SEEDS = Path(__file__).resolve().parents[2] / "seeds"


@pytest.fixture(scope="module")
def some() -> list[Scene]:
    return [
        draw(seed, difficulty=level)
        for seed, level in zip(range(90, 106), np.linspace(0, 1, 16), strict=True)
    ]


def test_same_seed_gives_the_same_bytes() -> None:
    first, second = draw(3), draw(3)
    assert (first.image == second.image).all()
    assert first.boxes == second.boxes
    assert [line.text for line in first.lines] == [line.text for line in second.lines]
    assert (draw(4).image != first.image).any()


def test_difficulty_changes_the_photograph() -> None:
    easy, hard = draw(5, difficulty=0.0), draw(5, difficulty=1.0)
    assert easy.image.shape == hard.image.shape == (HEIGHT, WIDTH, 3)
    assert (easy.image != hard.image).any()


def test_boxes_lie_inside_the_picture(some: list[Scene]) -> None:
    for scene in some:
        assert scene.boxes
        for box in scene.boxes:
            assert 0 <= box.x0 < box.x1 <= WIDTH and 0 <= box.y0 < box.y1 <= HEIGHT
            assert min(box.x1 - box.x0, box.y1 - box.y0) > 4


def test_all_eight_kinds_are_drawn(some: list[Scene]) -> None:
    assert {box.kind for scene in some for box in scene.boxes} == set(KINDS)
    assert len(KINDS) == 8


def test_texts_use_the_charset_and_lie_inside_the_picture(some: list[Scene]) -> None:
    lines = [line for scene in some for line in scene.lines]
    assert len(lines) > 60
    for line in lines:
        assert line.text and line.text == line.text.strip()
        assert set(line.text) <= set(CHARSET)
        assert (line.quad >= 0).all() and (line.quad <= (WIDTH, HEIGHT)).all()


def test_a_display_shows_its_digits_within_its_box(some: list[Scene]) -> None:
    readings = [(scene, line) for scene in some for line in scene.lines if line.place == "display"]
    assert readings
    for scene, line in readings:
        x, y = line.quad.mean(0)
        assert any(b.kind == "display" and b.x0 < x < b.x1 and b.y0 < y < b.y1 for b in scene.boxes)


def test_opencv_alone_is_enough() -> None:
    scene = draw(7, fonts=False)
    assert faces(False) == STROKES
    assert scene.boxes and scene.lines
    assert all(ink("23 °C", 20, face).max() > 200 for face in STROKES)


def test_qr_codes_can_be_read() -> None:
    code = qr("EDGEQ 42")
    big = cv2.resize(
        np.pad(code, 4, constant_values=255), None, fx=8, fy=8, interpolation=cv2.INTER_NEAREST
    )
    assert cv2.QRCodeDetector().detectAndDecode(big)[0] == "EDGEQ 42"


def test_barcode_is_code_128_with_its_check_sum() -> None:
    # start B, "A" (33), check (104 + 33) % 103 = 34, stop: three symbols of 11 modules and one of 13
    bars = code_128("A")
    assert len(bars) == 11 * 3 + 13
    assert bars == "1101001000010100011000100010110001100011101011"


def test_seven_segments_light_what_a_digit_needs() -> None:
    lit, dark = seven_segments("8", 60, slant=0, thick=0.14, aspect=0.55, gap=0.1)
    assert (lit > 128).sum() > 0 and not (dark > 128).any()
    one, rest = seven_segments("1", 60, slant=0, thick=0.14, aspect=0.55, gap=0.1)
    assert (rest > 128).sum() == pytest.approx(2.5 * (one > 128).sum(), rel=0.1)  # 5 dark of 7


def test_lines_are_cut_upright() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[10:20, 30:50] = 200
    upright = np.array([[30, 10], [50, 10], [50, 20], [30, 20]], float)
    part = cut(image, upright)
    assert part.shape == (32, 64, 3) and part[4:-4, 4:-4].min() == 200
    moved = jitter(np.random.default_rng(0), upright)
    assert moved[0][0] < 30.5 and moved[2][0] > 49.5 and np.abs(moved - upright).max() < 4


def test_eval_reads_a_written_folder(tmp_path: Path) -> None:
    write_folder(tmp_path, 3, 40)
    boxes = list(open_data(tmp_path, TaskCard.from_toml(SEEDS / "panel_detect.toml")))
    lines = list(open_data(tmp_path, TaskCard.from_toml(SEEDS / "panel_read.toml")))
    scenes = [draw(seed) for seed in (40, 41, 42)]
    assert [len(sample.truth.corners) for sample in boxes] == [len(s.boxes) for s in scenes]  # type: ignore[union-attr]
    assert [sample.truth for sample in lines] == [line.text for s in scenes for line in s.lines]
    first = boxes[0].truth
    assert isinstance(first, Boxes) and (boxes[0].image == scenes[0].image).all()
    box = scenes[0].boxes[0]
    np.testing.assert_allclose(first.corners[0], [box.x0, box.y0, box.x1, box.y1], atol=0.02)
    assert KINDS[first.index[0]] == box.kind
    assert all(sample.image.shape[0] == 32 for sample in lines)
