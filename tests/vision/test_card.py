"""A card that exists is a valid card, and a broken one says which key is wrong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeq.errors import CardError
from edgeq.vision import TaskCard
from edgeq.zoo import list_models


def plain() -> dict[str, Any]:
    return {
        "task": "detection",
        "metric": "ap",
        "labels": ["cat", "dog"],
        "input": {"height": 64, "width": 96, "color": "bgr", "resize": "letterbox_topleft"},
        "decode": {"kind": "yolox", "strides": [8, 16], "score": 0.3, "nms": 0.65},
    }


@pytest.mark.parametrize("model", list_models(), ids=lambda model: model.name)
def test_every_zoo_card_survives_json(model: Any) -> None:
    assert TaskCard.from_dict(json.loads(json.dumps(model.card.to_dict()))) == model.card


BROKEN = [
    ("colour", 1, "card: has only the keys"),
    ("task", "segmentation", "card task: must be one of"),
    ("task", "text_detection", "card decode kind: must be db"),
    ("task", None, "card task: must be given"),
    ("metric", "top1", "card metric: must be ap or ap50"),
    ("truth", "coco_person", "card truth"),
    ("labels", "cat", "card labels: must be a list"),
    ("labels", ["cat\x1b[2J"], "card labels: every item must be text"),
    ("labels", ["\ud800"], "card labels: every item must be text"),
    ("labels", ["x"] * 70_000, "card labels: must be a list of 0..65536"),
    ("licence", "x" * 501, "card licence: must be text"),
    ("input", [], "card input: must be a table"),
    ("input.height", True, "card input height: must be an integer"),
    ("input.height", 64.0, "card input height: must be an integer"),
    ("input.width", 10**30, "card input width: must be an integer"),
    ("input.mean", [0, 0], "card input mean: must be a list of 3"),
    ("input.std", [1, 1, 0], "card input std: every item must be a number"),
    ("input.pad", 300, None),
    ("input.pad_unit", "percent", "card input pad_unit"),
    ("input.short_side", 32, "card input short_side: belongs to"),
    ("input.resize", "crop", "card input short_side: must be at least 96"),
    ("decode.kind", "ssd", "card decode kind: must be one of"),
    ("decode.blank", 0, "card decode: has only the keys"),
    ("decode.score", float("nan"), "card decode score: must be a number 0..1"),
    ("decode.score", 10**400, "card decode score: must be a number 0..1"),
    ("decode.strides", [], "card decode strides: must be a list of 1..8"),
    ("decode.strides", None, "card decode strides: must be given"),
]


@pytest.mark.parametrize(("key", "value", "text"), BROKEN)
def test_broken_card_names_the_key(key: str, value: object, text: str | None) -> None:
    card = plain()
    *parents, last = key.split(".")
    table = card[parents[0]] if parents else card
    table[last] = value
    if value is None:
        del table[last]
    if text is None:
        TaskCard.from_dict(card)
        return
    with pytest.raises(CardError) as caught:
        TaskCard.from_dict(card)
    assert str(caught.value).startswith(text)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize("raw", [None, 3, "card", [], {1: 2}, {"input": None}, {"decode": {}}])
def test_nonsense_is_a_model_error(raw: object) -> None:
    with pytest.raises(CardError):
        TaskCard.from_dict(raw)


def test_a_changed_card_is_checked_too() -> None:
    card = TaskCard.from_dict(plain())
    assert replace(card, decode=replace(card.decode, score=0.5)).decode.score == 0.5
    with pytest.raises(CardError, match="nms"):
        replace(card.decode, nms=2.0)


def test_ctc_blank_is_a_label() -> None:
    card = plain() | {"task": "text_recognition", "metric": "exact"}
    card["decode"] = {"kind": "ctc", "blank": 2, "time_axis": 1}
    with pytest.raises(CardError, match="blank"):
        TaskCard.from_dict(card)


TOML = """[card]
task = "classification"
metric = "top1"
labels = "names.txt"
[card.input]
height = 4
width = 4
color = "rgb"
resize = "stretch"
[card.decode]
kind = "top_k"
"""


def test_toml_reads_labels_beside_it(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("\nab\n \n", encoding="utf-8")
    (tmp_path / "card.toml").write_text(TOML)
    assert TaskCard.from_toml(tmp_path / "card.toml").labels == ("", "ab", " ")


@pytest.mark.parametrize(
    "text",
    ["[card", "x = 1", TOML.replace("names.txt", "../names.txt"), TOML.replace("names", "none")],
)
def test_bad_toml_names_the_file(tmp_path: Path, text: str) -> None:
    (tmp_path / "card.toml").write_text(text)
    with pytest.raises(CardError, match=r"card\.toml"):
        TaskCard.from_toml(tmp_path / "card.toml")
    with pytest.raises(CardError, match="cannot be read"):
        TaskCard.from_toml(tmp_path / "absent.toml")
