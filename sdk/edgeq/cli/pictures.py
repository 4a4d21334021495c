"""The pictures of the demo: the zoo's photographs with their true boxes, as a COCO folder in the cache."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgeq.runtime.program import write_atomic

BOXES = Path(__file__).with_name("demo_boxes.json")


def demo_pictures(*, progress: Callable[[int, int], None]) -> Path:
    """Return a folder of labelled pictures; they are fetched on first use.

    Raises ZooError if a picture cannot be had.
    """
    from edgeq import zoo

    pictures = zoo.pull_pictures(progress=progress)
    folder = zoo.cache_dir() / "demo"
    write_atomic(
        folder / "instances.json", json.dumps(_coco(json.loads(BOXES.read_text("utf-8")))).encode()
    )
    link = folder / "images"
    if not link.exists():
        link.unlink(missing_ok=True)  # it may point to a cache that has moved
        link.symlink_to(pictures.absolute(), target_is_directory=True)
    return folder


def _coco(listing: dict[str, Any]) -> dict[str, Any]:
    """Write the listing as COCO's instances.json."""
    images, marks = [], list[dict[str, Any]]()
    for number, one in enumerate(listing["pictures"]):
        width, height = one["size"]
        images.append({"id": number, "file_name": one["file"], "width": width, "height": height})
        for category, x, y, w, h, crowd in one["boxes"]:
            mark = {
                "image_id": number,
                "category_id": category,
                "bbox": [x, y, w, h],
                "iscrowd": crowd,
            }
            marks.append({"id": len(marks), "area": w * h, **mark})
    categories = [{"id": int(key), "name": name} for key, name in listing["categories"].items()]
    return {
        "info": {"description": listing["about"]},
        "images": images,
        "annotations": marks,
        "categories": categories,
    }
