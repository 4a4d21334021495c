"""Paint results onto a picture."""

from __future__ import annotations

import colorsys
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from edgeq.vision.decode import Box, Item, Line

Color = tuple[int, int, int]


def draw(image: NDArray[np.uint8], items: Iterable[Item]) -> NDArray[np.uint8]:
    """Return a copy of an (h, w, 3) BGR picture with boxes, text lines and classes painted in.

    Sizes follow the picture. Text of any script is shown with OpenCV 5; OpenCV 4 has letters for
    ASCII only and shows ? instead of the others.
    """
    import cv2

    out = image.copy()
    size = max(10, round(min(out.shape[:2]) / 32))  # letter height in pixels
    thick = max(1, size // 8)
    top = size // 2
    labels: list[tuple[str, int, int, int, Color]] = []
    for item in items:
        if isinstance(item, Box):
            color = _color(item.index)
            x0, y0, x1, y1 = (round(v) for v in (item.x0, item.y0, item.x1, item.y1))
            cv2.rectangle(out, (x0, y0), (x1, y1), color, thick, cv2.LINE_AA)
            labels.append((f"{item.label} {item.score:.0%}", x0, y0, size, color))
        elif isinstance(item, Line):
            color = _color(0)
            corners = np.round(np.array(item.polygon)).astype(np.int32)
            cv2.polylines(out, [corners], True, color, thick, cv2.LINE_AA)
            if item.text:  # dense pages: letters no taller than half the line
                (x, y), (right, bottom) = corners.min(0).tolist(), corners.max(0).tolist()
                letter = max(8, min(size, (bottom - y) // 2, (right - x) // 2))
                labels.append((item.text, x, y, letter, color))
        else:
            top += round(1.7 * size)
            text = f"{item.label} {item.score:.0%}"
            labels.append((text, size // 2, top, size, _color(item.index)))
    for text, x, y, letter, color in labels:  # last, so that no box crosses a label
        _label(out, text, x, y, letter, color)
    return out


def _color(index: int) -> Color:
    """Return a clear colour (BGR) per class; the golden angle keeps neighbours apart."""
    red, green, blue = colorsys.hls_to_rgb((0.58 + index * 0.618034) % 1.0, 0.55, 0.85)
    return round(255 * blue), round(255 * green), round(255 * red)


def _label(out: NDArray[np.uint8], text: str, x: int, y: int, size: int, color: Color) -> None:
    """Put text on a filled plate whose lower left corner is (x, y), kept inside the picture."""
    import cv2

    text = text if len(text) <= 80 else text[:79] + "…"
    pad = max(2, size // 4)
    modern = hasattr(cv2, "FontFace")
    if modern:
        font = cv2.FontFace("sans")
        wide = cv2.getTextSize((0, 0), text, (0, 0), font, size, 500)[2]
    else:
        text = text.encode("ascii", "replace").decode()
        (wide, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size / 26, 1)
    x = max(0, min(x, out.shape[1] - wide - 2 * pad))
    high = size + 2 * pad
    y = max(high, min(y, out.shape[0]))
    cv2.rectangle(out, (x, y - high), (x + wide + 2 * pad, y), color, cv2.FILLED)
    light = 0.114 * color[0] + 0.587 * color[1] + 0.299 * color[2]
    ink = (20, 20, 20) if light > 140 else (255, 255, 255)
    at = (x + pad, y - pad - size // 8)
    if modern:
        cv2.putText(out, text, at, ink, font, size, 500)
    else:
        cv2.putText(out, text, at, cv2.FONT_HERSHEY_SIMPLEX, size / 26, ink, 1, cv2.LINE_AA)
