"""How a cheap camera sees a panel: view, lens, light, sensor, file."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeq.seeds.surface import Floats, Light, Rng, grain, noise

_GAMMA = np.clip(np.linspace(0, 1, 4096) ** (1 / 2.2) * 255, 0, 255).astype(np.float32)


@dataclass(frozen=True, slots=True)
class View:
    """The map (3, 3) from canvas pixels to picture pixels, and the picture's size."""

    matrix: NDArray[np.float64]
    width: int
    height: int

    def see(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (n, 2) canvas points into the picture."""
        seen = np.concatenate([points, np.ones((len(points), 1))], 1) @ self.matrix.T
        return np.asarray(seen[:, :2] / seen[:, 2:])


def choose_view(rng: Rng, canvas: tuple[int, int], picture: tuple[int, int], level: float) -> View:
    """Choose a camera position: the picture's corners lie somewhere inside the canvas.

    canvas, picture: width and height. level: difficulty 0..1.
    """
    w, h = canvas
    turn = np.deg2rad(rng.normal(0, 0.8 + 2.2 * level))
    inset = rng.uniform(0.02, 0.05 + 0.03 * level)
    box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (0.5 - inset) * (w, h)
    box = box @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    # a camera from one side sees the far edge smaller: that edge's corners move apart
    lean = rng.normal(0, 0.015 + 0.045 * level, 2)
    box[:, 0] *= 1 + lean[0] * np.array([1, 1, -1, -1])
    box[:, 1] *= 1 + lean[1] * np.array([1, -1, -1, 1])
    box += rng.normal(0, 0.004 + 0.006 * level, (4, 2)) * (w, h)
    box += (w / 2, h / 2)
    box = np.clip(box, (1, 1), (w - 2, h - 2)).astype(np.float32)
    pw, ph = picture
    to = np.array([[0, 0], [pw, 0], [pw, ph], [0, ph]], np.float32) - 0.5
    return View(np.asarray(cv2.getPerspectiveTransform(box, to), np.float64), pw, ph)


def choose_light(rng: Rng, canvas: tuple[int, int], level: float) -> Light:
    """Choose a lamp and a room around it."""
    w, h = canvas
    angle, away = rng.uniform(0, 2 * np.pi), rng.uniform(0.35, 0.6 + 0.3 * level) * w
    if rng.random() < 0.7:  # most lamps hang above
        angle = rng.uniform(-2.7, -0.4)
    warm = rng.normal(0, 0.05 + 0.08 * level)
    return Light(
        x=w / 2 + away * np.cos(angle),
        y=h / 2 + away * np.sin(angle),
        z=w * rng.uniform(0.45, 0.9),
        color=(1 - warm, 1 + rng.normal(0, 0.015), 1 + warm),
        ambient=rng.uniform(0.25, 0.55),
        shadow=rng.uniform(0.5, 0.95),
        softness=rng.uniform(0.7, 3.0),
        room=_room(rng, w, h, level),
    )


def _room(rng: Rng, w: int, h: int, level: float) -> Floats:
    """Draw what glass reflects: windows and lamps, out of focus."""
    small = np.full((h // 8, w // 8), 0.01, np.float32)
    for _ in range(int(rng.integers(0, 4))):
        x, y = rng.uniform(0, w / 8), rng.uniform(0, h / 8)
        a, b = rng.uniform(3, 16), rng.uniform(3, 14)
        lean = rng.uniform(-5, 5)
        pane = np.array(
            [
                [x - a + lean, y - b],
                [x + a + lean, y - b],
                [x + a - lean, y + b],
                [x - a - lean, y + b],
            ]
        )
        cv2.fillPoly(
            small, [pane.round().astype(np.int32)], float(rng.uniform(0.04, 0.1 + 0.25 * level))
        )
    blurred = cv2.GaussianBlur(small, (0, 0), rng.uniform(0.6, 2.5))
    return np.asarray(cv2.resize(blurred, (w, h), interpolation=cv2.INTER_LINEAR), np.float32)


def cast(rng: Rng, width: int, height: int, level: float) -> Floats:
    """Draw uneven light over the whole picture: (h, w), about 1; half shadows of things nearby."""
    field = 1 + noise(rng, width // 8, height // 8, 45) * np.float32(0.06 + 0.1 * level)
    if rng.random() < 0.25 + 0.45 * level:
        w, h = width // 8, height // 8
        a = rng.uniform(0, 2 * np.pi)
        x = np.arange(w)[None] - w * rng.uniform(0.1, 0.9)
        y = np.arange(h)[:, None] - h * rng.uniform(0.1, 0.9)
        edge = (x * np.cos(a) + y * np.sin(a)) / rng.uniform(0.6, 9)
        deep = rng.uniform(0.15, 0.35 + 0.4 * level)
        field *= 1 - deep / (1 + np.exp(-np.clip(edge, -30, 30)))
    return np.asarray(
        cv2.resize(field.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    )


def shoot(rng: Rng, light: Floats, view: View, level: float) -> NDArray[np.uint8]:
    """Photograph linear light (h, w, 3) on the canvas; returns the picture, uint8 BGR."""
    size = (view.width, view.height)
    seen = cv2.warpPerspective(
        light, view.matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    image = _lens(rng, np.asarray(seen, np.float32), level)
    image *= cast(rng, *size, level)[..., None]
    image = _vignette(rng, image, level)
    image = _exposed(rng, image, level)
    raw = _sensor(rng, image, level)
    quality = int(rng.uniform(95 - 55 * level, 96))
    done, data = cv2.imencode(".jpg", raw, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def _lens(rng: Rng, image: Floats, level: float) -> Floats:
    """Defocus evenly or towards one side, shake a little, and veil with stray light."""
    sigma = rng.uniform(0.35, 0.6 + 0.75 * level)
    soft: Floats = np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)
    h, w = image.shape[:2]
    if rng.random() < 0.3 + 0.3 * level:  # the panel leaves the depth of field
        a = rng.uniform(0, 2 * np.pi)
        x, y = _middle(w, h)
        far = np.clip((x * np.float32(np.cos(a)) + y * np.float32(np.sin(a))) * 1.6, 0, 1)
        softer = cv2.GaussianBlur(soft, (0, 0), rng.uniform(0.6, 0.8 + 1.0 * level))
        soft += (softer - soft) * far[..., None]
    if rng.random() < 0.1 + 0.25 * level:
        length = rng.uniform(1.5, 2 + 2.5 * level)
        kernel = _shake(rng.uniform(0, np.pi), length)
        soft = np.asarray(cv2.filter2D(soft, -1, kernel), np.float32)
    small = cv2.resize(soft, (w // 8, h // 8), interpolation=cv2.INTER_AREA)
    veil = cv2.resize(cv2.GaussianBlur(np.minimum(small, 2.0), (0, 0), 8), (w, h))
    share = np.float32(rng.uniform(0.01, 0.03 + 0.05 * level))
    return np.asarray(soft + veil * share, np.float32)


def _middle(w: int, h: int) -> tuple[Floats, Floats]:
    """Return the distance from the picture's middle: x (1, w) and y (h, 1), -0.5..0.5."""
    x = np.arange(w, dtype=np.float32)[None] / np.float32(w) - np.float32(0.5)
    y = np.arange(h, dtype=np.float32)[:, None] / np.float32(h) - np.float32(0.5)
    return x, y


def _shake(angle: float, length: float) -> Floats:
    kernel = np.zeros((9, 9), np.float32)
    for share in np.linspace(-0.5, 0.5, 24):
        x, y = 4 + share * length * np.cos(angle), 4 + share * length * np.sin(angle)
        kernel[round(y), round(x)] += 1
    kernel /= kernel.sum()
    return kernel


def _vignette(rng: Rng, image: Floats, level: float) -> Floats:
    h, w = image.shape[:2]
    x, y = _middle(w, h)
    dim = 1 - (x * x + y * y) * np.float32(rng.uniform(0.2, 0.5 + 0.5 * level))
    if rng.random() < 0.15 + 0.4 * level:  # a lamp's glare on the panel
        gx, gy = rng.uniform(-0.5, 0.5), rng.uniform(-0.5, 0.5)
        spread = rng.uniform(0.008, 0.05)
        spot = np.exp(-((x - np.float32(gx)) ** 2 + (y - np.float32(gy)) ** 2) / np.float32(spread))
        image = image + (spot * np.float32(rng.uniform(0.05, 0.15 + 0.35 * level)))[..., None]
    return np.asarray(image * dim[..., None], np.float32)


def _exposed(rng: Rng, image: Floats, level: float) -> Floats:
    """Meter the light, roll the highlights off, and miss the white balance a little."""
    middle = float(cv2.mean(cv2.resize(image, (32, 24), interpolation=cv2.INTER_AREA))[1]) + 0.02
    gain = (0.24 / middle) ** 0.6 * 2 ** rng.normal(0.1, 0.15 + 0.25 * level)
    balance = np.exp(rng.normal(0, 0.02 + 0.03 * level, 3)).astype(np.float32)
    image = image * (balance * np.float32(gain))
    over = image > 0.8
    return np.asarray(
        np.where(over, 0.8 + 0.2 * (1 - np.exp((0.8 - image) * 3)), image), np.float32
    )


def _sensor(rng: Rng, image: Floats, level: float) -> NDArray[np.uint8]:
    """Add shot and read noise, partly per colour, and store gamma-coded bytes."""
    h, w = image.shape[:2]
    power = rng.uniform(0.002, 0.007 + 0.017 * level)
    deviation = np.sqrt(np.maximum(image, 0) + 0.02) * np.float32(power)
    luma = grain(rng, w, h)
    for channel in range(3):
        own = cv2.GaussianBlur(grain(rng, w, h), (3, 3), 0)
        image[..., channel] += deviation[..., channel] * (luma + own)
    index = np.clip(image * 4095, 0, 4095).astype(np.uint16)
    coded = _GAMMA[index]
    if rng.random() < 0.5:  # cheap cameras sharpen
        soft = cv2.GaussianBlur(coded, (0, 0), 1.2)
        coded += (coded - soft) * np.float32(rng.uniform(0.2, 0.8))
    return np.asarray(np.clip(coded + 0.5, 0, 255), np.uint8)
