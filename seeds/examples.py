"""Training examples: scenes drawn once into a cache of shards, and changed a little at each use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeq.seeds.objects import KINDS
from edgeq.seeds.scenes import HEIGHT, WIDTH, Line, Scene, cut, draw
from edgeq.seeds.surface import Rng

SHARD = 200  # scenes
FIRST = 1_000_000  # training scenes start here, those for measuring at 10_000
MARGIN = 8  # rows around a stored line of 32
WIDE = 480  # columns of a stored line at most
LINE_HEIGHT, LINE_WIDTH = 32, 192


Pictures = list[tuple[NDArray[np.uint8], NDArray[np.float32]]]
Lines = list[tuple[NDArray[np.uint8], str]]


def shard_file(cache: Path, number: int) -> Path:
    """Name the file of a shard."""
    return cache / f"shard_{number:04d}.npz"


def draw_shard(cache: Path, number: int) -> Path:
    """Draw SHARD scenes if they are not there yet.

    pictures: (SHARD, 240, 320, 3) uint8. boxes: (n, 6) float32 scene, kind, x0, y0, x1, y1 in
    their pixels. lines: (48, sum of widths, 3) uint8 side by side, starts (m + 1,), texts (m,).
    """
    file = shard_file(cache, number)
    if file.is_file():
        return file
    cv2.setNumThreads(1)
    pictures, boxes, lines, texts = [], [], [], []
    for i in range(SHARD):
        seed = FIRST + number * SHARD + i
        rng = np.random.default_rng([seed, 11])
        level = float(rng.uniform(0.05, 0.85))
        scene = draw(seed, difficulty=level, fonts=bool(rng.random() < 0.85))
        half = cv2.resize(scene.image, (WIDTH // 2, HEIGHT // 2), interpolation=cv2.INTER_AREA)
        pictures.append(half)
        boxes += [
            (i, KINDS.index(b.kind), b.x0 / 2, b.y0 / 2, b.x1 / 2, b.y1 / 2) for b in scene.boxes
        ]
        for line in scene.lines:
            lines.append(_with_margin(scene, line.quad))
            texts.append(line.text)
        for line, corners in on_objects(scene):
            lines.append(_with_margin(scene, corners))
            texts.append(line.text)
    starts = np.cumsum([0, *(line.shape[1] for line in lines)])
    part = file.with_name(f".{file.name}.{os.getpid()}.npz")
    np.savez(part, pictures=np.stack(pictures), boxes=np.array(boxes, np.float32),
             lines=np.concatenate(lines, 1), starts=starts, texts=np.array(texts))  # fmt: skip
    part.replace(file)
    return file


def load_pictures(file: Path) -> Pictures:
    """Read what panel_detect learns from."""
    with np.load(file, allow_pickle=False) as data:
        pictures, rows = data["pictures"], data["boxes"]
    return [(pictures[i], rows[rows[:, 0] == i, 1:]) for i in range(len(pictures))]


def load_lines(file: Path) -> Lines:
    """Read what panel_read learns from."""
    with np.load(file, allow_pickle=False) as data:
        lines, starts, texts = data["lines"], data["starts"], data["texts"].tolist()
    return [
        (lines[:, a:b], text) for a, b, text in zip(starts[:-1], starts[1:], texts, strict=True)
    ]


def on_objects(scene: Scene) -> Iterator[tuple[Line, NDArray[np.float64]]]:
    """Give the lines of displays and label plates with the upright box of their object: (4, 2)."""
    for box in scene.boxes:
        if box.kind not in ("display", "label_plate"):
            continue
        for line in scene.lines:
            x, y = line.quad.mean(0)
            if line.place == box.kind and box.x0 < x < box.x1 and box.y0 < y < box.y1:
                yield (
                    line,
                    np.array(
                        [[box.x0, box.y0], [box.x1, box.y0], [box.x1, box.y1], [box.x0, box.y1]]
                    ),
                )


def _with_margin(scene: Scene, quad: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Cut a line 48 pixels high; its box fills the middle 32 rows and all but MARGIN columns."""
    h = (np.hypot(*(quad[3] - quad[0])) + np.hypot(*(quad[2] - quad[1]))) / 2
    share = MARGIN / LINE_HEIGHT * h
    along = (quad[1] - quad[0]) / (np.hypot(*(quad[1] - quad[0])) + 1e-9) * share
    down = (quad[3] - quad[0]) / (np.hypot(*(quad[3] - quad[0])) + 1e-9) * share
    grown = quad + np.stack([-along - down, along - down, along + down, -along + down])
    line = cut(scene.image, grown, LINE_HEIGHT + 2 * MARGIN)
    if line.shape[1] > WIDE:
        size = (WIDE, line.shape[0])
        return np.asarray(cv2.resize(line, size, interpolation=cv2.INTER_AREA), np.uint8)
    return line


def vary_line(rng: Rng, line: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Crop a stored line as a detector would and bring it to the reader's input, (32, 192, 3)."""
    h, w = line.shape[:2]
    inner = h - 2 * MARGIN
    left, right = MARGIN - rng.uniform(0.0, 0.24, 2) * inner
    top, bottom = MARGIN - rng.uniform(-0.01, 0.17, 2) * inner
    x0, x1, y0, y1 = left, w - right, top, h - bottom
    wide = min(LINE_WIDTH, max(8.0, (x1 - x0) / (y1 - y0) * LINE_HEIGHT))
    wide = min(LINE_WIDTH, wide * float(np.exp(rng.normal(0, 0.08))))
    lean, turn = rng.normal(0, 0.04), rng.normal(0, 0.006)
    # from the input's pixels back to the stored line's
    sx, sy = (x1 - x0) / wide, (y1 - y0) / LINE_HEIGHT
    cx, cy = (x0 + x1) / 2, (y0 + y1) / 2
    back = np.array([[sx, lean * sy, 0.0], [turn * sx, sy, 0.0]])
    back[:, 2] = (cx, cy) - back[:, :2] @ (wide / 2, LINE_HEIGHT / 2)
    out = cv2.warpAffine(line, back, (round(wide), LINE_HEIGHT),
                         flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)  # fmt: skip
    full = np.full((LINE_HEIGHT, LINE_WIDTH, 3), 127.5, np.float32)  # becomes 0
    part = out.astype(np.float32)
    part = (part - 127.5) * np.float32(np.exp(rng.normal(0, 0.15))) + np.float32(
        127.5 + rng.normal(0, 12)
    )
    if rng.random() < 0.1:
        part = 255 - part
    if rng.random() < 0.3:
        part = np.asarray(cv2.GaussianBlur(part, (0, 0), rng.uniform(0.4, 1.1)), np.float32)
    part += rng.standard_normal(part.shape, np.float32) * np.float32(rng.uniform(0, 5))
    full[:, : part.shape[1]] = part
    np.clip(full, 0, 255, out=full)
    return full


def vary_picture(
    rng: Rng, picture: NDArray[np.uint8], boxes: NDArray[np.float32], *, size: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Zoom, shift, mirror and tint a picture; boxes (n, 5) kind and corners follow exactly.

    size: width and height of the result, the picture lies letterboxed at the top left.
    """
    h, w = picture.shape[:2]
    width, height = size
    scale = min(width / w, height / h)
    dx = dy = 0.0
    if rng.random() < 0.6:
        zoom = float(np.exp(rng.uniform(-0.25, 0.3)))
        dx, dy = (1 - zoom) * w * scale * rng.random(), (1 - zoom) * h * scale * rng.random()
        scale *= zoom
    flip = rng.random() < 0.5
    sx, tx = (-scale, w * scale + dx) if flip else (scale, dx)
    # pixel centres lie at + 0.5
    matrix = np.array([[sx, 0, tx + sx * 0.5 - 0.5], [0, scale, dy + scale * 0.5 - 0.5]])
    pad = 114  # as the task card says
    out = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
                         borderValue=(pad, pad, pad)).astype(np.float32)  # fmt: skip
    gain = np.exp(rng.normal(0, 0.06, 3) + rng.normal(0, 0.15)).astype(np.float32)
    out = np.clip(out * gain + np.float32(rng.normal(0, 6)), 0, 255)
    moved = boxes.copy()
    xs = np.sort(boxes[:, [1, 3]] * sx + tx, 1)
    ys = boxes[:, [2, 4]] * scale + dy
    moved[:, [1, 3]], moved[:, [2, 4]] = np.clip(xs, 0, width), np.clip(ys, 0, height)
    seen = (moved[:, 3] - moved[:, 1]) * (moved[:, 4] - moved[:, 2])
    whole = (xs[:, 1] - xs[:, 0]) * (ys[:, 1] - ys[:, 0])
    return out, moved[seen > 0.3 * whole]
