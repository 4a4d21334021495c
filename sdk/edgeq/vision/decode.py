"""Turn output tensors into boxes, classes and text lines in picture coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import CardError
from edgeq.vision.boxes import nms
from edgeq.vision.card import Ctc, Db, NanoDet, TaskCard, TopK, Yolox
from edgeq.vision.preprocess import Geometry

MAX_CANDIDATES = 2000  # best cells that enter suppression

Array = NDArray[np.float32]
Outputs = Mapping[str, Array]
Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Box:
    """A found object: corners in picture pixels, score 0..1."""

    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    label: str
    index: int


@dataclass(frozen=True, slots=True)
class Class:
    """A class that the whole picture may belong to."""

    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True)
class Line:
    """A text line: its text (empty if only found), score 0..1, corners in picture pixels."""

    text: str
    score: float
    polygon: tuple[Point, ...]


Item = Box | Class | Line


def decode(
    outputs: Outputs, geometry: Geometry, card: TaskCard, *, score: float | None = None
) -> list[Item]:
    """Decode the named float32 outputs of one picture as the card says.

    `score` replaces the card's score threshold where there is one. Raises CardError if an output is
    missing or has another shape than the card promises.
    """
    rule = card.decode
    match rule:
        case Yolox():
            candidates = _yolox(outputs, card, rule, rule.score if score is None else score)
            return _suppressed(candidates, geometry, card, rule)
        case NanoDet():
            candidates = _nanodet(outputs, card, rule, rule.score if score is None else score)
            return _suppressed(candidates, geometry, card, rule)
        case TopK():
            return list(_top_k(outputs, card, rule))
        case Ctc():
            return [_ctc(outputs, geometry, card, rule)]
        case Db():
            return list(_db(outputs, geometry, rule, rule.score if score is None else score))


def _output(outputs: Outputs, name: str, what: str) -> Array:
    """Return the named output, or the only one if the card names none."""
    if not name and len(outputs) == 1:
        return next(iter(outputs.values()))
    if name not in outputs:
        raise CardError(
            f"card decode: {what} must name one of the outputs {', '.join(outputs)}, got {name!r}."
            " Correct the task card."
        )
    return outputs[name]


def _expect(holds: bool, name: str, rule: str, array: Array) -> None:
    if not holds:
        raise CardError(
            f"output {name or 'of the model'}: must be {rule}, got {array.shape}."
            " Use the card that belongs to this model."
        )


def softmax(x: Array, axis: int = -1) -> Array:
    """Return exp(x) / sum(exp(x)) along `axis`."""
    powers: Array = np.exp(x - x.max(axis=axis, keepdims=True))
    return powers / np.sum(powers, axis=axis, keepdims=True, dtype=np.float32)


Candidates = tuple[NDArray[np.float64], Array, NDArray[np.intp]]  # boxes on the input, score, class


def _grid(card: TaskCard, stride: int) -> tuple[int, int]:
    """Return rows and columns of cells, with the last cell cut by the edge counted."""
    return -(-card.input.height // stride), -(-card.input.width // stride)


def _best(scores: Array, least: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return row and class of the scores (n, classes) over `least`, best first, capped."""
    row, index = np.nonzero(scores > least)
    top = np.argsort(-scores[row, index], kind="stable")[:MAX_CANDIDATES]
    return row[top], index[top]


def _yolox(outputs: Outputs, card: TaskCard, rule: Yolox, least: float) -> Candidates:
    """Find candidates of YOLOX (Ge et al. 2021, 2107.08430): anchor-free cells of all strides."""
    out = _output(outputs, rule.output, "output")
    shapes = [_grid(card, stride) for stride in rule.strides]
    cells = sum(rows * columns for rows, columns in shapes)
    fits = out.ndim == 3 and out.shape[:2] == (1, cells) and out.shape[2] > 5
    _expect(fits, rule.output, f"(1, {cells}, 5 + classes)", out)
    live = np.flatnonzero(out[0, :, 4] > least)  # class scores are <= 1, so score <= objectness
    rows = out[0, live]  # (live, 5 + classes)
    row, index = _best(rows[:, 4:5] * rows[:, 5:], least)
    cell, rows = live[row], rows[row]
    # position and stride of the chosen cells only
    starts = np.cumsum([0, *(r * c for r, c in shapes)])
    level = np.searchsorted(starts, cell, side="right") - 1
    stride = np.array(rule.strides)[level][:, None]
    y, x = np.divmod(cell - starts[level], np.array([c for _, c in shapes])[level])
    center = (rows[:, :2].astype(np.float64) + np.stack([x, y], 1)) * stride
    half = np.exp(np.minimum(rows[:, 2:4].astype(np.float64), 20.0)) * stride / 2
    score = rows[:, 4] * rows[np.arange(len(rows)), 5 + index]
    return np.concatenate([center - half, center + half], 1), score, index


def _nanodet(outputs: Outputs, card: TaskCard, rule: NanoDet, least: float) -> Candidates:
    """Find candidates of NanoDet: distances as distributions (Li et al. 2020, 2006.04388)."""
    scores, boxes, index = [], [], []
    for stride, score_name, box_name in zip(rule.strides, rule.scores, rule.boxes, strict=True):
        rows, columns = _grid(card, stride)
        score = _output(outputs, score_name, "scores")
        bins = _output(outputs, box_name, "boxes")
        cells = rows * columns
        fits = score.ndim == 3 and score.shape[:2] == (1, cells)
        _expect(fits, score_name, f"(1, {cells}, classes)", score)
        wanted = (1, cells, 4 * rule.bins)
        _expect(bins.shape == wanted, box_name, str(wanted), bins)
        cell, label = _best(score[0], least)
        share = softmax(bins[0, cell].reshape(-1, 4, rule.bins))
        reach = (share * np.arange(rule.bins)).sum(2).astype(np.float64) * stride
        y, x = np.divmod(cell, columns)
        center = np.stack([x, y], 1) * stride + (stride - 1) * 0.5
        boxes.append(np.concatenate([center - reach[:, :2], center + reach[:, 2:]], 1))
        scores.append(score[0, cell, label])
        index.append(label)
    return np.concatenate(boxes), np.concatenate(scores), np.concatenate(index)


def _suppressed(
    candidates: Candidates, geometry: Geometry, card: TaskCard, rule: Yolox | NanoDet
) -> list[Item]:
    """Bring candidates to the picture, suppress, and name them; best first."""
    boxes, scores, index = candidates
    top = np.argsort(-scores, kind="stable")[:MAX_CANDIDATES]
    boxes, scores, index = geometry.clip(geometry.to_picture(boxes[top])), scores[top], index[top]
    kept = nms(boxes, scores, index, overlap=rule.nms, keep=rule.keep)
    found = zip(boxes[kept].tolist(), scores[kept].tolist(), index[kept].tolist(), strict=True)
    return [
        Box(x0, y0, x1, y1, score, card.label(label), label)
        for (x0, y0, x1, y1), score, label in found
    ]


def _top_k(outputs: Outputs, card: TaskCard, rule: TopK) -> list[Class]:
    out = _output(outputs, rule.output, "output")
    _expect(out.size > rule.background, rule.output, f"more than {rule.background} scores", out)
    scores = softmax(out.ravel()) if rule.logits else out.ravel()
    scores = scores[rule.background :]
    order = np.argsort(-scores, kind="stable")[: rule.k].tolist()
    return [Class(card.label(i), i, float(scores[i])) for i in order]


def _ctc(outputs: Outputs, geometry: Geometry, card: TaskCard, rule: Ctc) -> Line:
    """Read the best path (Graves et al. 2006): merge repeats, drop blanks."""
    out = _output(outputs, rule.output, "output")
    wanted = (len(card.labels), "steps") if rule.time_axis == 2 else ("steps", len(card.labels))
    fits = out.ndim == 3 and out.shape[0] == 1 and out.shape[3 - rule.time_axis] == len(card.labels)
    _expect(fits, rule.output, f"(1, {wanted[0]}, {wanted[1]})", out)
    steps = out[0] if rule.time_axis == 1 else out[0].T  # (steps, classes)
    if rule.logits:
        steps = softmax(steps)
    best = steps.argmax(1)
    shown = best != rule.blank
    shown[1:] &= best[1:] != best[:-1]
    text = "".join(card.labels[i] for i in best[shown].tolist())
    score = float(steps.max(1)[shown].mean()) if shown.any() else 0.0
    w, h = float(geometry.width), float(geometry.height)
    return Line(text, score, ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h)))


def _db(outputs: Outputs, geometry: Geometry, rule: Db, least: float) -> list[Line]:
    """Find text regions in a probability map (DB, Liao et al. 2020, 1911.08947), largest `keep`.

    Corners may reach past the picture by the growth of the region.
    """
    import cv2

    out = _output(outputs, rule.output, "output")
    _expect(out.ndim == 4 and out.shape[:2] == (1, 1), rule.output, "(1, 1, height, width)", out)
    probability = out[0, 0]
    mask = (probability > rule.threshold).astype(np.uint8)
    contours = cv2.findContours(mask, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]
    if len(contours) > rule.keep:
        contours = sorted(contours, key=len, reverse=True)[: rule.keep]
    lines = []
    for contour in contours:
        center, (w, h), angle = cv2.minAreaRect(contour)
        if min(w, h) < rule.min_side:
            continue
        x, y, bw, bh = cv2.boundingRect(contour)
        inside = np.zeros((bh, bw), np.uint8)
        cv2.fillPoly(inside, [contour - [x, y]], 1)
        score = float(probability[y : y + bh, x : x + bw][inside > 0].mean())
        if score < least:
            continue
        grow = w * h * rule.unclip / (w + h)  # both sides: 2 * area * unclip / (2 * (w + h))
        corners = cv2.boxPoints((center, (w + grow, h + grow), angle))
        polygon = geometry.to_picture(corners.astype(np.float64)).tolist()
        lines.append(Line("", score, tuple((px, py) for px, py in polygon)))
    return lines
