"""How much two models agree on the same picture, and how far apart their outputs are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from edgeq.vision import Item

Array = NDArray[Any]

OVERLAP = 0.5


@dataclass(slots=True)
class Noise:
    """Energy of a signal and of its error, summed over many arrays."""

    signal: float = 0.0
    error: float = 0.0

    def add(self, truth: Array, found: Array) -> None:
        """Add one pair of arrays."""
        wide = truth.astype(np.float64)
        self.signal += float(np.sum(wide**2))
        self.error += float(np.sum((wide - found.astype(np.float64)) ** 2))

    @property
    def db(self) -> float:
        """Signal to quantization noise ratio in decibel; 200 stands for equal."""
        if self.error == 0:
            return 200.0
        return min(200.0, 10 * math.log10(max(self.signal, 1e-300) / self.error))


@dataclass(slots=True)
class Agreement:
    """Counts over pictures: what both found, what only one found, and how well boxes overlap."""

    both: int = 0
    single: int = 0
    overlap: float = 0.0

    def add(self, a: Sequence[Item], b: Sequence[Item]) -> None:
        """Compare the results of two models on one picture."""
        kind = type(next(iter([*a, *b]), None)).__name__
        if kind == "Class":
            self._count(int(a[0].index == b[0].index), 1, 1)  # type: ignore[union-attr]
        elif kind == "Box" or (kind == "Line" and not any(item.text for item in [*a, *b])):  # type: ignore[union-attr]
            pairs = matched(a, b)
            self._count(len(pairs), len(a), len(b))
            self.overlap += sum(pairs)
        elif kind == "Line":
            self._count(int([x.text for x in a] == [x.text for x in b]), 1, 1)  # type: ignore[union-attr]

    def add_arrays(self, a: Mapping[str, Array], b: Mapping[str, Array]) -> None:
        """Compare without a card: the place of the largest value along the last axis."""
        for name, x in a.items():
            same = x.argmax(-1) == b[name].argmax(-1)
            self._count(int(same.sum()), same.size, same.size)

    def _count(self, pairs: int, a: int, b: int) -> None:
        self.both += 2 * pairs
        self.single += a + b - 2 * pairs

    @property
    def share(self) -> float:
        """The share of results that both found (F1 for boxes); 1 when there was nothing to find."""
        total = self.both + self.single
        return self.both / total if total else 1.0

    @property
    def mean_iou(self) -> float | None:
        """The mean overlap of the matched boxes."""
        return 2 * self.overlap / self.both if self.both and self.overlap else None


def matched(a: Sequence[Item], b: Sequence[Item]) -> list[float]:
    """Pair results of the same class, best overlap first; returns the IoU of each pair of at least .5."""
    from edgeq.vision.boxes import iou

    if not a or not b:
        return []
    over = iou(_corners(a), _corners(b))  # (len(a), len(b))
    over *= _classes(a)[:, None] == _classes(b)[None]
    pairs = []
    while over.size and over.max() >= OVERLAP:
        i, j = np.unravel_index(over.argmax(), over.shape)
        pairs.append(float(over[i, j]))
        over[i, :] = over[:, j] = 0
    return pairs


def _corners(items: Sequence[Any]) -> NDArray[np.float64]:
    def box(item: Any) -> list[float]:
        if hasattr(item, "x0"):
            return [item.x0, item.y0, item.x1, item.y1]
        x, y = zip(*item.polygon, strict=True)
        return [min(x), min(y), max(x), max(y)]

    return np.array([box(item) for item in items], np.float64)


def _classes(items: Sequence[Any]) -> NDArray[np.intp]:
    return np.array([getattr(item, "index", 0) for item in items], np.intp)
