"""Overlap and suppression of axis-aligned boxes (x0, y0, x1, y1)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]


def area(boxes: Floats) -> Floats:
    """Return the area of each box: (n, 4) -> (n,)."""
    sides: Floats = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return sides[:, 0] * sides[:, 1]


def intersection(a: Floats, b: Floats) -> Floats:
    """Return the pairwise common area: (n, 4), (m, 4) -> (n, m)."""
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    sides: Floats = np.maximum(np.minimum(a[:, None, 2:], b[None, :, 2:]) - low, 0)
    return sides[..., 0] * sides[..., 1]


def iou(a: Floats, b: Floats) -> Floats:
    """Return the pairwise intersection over union: (n, 4), (m, 4) -> (n, m), empty boxes give 0."""
    common = intersection(a, b)
    return common / np.maximum(area(a)[:, None] + area(b)[None] - common, 1e-9)


def nms(
    boxes: Floats, scores: Floats, classes: NDArray[np.integer], *, overlap: float, keep: int
) -> NDArray[np.intp]:
    """Suppress, class by class, every box that overlaps a better one by more than `overlap` (IoU).

    boxes (n, 4), scores (n,), classes (n,) -> at most `keep` indices, best first; equal scores stay
    in the given order.
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[int] = []
    while order.size and len(kept) < keep:
        best, order = order[0], order[1:]
        kept.append(int(best))
        rival = iou(boxes[best : best + 1], boxes[order])[0] > overlap
        order = order[~(rival & (classes[order] == classes[best]))]
    return np.array(kept, np.intp)
