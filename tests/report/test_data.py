"""Data folders are recognised by content, in a fixed order, damage counted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.report.data import Boxes, calibration_data, open_data
from edgeq.report.evaluate import evaluate
from edgeq.vision import TaskCard
from edgeq.zoo import info

CLASSES = info("resnet8").card
COCO = info("yolox_nano").card
PERSON = info("vww_96").card
LINES = info("en_number_rec").card
TURN = info("ppocr_cls").card
PAGES = info("ppocrv3_det_640").card


def paint(path: Path, value: int = 0, size: tuple[int, int] = (20, 30)) -> None:
    path.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(path), np.full((*size, 3), value, np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(10):
        paint(tmp_path / "images" / f"{i}.png", i)
    return tmp_path


def write(path: Path, *rows: str) -> None:
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")


def coco(folder: Path, **change: Any) -> None:
    image = {"id": 5, "file_name": "3.png", "width": 30, "height": 20} | change
    marks = [
        {"image_id": 5, "category_id": 18, "bbox": [1, 2, 3, 4]},
        {"image_id": 5, "category_id": 1, "bbox": [0, 0, 9, 9], "iscrowd": 1},
        {"image_id": 9, "category_id": 1, "bbox": [0, 0, 9, 9]},
    ]
    categories = [{"id": 18, "name": "dog"}, {"id": 1, "name": "person"}]
    document = {"images": [image], "annotations": marks, "categories": categories}
    (folder / "instances.json").write_text(json.dumps(document))


def test_labels_may_be_numbers_or_names(folder: Path) -> None:
    write(folder / "labels.csv", "file,label", "2.png,3", "1.png,frog", "0.png,1 2")
    data = open_data(folder, CLASSES)
    assert data.kind == "labels"
    assert [(one.id, one.truth) for one in data] == [
        ("2.png", {3}),
        ("1.png", {6}),
        ("0.png", {1, 2}),
    ]


def test_coco_boxes_follow_the_names_of_the_card(folder: Path) -> None:
    coco(folder)
    (sample,) = open_data(folder, COCO)
    assert isinstance(sample.truth, Boxes)
    assert sample.truth.corners.tolist() == [[1, 2, 4, 6], [0, 0, 9, 9]]
    assert [COCO.labels[i] for i in sample.truth.index] == ["dog", "person"]
    assert sample.truth.crowd.tolist() == [False, True]


def test_a_picture_of_another_size_than_its_boxes_is_skipped(folder: Path) -> None:
    coco(folder, width=31)
    data = open_data(folder, COCO)
    assert list(data) == []
    assert "must be 31x20" in data.skipped[0].reason


@pytest.mark.parametrize(("width", "seen"), [(30, 1), (200, 0)])
def test_a_person_counts_over_half_a_percent(folder: Path, width: int, seen: int) -> None:
    paint(folder / "images" / "3.png", size=(200, width))
    coco(folder, width=width, height=200)
    (sample,) = open_data(folder, PERSON)
    assert sample.truth == {seen}  # 81 of 6000 or of 40000 pixels


def test_crops_are_squeezed_to_a_square(folder: Path) -> None:
    write(folder / "crops.csv", "file,x,y,w,h,category,labels", "7.png,2,3,10,5,ship,8 3")
    (sample,) = open_data(folder, CLASSES)
    assert sample.image.shape == (256, 256, 3)
    assert sample.truth == {8, 3}


def test_each_line_is_shown_upright_and_turned(folder: Path) -> None:
    write(folder / "lines.csv", "file,text", '0.png,"A, B"')
    image = np.arange(20 * 30 * 3, dtype=np.uint8).reshape(20, 30, 3)
    (folder / "lines").mkdir()
    cv2.imwrite(str(folder / "lines" / "0.png"), image)
    upright, turned = open_data(folder, TURN)
    assert (upright.truth, turned.truth) == ({0}, {1})
    np.testing.assert_array_equal(turned.image, image[::-1, ::-1])
    assert [one.truth for one in open_data(folder, LINES)] == ["A, B"]


def test_pages_give_text_boxes(folder: Path) -> None:
    page = {"file": "images/1.png", "size": [30, 20], "lines": [{"box": [1, 2, 3, 4], "text": "x"}]}
    (folder / "pages.json").write_text(json.dumps([page, page | {"lines": []}]))
    full, empty = open_data(folder, PAGES)
    assert isinstance(full.truth, np.ndarray) and isinstance(empty.truth, np.ndarray)
    assert (full.truth.tolist(), empty.truth.shape) == ([[1, 2, 3, 4]], (0, 4))


def test_npz_pictures_become_bgr(tmp_path: Path) -> None:
    x = np.random.default_rng(0).integers(0, 256, (4, 8, 8, 3), np.uint8)
    np.savez(tmp_path / "set.npz", x=x, y=np.arange(4))
    for path in (tmp_path, tmp_path / "set.npz"):
        samples = list(open_data(path, CLASSES))
        assert [one.truth for one in samples] == [{0}, {1}, {2}, {3}]
        np.testing.assert_array_equal(samples[2].image, x[2, :, :, ::-1])


BROKEN = {
    "labels.csv": ["file,label\n../../etc/passwd,1\n", "file,label\n1.png,whale\n", "file,label\n"],
    "crops.csv": ["file,x,y,w,h,labels\n1.png,a,0,1,1,1\n", "file\n1.png\n"],
    "set.npz": ["no archive"],
}


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in BROKEN.items() for text in texts]
)
def test_a_damaged_list_is_a_data_error(folder: Path, name: str, text: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DataError):
        open_data(folder, CLASSES)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"images": 3}', "[[[[", '{"images": [{}]}'])
def test_a_damaged_json_is_a_data_error(folder: Path, text: str) -> None:
    for name, card in (("instances.json", COCO), ("instances.json", PERSON), ("pages.json", PAGES)):
        (folder / name).write_text(text)
        with pytest.raises(DataError):
            open_data(folder, card)


def test_a_folder_without_the_needed_truth_says_what_it_wants(folder: Path) -> None:
    with pytest.raises(DataError, match=r"instances\.json for detection"):
        open_data(folder, COCO)
    with pytest.raises(DataError, match="neither"):
        open_data(folder / "absent", COCO)


def test_calibration_pictures_are_spread_evenly(folder: Path) -> None:
    names = [Path(one.id).name for one in calibration_data(folder, COCO, 3)]
    assert names == ["1.png", "5.png", "8.png"]
    assert len(calibration_data(folder, None, 99)) == 10
    assert len(calibration_data(folder / "images" / "1.png", CLASSES, 4)) == 1
    write(folder / "labels.csv", "file,label", "2.png,3")
    assert [one.id for one in calibration_data(folder, CLASSES, 3)] == ["2.png"]


def says(index: int) -> Any:
    return lambda x: {"p": np.eye(10, dtype=np.float32)[[index]]}


def test_evaluate_counts_damaged_pictures(folder: Path) -> None:
    write(folder / "labels.csv", "file,label", "0.png,3", "1.png,3", "2.png,4", "absent.png,3")
    (folder / "images" / "1.png").write_bytes(b"damage")
    seen: list[tuple[int, int]] = []
    report = evaluate(says(3), CLASSES, folder, progress=lambda done, all: seen.append((done, all)))
    assert report == {"samples": 2, "skipped": 2, "metrics": {"top1": 0.5, "top5": 1.0}}
    assert seen == [(1, 4), (3, 4)]
    assert evaluate(says(3), CLASSES, folder, limit=1)["metrics"]["top1"] == 1


def test_evaluate_without_a_usable_picture_is_a_data_error(folder: Path) -> None:
    write(folder / "labels.csv", "file,label", "absent.png,3")
    with pytest.raises(DataError, match="usable"):
        evaluate(says(3), CLASSES, folder)


def test_two_classes_have_no_top5(folder: Path) -> None:
    coco(folder)
    card: TaskCard = PERSON
    report = evaluate(lambda x: {"p": np.float32([[0.2, 0.8]])}, card, folder)
    assert list(report["metrics"]) == ["top1"]
