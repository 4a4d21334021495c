"""Output tensors become boxes, classes and lines; a card for another model is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeq.errors import CardError
from edgeq.vision import Box, Ctc, Db, Geometry, Input, Line, NanoDet, TaskCard, TopK, Yolox, decode
from edgeq.vision.boxes import iou, nms

SQUARE = Input(height=32, width=32, color="bgr", resize="letterbox_topleft")
HALF = Geometry(64, 64, 0.5, 0.5)  # a 64x64 picture on the 32x32 input
METRIC = {"detection": "ap", "text_recognition": "exact", "text_detection": "hmean"}


def card(task: str, rule: Any, labels: tuple[str, ...] = ()) -> TaskCard:
    metric = METRIC.get(task, "top1")
    return TaskCard(task=task, input=SQUARE, decode=rule, metric=metric, labels=labels)


YOLOX = card("detection", Yolox(strides=(16, 32), score=0.3, nms=0.5), ("cat", "dog"))


def yolox_output() -> np.ndarray:
    out = np.zeros((1, 5, 7), np.float32)  # cells: 2x2 of stride 16, then 1 of stride 32
    out[0, 1] = [0.5, 0.5, 0, 0, 0.8, 0.1, 0.9]  # centre (24, 8), side 16: a dog
    out[0, 4] = [0.5, 0.5, np.log(0.5), np.log(0.25), 0.9, 0.5, 0.1]  # centre (16, 16), 16x8: a cat
    return out


def test_yolox_box_is_read_from_its_cell() -> None:
    dog, cat = decode({"output": yolox_output()}, HALF, YOLOX)
    assert isinstance(dog, Box) and isinstance(cat, Box)
    assert (dog.label, dog.index, cat.label) == ("dog", 1, "cat")
    np.testing.assert_allclose([dog.x0, dog.y0, dog.x1, dog.y1], [32, 0, 64, 32], atol=1e-5)
    np.testing.assert_allclose([cat.x0, cat.y0, cat.x1, cat.y1], [16, 24, 48, 40], atol=1e-5)
    assert dog.score == pytest.approx(0.72) and cat.score == pytest.approx(0.45)


def test_score_threshold_can_change_at_run_time() -> None:
    out = {"output": yolox_output()}
    assert len(decode(out, HALF, YOLOX, score=0.5)) == 1
    assert decode(out, HALF, YOLOX, score=0.99) == []


def test_huge_yolox_sizes_do_not_overflow() -> None:
    out = yolox_output()
    out[0, 1, 2:4] = 1000
    assert np.isfinite([decode({"o": out}, HALF, YOLOX)[0].x1]).all()  # type: ignore[union-attr]


def test_nanodet_distance_is_the_expectation_of_its_bins() -> None:
    rule = NanoDet(scores=("s",), boxes=("b",), strides=(16,), bins=4, score=0.3, nms=0.5)
    scores = np.zeros((1, 4, 1), np.float32)
    scores[0, 3] = 0.7  # cell (1, 1): centre 16 + 7.5
    bins = np.full((1, 4, 16), -100, np.float32)
    bins[0, 3].reshape(4, 4)[:, 0] = 0
    bins[0, 3].reshape(4, 4)[2:, 1] = 0  # right and bottom: half 0, half 1 -> 0.5 cells
    (box,) = decode({"s": scores, "b": bins}, Geometry(32, 32), card("detection", rule))
    assert isinstance(box, Box)
    np.testing.assert_allclose([box.x0, box.y0, box.x1, box.y1], [23.5, 23.5, 31.5, 31.5])
    assert box.label == "0"


def test_classes_are_ranked_after_the_background() -> None:
    one = card("classification", TopK(background=1, k=2), ("a", "b", "c"))
    best, second = decode({"p": np.float32([[0.9, 0.1, 0.5, 0.3]])}, HALF, one)
    assert (best.label, second.label) == ("b", "c")  # type: ignore[union-attr]


def test_logits_become_probabilities() -> None:
    one = card("classification", TopK(logits=True))
    best = decode({"p": np.float32([[1000, 1000]])}, HALF, one)[0]
    assert best.score == 0.5


@pytest.mark.parametrize("axis", [1, 2])
def test_ctc_merges_repeats_and_drops_blanks(axis: int) -> None:
    path = [1, 1, 0, 1, 2, 2, 0, 0]
    steps = np.full((len(path), 3), 0.1, np.float32)
    steps[np.arange(len(path)), path] = 0.8
    out = steps[None] if axis == 1 else steps.T[None]
    rule = Ctc(blank=0, time_axis=axis)
    (line,) = decode({"o": out}, HALF, card("text_recognition", rule, ("", "가", "b")))
    assert isinstance(line, Line)
    assert line.text == "가가b"
    assert line.score == pytest.approx(0.8)


def test_ctc_of_blanks_is_an_empty_line() -> None:
    out = np.float32([[[1, 0], [1, 0]]])
    rule = Ctc(blank=0, time_axis=1)
    (line,) = decode({"o": out}, HALF, card("text_recognition", rule, ("", "a")))
    assert line == Line("", 0.0, ((0.0, 0.0), (64.0, 0.0), (64.0, 64.0), (0.0, 64.0)))


def test_db_region_grows_by_its_unclip_ratio() -> None:
    out = np.zeros((1, 1, 64, 64), np.float32)
    out[0, 0, 20:31, 10:51] = 0.9  # the rectangle through pixel centres is 40 x 10
    rule = Db(threshold=0.3, score=0.6, unclip=1.5)
    (line,) = decode({"o": out}, Geometry(64, 64), card("text_detection", rule))
    assert isinstance(line, Line)
    x, y = np.array(line.polygon).T
    grow = 40 * 10 * 1.5 / (2 * (40 + 10))  # 6 on each side
    np.testing.assert_allclose([x.min(), x.max()], [10 - grow, 50 + grow], atol=0.01)
    np.testing.assert_allclose([y.min(), y.max()], [20 - grow, 30 + grow], atol=0.01)
    assert line.score == pytest.approx(0.9)
    assert decode({"o": out}, HALF, card("text_detection", rule), score=0.95) == []


REFUSED = [
    (YOLOX, {"output": np.zeros((1, 6, 7), np.float32)}),
    (YOLOX, {"output": np.zeros((1, 5, 5), np.float32)}),
    (YOLOX, {"a": np.zeros((1, 5, 7), np.float32), "b": np.zeros(3, np.float32)}),
    (card("classification", TopK(background=1)), {"p": np.zeros((1, 1), np.float32)}),
    (
        card("text_recognition", Ctc(blank=0, time_axis=1), ("", "a")),
        {"o": np.zeros((1, 4, 3), np.float32)},
    ),
    (
        card("text_detection", Db(threshold=0.3, score=0.6, unclip=1)),
        {"o": np.zeros((1, 2, 8, 8), np.float32)},
    ),
]


@pytest.mark.parametrize(("one", "outputs"), REFUSED)
def test_a_card_for_another_model_is_refused(one: TaskCard, outputs: Any) -> None:
    with pytest.raises(CardError):
        decode(outputs, HALF, one)


def test_iou_of_known_boxes() -> None:
    a = np.array([[0.0, 0, 10, 10], [5, 5, 5, 9]])
    b = np.array([[5.0, 0, 15, 10], [20, 20, 30, 30]])
    np.testing.assert_allclose(iou(a, b), [[1 / 3, 0], [0, 0]])


def test_nms_is_class_wise_and_stable() -> None:
    boxes = np.array([[0.0, 0, 10, 10], [1, 0, 11, 10], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores = np.array([0.5, 0.5, 0.4, 0.9])
    classes = np.array([0, 0, 1, 0])
    assert nms(boxes, scores, classes, overlap=0.5, keep=10).tolist() == [3, 0, 2]
    assert nms(boxes, scores, classes, overlap=0.5, keep=2).tolist() == [3, 0]
    assert nms(boxes[:0], scores[:0], classes[:0], overlap=0.5, keep=2).tolist() == []
