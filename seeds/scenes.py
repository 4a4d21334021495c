"""Draw control-panel scenes that look like photographs, with exact boxes and texts.

`draw(seed)` gives one scene; `write_folder(path, count, seed)` a data folder that `edgeq eval`
reads. The same seed gives the same bytes for one version of OpenCV and one set of fonts;
`fonts=False` draws with OpenCV's letters only.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeq.seeds.camera import View, choose_light, choose_view, shoot
from edgeq.seeds.layout import layout
from edgeq.seeds.objects import KINDS, Part, Points, pick_color
from edgeq.seeds.panel import CANVAS, PANELS, choose_style, make_panel, wear
from edgeq.seeds.surface import Rng, light

WIDTH, HEIGHT = 640, 480
MIN_CAP = 8.5  # pixels in the picture: smaller print is drawn but not listed


@dataclass(frozen=True, slots=True)
class Box:
    """An object: its kind (one of KINDS) and corners in picture pixels."""

    kind: str
    x0: float
    y0: float
    x1: float
    y1: float


@dataclass(frozen=True, slots=True)
class Line:
    """A text line: its text, corners (4, 2) from its top left clockwise, and what it is on."""

    text: str
    quad: Points
    place: str


@dataclass(frozen=True, slots=True)
class Scene:
    """A picture (h, w, 3) uint8 BGR with its truth."""

    image: NDArray[np.uint8]
    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]


def draw(seed: int, *, difficulty: float = 0.5, fonts: bool = True) -> Scene:
    """Draw scene number `seed`; difficulty 0..1 is how badly it is lit, seen and kept."""
    rng = np.random.default_rng([seed, 20_221_116])
    level = float(np.clip(difficulty, 0, 1))
    panel = pick_color(rng, PANELS)
    style = choose_style(rng, panel, fonts)
    surface, area = make_panel(rng, style, panel)
    parts = [part for item, x, y in layout(rng, style, area) for part in item.draw(surface, x, y)]
    wear(surface, rng, level)
    lamp = choose_light(rng, CANVAS, level)
    view = choose_view(rng, CANVAS, (WIDTH, HEIGHT), level)
    image = shoot(rng, light(surface, lamp), view, level)
    return Scene(image, tuple(_boxes(parts, view)), tuple(_lines(parts, view)))


def _boxes(parts: list[Part], view: View) -> Iterator[Box]:
    """Give the boxes of all objects of which at least a quarter is in the picture."""
    for part in parts:
        if not part.kind:
            continue
        seen = view.see(part.outline) + 0.5  # from pixel centres to pixel corners
        low, high = seen.min(0), seen.max(0)
        x0, y0 = np.clip(low, 0, (view.width, view.height))
        x1, y1 = np.clip(high, 0, (view.width, view.height))
        if (x1 - x0) * (y1 - y0) >= 0.25 * np.prod(high - low):
            yield Box(part.kind, float(x0), float(y0), float(x1), float(y1))


def _lines(parts: list[Part], view: View) -> Iterator[Line]:
    """Give all lines that are big enough to be read and lie wholly in the picture."""
    for part in parts:
        for item in part.lines:
            quad = view.see(item.quad) + 0.5
            scale = np.hypot(*(quad[3] - quad[0])) / np.hypot(*(item.quad[3] - item.quad[0]))
            inside = (quad >= 0).all() and (quad <= (view.width, view.height)).all()
            if inside and item.cap * scale >= MIN_CAP:
                yield Line(item.text, quad, item.place)


def cut(image: NDArray[np.uint8], quad: Points, height: int = 32) -> NDArray[np.uint8]:
    """Cut a line out of a picture and straighten it to `height` pixels."""
    across = (np.hypot(*(quad[1] - quad[0])) + np.hypot(*(quad[2] - quad[3]))) / 2
    down = (np.hypot(*(quad[3] - quad[0])) + np.hypot(*(quad[2] - quad[1]))) / 2
    width = max(8, round(across / max(down, 1) * height))
    to = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform((quad - 0.5).astype(np.float32), to)
    return np.asarray(
        cv2.warpPerspective(
            image, matrix, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
    )


def jitter(rng: Rng, quad: Points) -> Points:
    """Move the corners of an exact line box as a text detector would miss them."""
    h = (np.hypot(*(quad[3] - quad[0])) + np.hypot(*(quad[2] - quad[1]))) / 2
    along = (quad[1] - quad[0]) / (np.hypot(*(quad[1] - quad[0])) + 1e-9)
    side = np.array([-along[1], along[0]])
    left, right = rng.uniform(0.02, 0.2, 2) * h
    top, bottom = rng.uniform(0.02, 0.14, 2) * h
    grow = np.stack([-along * left - side * top, along * right - side * top,
                     along * right + side * bottom, -along * left + side * bottom])  # fmt: skip
    return np.asarray(quad + grow + rng.normal(0, 0.015, (4, 2)) * h)


def write_folder(
    path: str | Path,
    count: int,
    seed: int,
    *,
    difficulty: float = 0.5,
    fonts: bool = True,
    progress: Callable[[int, int], None] | None = None,
) -> None:
    """Write scenes `seed` .. `seed + count - 1` as a folder that `edgeq eval` reads.

    images/ and instances.json are in the COCO format; lines/ and lines.csv hold the text lines.
    """
    path = Path(path)
    (path / "images").mkdir(parents=True, exist_ok=True)
    (path / "lines").mkdir(exist_ok=True)
    images: list[Any] = []
    marks: list[Any] = []
    rows: list[Any] = []
    for number in range(seed, seed + count):
        scene = draw(number, difficulty=difficulty, fonts=fonts)
        name = f"{number:08d}.png"
        cv2.imwrite(str(path / "images" / name), scene.image)
        images.append({"id": number, "file_name": name, "width": WIDTH, "height": HEIGHT})
        for box in scene.boxes:
            w, h = box.x1 - box.x0, box.y1 - box.y0
            marks.append({"id": len(marks) + 1, "image_id": number, "category_id": KINDS.index(box.kind) + 1,
                          "bbox": [round(v, 2) for v in (box.x0, box.y0, w, h)],
                          "area": round(w * h, 2), "iscrowd": 0})  # fmt: skip
        rng = np.random.default_rng([number, 5])
        for i, line in enumerate(scene.lines):
            file = f"{number:08d}_{i:02d}.png"
            cv2.imwrite(str(path / "lines" / file), cut(scene.image, jitter(rng, line.quad)))
            rows.append({"file": file, "text": line.text, "place": line.place})
        if progress:
            progress(number - seed + 1, count)
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(KINDS)]
    document = {"images": images, "annotations": marks, "categories": categories}
    (path / "instances.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    with (path / "lines.csv").open("w", newline="", encoding="utf-8") as file_out:
        writer = csv.DictWriter(file_out, ["file", "text", "place"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
