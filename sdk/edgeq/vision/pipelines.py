"""Picture in, results out: preprocess, run, decode, each part timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import CardError
from edgeq.vision.card import TASKS, TaskCard
from edgeq.vision.decode import Class, Item, Line, Point, decode
from edgeq.vision.preprocess import preprocess

Run = Callable[[NDArray[np.float32]], Mapping[str, NDArray[np.float32]]]

UPSIDE_DOWN = 1  # class index of a direction model
SURE = 0.9  # a line is turned only if the direction model is this sure (PaddleOCR's default)


@dataclass(frozen=True, slots=True)
class Result:
    """What was found in one picture, and how long each part took in milliseconds."""

    items: tuple[Item, ...]
    ms: dict[str, float]


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Join a network with its card.

    run: any callable that takes the (1, H, W, 3) float32 tensor and returns named float32 outputs:
    a Session, or a wrapped ONNX Runtime model. Raises CardError if the card's task does not fit.
    """

    run: Run
    card: TaskCard
    tasks: ClassVar[tuple[str, ...]] = TASKS

    def __post_init__(self) -> None:
        if self.card.task not in self.tasks:
            raise CardError(
                f"{type(self).__name__}: the card's task must be {' or '.join(self.tasks)},"
                f" got {self.card.task}. Use a model for that task."
            )

    def __call__(self, image: NDArray[np.uint8], *, score: float | None = None) -> Result:
        """Process one (h, w, 3) uint8 BGR picture; `score` replaces the card's threshold."""
        begin = time.perf_counter()
        tensor, geometry = preprocess(image, self.card.input)
        ready = time.perf_counter()
        outputs = self.run(tensor)
        done = time.perf_counter()
        items = tuple(decode(outputs, geometry, self.card, score=score))
        end = time.perf_counter()
        parts = {"pre": ready - begin, "run": done - ready, "post": end - done}
        return Result(items, {name: 1e3 * seconds for name, seconds in parts.items()})


class Classifier(Pipeline):
    """Name what a picture shows: `Class` items, best first."""

    __slots__ = ()
    tasks = ("classification", "text_direction")


class Detector(Pipeline):
    """Find objects: `Box` items, best first."""

    __slots__ = ()
    tasks = ("detection",)


class TextDetector(Pipeline):
    """Find text lines: `Line` items without text."""

    __slots__ = ()
    tasks = ("text_detection",)


class TextRecognizer(Pipeline):
    """Read one cut-out text line: a single `Line` item."""

    __slots__ = ()
    tasks = ("text_recognition",)


@dataclass(frozen=True, slots=True)
class TextReader:
    """Find, turn and read all text lines of a picture.

    recognizers: the same network for one or several widths; each line goes to the narrowest that
    holds it unsqueezed, otherwise to the widest.
    """

    detector: TextDetector
    recognizers: Sequence[TextRecognizer]
    direction: Classifier | None = None

    def __call__(self, image: NDArray[np.uint8], *, score: float | None = None) -> Result:
        """Read one (h, w, 3) uint8 BGR picture; lines come in reading order."""
        found = self.detector(image, score=score)
        ms = dict(found.ms)
        lines: list[Line] = []
        for spot in reading_order([item for item in found.items if isinstance(item, Line)]):
            begin = time.perf_counter()
            part = cut_line(image, spot.polygon)
            ms["pre"] += 1e3 * (time.perf_counter() - begin)
            if self.direction:
                turned = self.direction(part)
                _add(ms, turned.ms)
                best = turned.items[0]
                assert isinstance(best, Class)
                if best.index == UPSIDE_DOWN and best.score >= SURE:
                    part = np.ascontiguousarray(part[::-1, ::-1])
            read = self._recognizer(part)(part)
            _add(ms, read.ms)
            (line,) = read.items
            assert isinstance(line, Line)
            lines.append(Line(line.text, line.score, spot.polygon))
        return Result(tuple(lines), ms)

    def _recognizer(self, part: NDArray[np.uint8]) -> TextRecognizer:
        by_width = sorted(self.recognizers, key=lambda one: one.card.input.width)
        aspect = part.shape[1] / part.shape[0]
        fits = (one for one in by_width if aspect * one.card.input.height <= one.card.input.width)
        return next(fits, by_width[-1])


def _add(ms: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        ms[name] += value


def reading_order(lines: Sequence[Line]) -> list[Line]:
    """Order lines from top to bottom, and from left to right within a row.

    A line belongs to the row whose first line's middle it covers.
    """
    spans = []
    for line in lines:
        x, y = zip(*line.polygon, strict=True)
        spans.append((min(y), max(y), min(x), line))
    rows: list[tuple[float, list[tuple[float, Line]]]] = []
    for top, bottom, left, line in sorted(spans, key=lambda span: span[0] + span[1]):
        if rows and top <= rows[-1][0] <= bottom:
            rows[-1][1].append((left, line))
        else:
            rows.append(((top + bottom) / 2, [(left, line)]))
    return [line for _, row in rows for _, line in sorted(row, key=lambda pair: pair[0])]


def cut_line(image: NDArray[np.uint8], polygon: Sequence[Point]) -> NDArray[np.uint8]:
    """Cut the rectangle with these four corners out of a picture, upright.

    A part more than 1.5 times as tall as wide is vertical text and is turned by 90 degrees.
    """
    import cv2

    corners = np.array(polygon, np.float32)  # (4, 2), in order around the rectangle
    first = int(corners.sum(1).argmin())  # nearest to the top left of the picture
    corners = np.roll(corners, -first, axis=0)
    right, down = corners[1] - corners[0], corners[3] - corners[0]
    if right[0] * down[1] < right[1] * down[0]:  # make it clockwise
        corners = corners[[0, 3, 2, 1]]
    wide = max(1, round(float(np.hypot(*(corners[1] - corners[0])))))
    high = max(1, round(float(np.hypot(*(corners[3] - corners[0])))))
    target = np.array([[0, 0], [wide, 0], [wide, high], [0, high]], np.float32)
    transform = cv2.getPerspectiveTransform(corners, target)
    part = cv2.warpPerspective(image, transform, (wide, high), borderMode=cv2.BORDER_REPLICATE)
    if high > 1.5 * wide:
        part = cv2.rotate(part, cv2.ROTATE_90_COUNTERCLOCKWISE)
    return part  # type: ignore[return-value]
