"""Accuracy figures, as fractions 0..1."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeq.report.data import Boxes
from edgeq.vision.boxes import area, intersection, iou

Floats = NDArray[np.float64]

THRESHOLDS = np.linspace(0.5, 0.95, 10)  # IoU levels of AP50:95
RECALLS = np.linspace(0.0, 1.0, 101)
MAX_DETECTIONS = 100  # best boxes of a picture that count


@dataclass(frozen=True, slots=True)
class Found:
    """Found objects of one picture: corners (n, 4), score (n,), class index (n,)."""

    corners: Floats
    score: Floats
    index: NDArray[np.intp]


def average_precision(found: Sequence[Found], truth: Sequence[Boxes]) -> dict[str, float]:
    """Return `ap50` and `ap` (mean over IoU .50:.05:.95) as COCO defines them.

    Lin et al. 2014 (1405.0312) and its evaluation rules: 101 recall points, mean over the classes
    that occur, a detection inside a crowd box counts neither way, at most 100 a picture.
    """
    found = [_capped(one) for one in found]
    classes = sorted({index for one in truth for index in one.index[~one.crowd].tolist()})
    if not classes:
        return {"ap50": 0.0, "ap": 0.0}
    per_class = np.array([_class_ap(found, truth, index) for index in classes])  # (classes, 10)
    return {"ap50": float(per_class[:, 0].mean()), "ap": float(per_class.mean())}


def _capped(one: Found) -> Found:
    order = np.argsort(-one.score, kind="stable")[:MAX_DETECTIONS]
    return Found(one.corners[order], one.score[order], one.index[order])


def _class_ap(found: Sequence[Found], truth: Sequence[Boxes], index: int) -> Floats:
    """Return the AP of one class at every IoU threshold: (10,)."""
    scores, hits, ignored, positives = [], [], [], 0
    for mine, real in zip(found, truth, strict=True):
        wanted = real.index == index
        crowd = real.crowd[wanted]
        positives += int((~crowd).sum())
        picked = mine.index == index
        if not picked.any():
            continue
        hit, ignore = _match(mine.corners[picked], real.corners[wanted], crowd)
        scores.append(mine.score[picked])
        hits.append(hit)
        ignored.append(ignore)
    if not scores:
        return np.zeros(len(THRESHOLDS))
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hit, ignore = np.concatenate(hits)[order], np.concatenate(ignored)[order]  # (n, 10)
    return np.array([_area_under(h[~i], positives) for h, i in zip(hit.T, ignore.T, strict=True)])


def _match(
    mine: Floats, real: Floats, crowd: NDArray[np.bool_]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Give each detection (best first) the free true box it overlaps most, at every threshold.

    Returns hit and ignore, (n, 10) each.
    """
    levels = np.arange(len(THRESHOLDS))
    hit = np.zeros((len(mine), len(levels)), bool)
    single, crowds = real[~crowd], real[crowd]
    if len(single):
        overlap = iou(mine, single)  # (n, g)
        free = np.ones((len(levels), len(single)), bool)
        for k in np.flatnonzero(overlap.max(1) >= THRESHOLDS[0]):
            usable = np.where(free & (overlap[k] >= THRESHOLDS[:, None]), overlap[k], -1.0)
            best = usable.argmax(1)
            hit[k] = usable[levels, best] >= 0
            free[levels[hit[k]], best[hit[k]]] = False
    if not len(crowds):
        return hit, np.zeros_like(hit)
    inside = intersection(mine, crowds) / np.maximum(area(mine), 1e-9)[:, None]
    return hit, ~hit & (inside.max(1)[:, None] >= THRESHOLDS)


def _area_under(hit: NDArray[np.bool_], positives: int) -> float:
    """Average the envelope of precision over the 101 recall points."""
    right = np.cumsum(hit)
    precision = right / np.arange(1, len(hit) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(right / positives, RECALLS, side="left")
    return float(np.append(envelope, 0.0)[at].mean())


def top_k(ranked: Sequence[Sequence[int]], accepted: Sequence[Collection[int]], k: int) -> float:
    """Return the share of samples with an accepted class among the first k ranked ones."""
    pairs = zip(ranked, accepted, strict=True)
    return float(np.mean([any(index in good for index in best[:k]) for best, good in pairs]))


def text_accuracy(
    read: Sequence[str], truth: Sequence[str], *, loose: bool = False
) -> dict[str, float]:
    """Return `exact` (share of lines read without a mistake) and `cer` (edits per true character).

    loose: case and spaces are ignored.
    """
    if loose:
        read, truth = [_bare(text) for text in read], [_bare(text) for text in truth]
    pairs = list(zip(read, truth, strict=True))
    edits = sum(edit_distance(mine, real) for mine, real in pairs)
    return {
        "exact": float(np.mean([mine == real for mine, real in pairs])),
        "cer": edits / max(1, sum(map(len, truth))),
    }


def _bare(text: str) -> str:
    return text.replace(" ", "").lower()


def edit_distance(a: str, b: str) -> int:
    """Return how many characters must be inserted, deleted or replaced (Levenshtein 1966)."""
    if a == b:
        return 0
    x, y = (np.array([*map(ord, text)], np.int64) for text in (a, b))
    steps = np.arange(len(y) + 1)
    row = steps.copy()
    for i, letter in enumerate(x, 1):
        new = np.concatenate([[i], np.minimum(row[1:] + 1, row[:-1] + (y != letter))])
        row = np.minimum.accumulate(new - steps) + steps  # insertions, all at once
    return int(row[-1])


def hmean(
    found: Sequence[Floats], truth: Sequence[Floats], *, overlap: float = 0.5
) -> dict[str, float]:
    """Return `precision`, `recall` and `hmean` of text boxes, (n, 4) corners for each picture.

    Boxes are paired one to one, best IoU first, down to `overlap`.
    """
    right = sum(_paired(iou(mine, real), overlap) for mine, real in zip(found, truth, strict=True))
    precision = right / max(1, sum(map(len, found)))
    recall = right / max(1, sum(map(len, truth)))
    both = 2 * precision * recall / max(precision + recall, 1e-9)
    return {"hmean": both, "precision": precision, "recall": recall}


def _paired(over: NDArray[np.floating], least: float) -> int:
    """Count greedy one-to-one pairs in an (n, m) overlap table."""
    row, column = np.nonzero(over >= least)
    order = np.argsort(-over[row, column], kind="stable")
    rows, columns = set[int](), set[int]()
    for i, j in zip(row[order].tolist(), column[order].tolist(), strict=True):
        if i not in rows and j not in columns:
            rows.add(i)
            columns.add(j)
    return len(rows)
