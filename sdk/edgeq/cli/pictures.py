"""The pictures of the demo: COCO files pinned by address and SHA-256, kept in the cache as a COCO folder."""

from __future__ import annotations

import hashlib
import json
import os
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

from edgeq.errors import ZooError
from edgeq.runtime.program import write_atomic

TIMEOUT_S = 30
LISTING = Path(__file__).with_name("demo_coco.json")


def demo_pictures(*, progress: Callable[[int, int], None]) -> Path:
    """Return a folder of labelled pictures, fetched on first use (mirror first, then the address).

    Raises ZooError if a picture cannot be had or has the wrong content.
    """
    from edgeq import zoo

    listing = json.loads(LISTING.read_text(encoding="utf-8"))
    folder = zoo.cache_dir() / "demo"
    pictures = listing["pictures"]
    missing = [one for one in pictures if not _same(folder / "images" / one["file"], one)]
    mirrored = _in_mirror(missing)
    for number, one in enumerate(missing):
        source = mirrored.get(one["sha256"])
        body = source.read_bytes() if source else _download(one)
        if hashlib.sha256(body).hexdigest() != one["sha256"]:
            raise ZooError(f"{one['url']}: must have SHA-256 {one['sha256']}, has another. Use EDGEQ_ZOO_MIRROR.")
        write_atomic(folder / "images" / one["file"], body)
        progress(number + 1, len(missing))
    write_atomic(folder / "instances.json", json.dumps(_coco(listing)).encode())
    return folder


def _same(path: Path, one: dict[str, Any]) -> bool:
    try:
        if path.stat().st_size != one["bytes"]:
            return False
        return hashlib.sha256(path.read_bytes()).hexdigest() == one["sha256"]
    except OSError:
        return False


def _in_mirror(wanted: list[dict[str, Any]]) -> dict[str, Path]:
    """Walk the mirror once; sizes are compared first, most files end there."""
    mirror, found = os.environ.get("EDGEQ_ZOO_MIRROR"), dict[str, Path]()
    by_size = {one["bytes"]: one for one in wanted}
    if not mirror or not wanted:
        return found
    for root, _, names in os.walk(mirror):
        for path in (Path(root, name) for name in names if name.endswith(".jpg")):
            try:
                one = by_size.get(path.stat().st_size)
            except OSError:
                continue
            if one and one["sha256"] not in found and _same(path, one):
                found[one["sha256"]] = path
    return found


def _download(one: dict[str, Any]) -> bytes:
    try:
        with urllib.request.urlopen(one["url"], timeout=TIMEOUT_S) as answer:
            body: bytes = answer.read(one["bytes"] + 1)
            return body
    except (OSError, HTTPException) as broken:
        raise ZooError(
            f"demo picture {one['file']}: cannot be fetched from {one['url']} ({broken}). Go online, pass"
            " --data FOLDER with your own pictures, or point EDGEQ_ZOO_MIRROR at a folder that holds it."
        ) from None


def _coco(listing: dict[str, Any]) -> dict[str, Any]:
    """Write the listing as COCO's instances.json."""
    images, marks = [], list[dict[str, Any]]()
    for number, one in enumerate(listing["pictures"]):
        images.append(
            {"id": number, "file_name": one["file"], "width": one["width"], "height": one["height"],
             "license": 4, "flickr_url": one["flickr"]}
        )  # fmt: skip
        for category, x, y, w, h, crowd in one["boxes"]:
            marks.append(
                {"id": len(marks), "image_id": number, "category_id": category, "bbox": [x, y, w, h],
                 "area": w * h, "iscrowd": crowd}
            )  # fmt: skip
    categories = [{"id": int(key), "name": name} for key, name in listing["categories"].items()]
    return {"info": {"description": listing["about"]}, "images": images, "annotations": marks, "categories": categories}
