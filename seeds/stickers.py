"""What is glued or screwed onto a panel: label plates, QR codes and barcodes."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeq.seeds import words
from edgeq.seeds.lettering import code_128, ink, qr
from edgeq.seeds.objects import Part, Points, Style, Text, letter, pick_color, put, rectangle, screw
from edgeq.seeds.surface import Color, Rng, Surface, block

# plate colour, letter colour, gloss, letters stand out (+) or are engraved (-)
_PLATES: tuple[tuple[Color, Color, float, float], ...] = (
    ((34, 32, 32), (232, 234, 234), 0.35, -0.7),
    ((232, 234, 236), (30, 28, 28), 0.3, -0.7),
    ((186, 186, 184), (30, 30, 32), 0.75, -0.6),
    ((40, 190, 235), (25, 25, 25), 0.3, 0.0),
    ((140, 70, 30), (240, 240, 240), 0.3, -0.6),
    ((40, 36, 180), (240, 240, 240), 0.3, -0.6),
)
_TAPES: tuple[Color, ...] = ((30, 30, 32), (150, 60, 25), (35, 30, 170), (60, 110, 35))


def plate_size(rng: Rng, style: Style, text: str, cap: float) -> tuple[float, float]:
    """Return width and height of a plate that holds `text`."""
    w = ink(text, cap, style.face_two).shape[1]
    return w + cap * rng.uniform(1.6, 3.4), cap * rng.uniform(1.7, 2.3)


def draw_plate(
    surface: Surface, rng: Rng, style: Style, x: float, y: float, text: str, cap: float,
    size: tuple[float, float], look: int,
) -> Part:  # fmt: skip
    """Draw an engraved, printed or embossed plate with one line of text."""
    w, h = size
    if look >= len(_PLATES):  # embossed tape: white, raised letters on glossy vinyl
        put(surface, block(w, h, 1), x, y, color=_TAPES[look - len(_PLATES)], height=1.2,
            gloss=0.8, bevel=0.7)  # fmt: skip
        text_color: Color = (225, 225, 225)
        relief = 1.5
    else:
        color, text_color, gloss, relief = _PLATES[look]
        put(surface, block(w, h, h * 0.08 if rng.random() < 0.6 else 0), x, y, color=color,
            height=2.5, gloss=gloss, bevel=0.8)  # fmt: skip
        if rng.random() < 0.3 and h > 26:
            _frame(surface, x, y, w - 6, h - 6, text_color)
        elif w > cap * (0.5 + 2.2) + ink(text, cap, style.face_two).shape[1] and rng.random() < 0.8:
            for side in (-1, 1):
                screw(
                    surface,
                    rng,
                    x + side * (w / 2 - cap * 0.55),
                    y,
                    max(3.0, cap * 0.25),
                    style.metal,
                )
    line = letter(surface, text, x, y, cap=cap, face=style.face_two, color=text_color,
                  place="label_plate", raised=relief)  # fmt: skip
    return Part("label_plate", rectangle(x, y, w, h), [line])


def _frame(surface: Surface, x: float, y: float, w: float, h: float, color: Color) -> None:
    corner, end = (round(x - w / 2), round(y - h / 2)), (round(x + w / 2), round(y + h / 2))
    cv2.rectangle(surface.color, corner, end, color, 1, cv2.LINE_AA)


def _glue(
    surface: Surface, x: float, y: float, angle: float, sprite: NDArray[np.uint8], gloss: float
) -> Callable[[Points], Points]:
    """Stick a picture (h, w, 3) on; returns the map from its pixels to the canvas."""
    h, w = sprite.shape[:2]
    turn = cv2.getRotationMatrix2D((w / 2 - 0.5, h / 2 - 0.5), angle, 1.0)
    c, s = abs(turn[0, 0]), abs(turn[0, 1])
    wide, high = int(h * s + w * c) + 4, int(h * c + w * s) + 4
    left, top = round(x - wide / 2), round(y - high / 2)
    turn[:, 2] += (wide / 2 - w / 2, high / 2 - h / 2)
    mask = cv2.warpAffine(
        np.full((h, w), 255, np.uint8), turn, (wide, high), flags=cv2.INTER_LINEAR
    )
    color = cv2.warpAffine(
        sprite, turn, (wide, high), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    surface.stamp(mask, left, top, color=color, raised=0.9, gloss=gloss, bevel=0.5)  # type: ignore[arg-type]
    return lambda points: points @ turn[:, :2].T + turn[:, 2] + (left, top)


def _paper(rng: Rng) -> Color:
    return pick_color(rng, ((238, 240, 240), (226, 232, 234), (204, 206, 206), (60, 200, 236)))


def _corners(x0: float, y0: float, x1: float, y1: float) -> Points:
    """Return corners in pixel centres of the pixels x0..x1-1, y0..y1-1: (4, 2)."""
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float64) - 0.5


def draw_qr(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Part:
    """Draw a QR code on a sticker `size` wide; the outline is that of the black modules."""
    payload = "HTTPS://EXAMPLE.ORG/" if rng.random() < 0.4 else ""
    payload += words.code(rng) + str(rng.integers(10 ** int(rng.integers(3, 12))))
    code = qr(payload)
    quiet = size * rng.uniform(0.06, 0.12)
    side = round(size - 2 * quiet)
    with_text = rng.random() < 0.4
    cap = max(11.0, size * 0.1)
    high = round(size + (cap * 1.5 if with_text else 0))
    paper, pen = _paper(rng), (28, 26, 26)
    sprite = np.empty((high, round(size), 3), np.uint8)
    sprite[:] = paper
    left = (sprite.shape[1] - side) // 2
    big = cv2.resize(
        code,
        (side, side),
        interpolation=cv2.INTER_AREA if side < 3 * len(code) else cv2.INTER_NEAREST,
    )
    sprite[left : left + side, left : left + side][big < 128] = pen
    texts = []
    if with_text:
        texts.append(
            _line(
                sprite,
                words.code(rng),
                sprite.shape[1] / 2,
                size - quiet + cap * 0.9,
                cap,
                style,
                "panel",
            )
        )
    angle = rng.normal(0, 1.5) if rng.random() < 0.7 else rng.uniform(-12, 12)
    place = _glue(surface, x, y, angle, sprite, 0.35)
    outline = place(_corners(left, left, left + side, left + side))
    return Part("qr_code", outline, [_moved(text, place) for text in texts])


def draw_barcode(
    surface: Surface, rng: Rng, style: Style, x: float, y: float, width: float, height: float
) -> Part:
    """Draw a Code 128 on a sticker; the outline is that of the bars."""
    text = (
        words.code(rng).upper() if rng.random() < 0.6 else "".join(map(str, rng.integers(0, 10, 6)))
    )
    bars = np.array([int(bit) for bit in code_128(text)], np.uint8)
    module = max(1, int((width * 0.94) / (len(bars) + 10)))
    wide = len(bars) * module
    w, h = round(max(width, wide + 10 * module)), round(height)
    cap = max(10.5, h * 0.17)
    with_text = rng.random() < 0.75
    sprite = np.empty((h, w, 3), np.uint8)
    sprite[:] = _paper(rng)
    left, top = (w - wide) // 2, round(h * 0.1)
    low = round(h - cap * 1.7) if with_text else h - top
    sprite[top:low, left : left + wide][:, np.repeat(bars, module) > 0] = (28, 26, 26)
    texts = [_line(sprite, text, w / 2, h - cap * 0.85, cap, style, "barcode")] if with_text else []
    angle = rng.normal(0, 1.2) if rng.random() < 0.7 else rng.uniform(-10, 10)
    place = _glue(surface, x, y, angle, sprite, 0.35)
    outline = place(_corners(left, top, left + wide, low))
    return Part("barcode", outline, [_moved(item, place) for item in texts])


def _line(
    sprite: NDArray[np.uint8], text: str, x: float, y: float, cap: float, style: Style, place: str
) -> Text:
    """Print a line on a sprite around (x, y)."""
    mask = ink(text, cap, style.face_two)
    if mask.shape[1] > sprite.shape[1] * 0.92:
        cap *= sprite.shape[1] * 0.92 / mask.shape[1]
        mask = ink(text, cap, style.face_two)
    h, w = mask.shape
    left, top = max(0, round(x - w / 2)), max(0, round(y - h / 2))
    top = min(top, sprite.shape[0] - h)
    spot = sprite[top : top + h, left : left + w]
    share = mask[: spot.shape[0], : spot.shape[1], None] / 255
    spot[:] = (spot * (1 - share) + 28 * share).astype(np.uint8)
    return Text(text, _corners(left, top, left + w, top + h), place, cap)


def _moved(item: Text, place: Callable[[Points], Points]) -> Text:
    return Text(item.text, place(item.quad), item.place, item.cap)
