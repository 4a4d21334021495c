"""Measure the accuracy of any runnable model on a data folder."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.errors import DataError
from edgeq.report.data import open_data
from edgeq.report.metrics import (
    Found,
    average_precision,
    hmean,
    text_accuracy,
    top_k,
)
from edgeq.vision.card import NanoDet, TaskCard, TopK, Yolox
from edgeq.vision.decode import Item
from edgeq.vision.pipelines import Pipeline, Run

AP_SCORE = 0.01  # average precision needs the weak boxes too
TOP = 5


def evaluate(
    run: Run,
    card: TaskCard,
    data_path: str | Path,
    *,
    limit: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run the card's pipeline over labelled pictures and compare.

    run: (1, H, W, 3) float32 -> named float32 outputs. limit: only the first samples. progress is
    called with (done, total). Returns `samples` and `skipped` (counts) and `metrics` (fractions:
    ap50, ap | top1, top5 | exact, cer | hmean, precision, recall). Raises DataError if the folder
    has no truth for the task or no usable picture.
    """
    data = open_data(data_path, card).first(limit)
    pipeline = Pipeline(run, _for_measuring(card))
    found: list[Sequence[Item]] = []
    truth: list[Any] = []
    for sample in data:
        found.append(pipeline(sample.image).items)
        truth.append(sample.truth)
        if progress:
            progress(len(found) + len(data.skipped), len(data))
    if not found:
        why = f", the first is {data.skipped[0].reason}" if data.skipped else ""
        raise DataError(f"{data_path}: must hold a usable picture, {len(data)} were listed{why}.")
    return {
        "samples": len(found),
        "skipped": len(data.skipped),
        "metrics": _METRICS[card.task](found, truth, card),
    }


def _for_measuring(card: TaskCard) -> TaskCard:
    """Set the thresholds that the metric is defined with, not those for showing results."""
    match card.decode:
        case Yolox() | NanoDet():
            return replace(card, decode=replace(card.decode, score=AP_SCORE, keep=100))
        case TopK():
            return replace(card, decode=replace(card.decode, k=TOP))
    return card


def _detection(found: list[Any], truth: list[Any], card: TaskCard) -> dict[str, float]:
    arrays = [
        Found(
            np.array([[box.x0, box.y0, box.x1, box.y1] for box in boxes]).reshape(-1, 4),
            np.array([box.score for box in boxes], np.float64),
            np.array([box.index for box in boxes], np.intp),
        )
        for boxes in found
    ]
    return average_precision(arrays, truth)


def _classification(found: list[Any], truth: list[Any], card: TaskCard) -> dict[str, float]:
    ranked = [[one.index for one in classes] for classes in found]
    figures = {"top1": top_k(ranked, truth, 1)}
    if len(card.labels) > TOP:
        figures["top5"] = top_k(ranked, truth, TOP)
    return figures


def _recognition(found: list[Any], truth: list[Any], card: TaskCard) -> dict[str, float]:
    read = ["".join(line.text for line in lines) for lines in found]
    return text_accuracy(read, truth, loose=card.compare == "loose")


def _text_detection(found: list[Any], truth: list[Any], card: TaskCard) -> dict[str, float]:
    corners = []
    for lines in found:
        points = np.array([line.polygon for line in lines], np.float64).reshape(-1, 4, 2)
        corners.append(np.concatenate([points.min(1), points.max(1)], 1))
    return hmean(corners, truth)


_METRICS: dict[str, Callable[[list[Any], list[Any], TaskCard], dict[str, float]]] = {
    "detection": _detection,
    "classification": _classification,
    "text_direction": _classification,
    "text_recognition": _recognition,
    "text_detection": _text_detection,
}
