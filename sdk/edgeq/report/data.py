"""Data folders, recognised by their content: pictures with the truth that a task needs."""

from __future__ import annotations

import csv
import json
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.vision.card import TaskCard
from edgeq.vision.sources import Skipped, list_pictures, read_picture

Picture = NDArray[np.uint8]

PERSON_SHARE = (
    0.005  # of the picture; the visual wake words rule (Chowdhery et al. 2019, 1906.05721)
)
CROP_SIDE = 256
MAX_NPZ_BYTES = 4 << 30


@dataclass(frozen=True, slots=True)
class Boxes:
    """True objects: corners (n, 4) in pixels, class index (n,), crowd flag (n,)."""

    corners: NDArray[np.float64]
    index: NDArray[np.intp]
    crowd: NDArray[np.bool_]


# objects | accepted class indices | text | corners of text lines (n, 4) | unlabelled
Truth = Boxes | frozenset[int] | str | NDArray[np.float64] | None


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture, (h, w, 3) uint8 BGR."""

    id: str
    image: Picture
    truth: Truth


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample that is not loaded yet."""

    id: str
    load: Callable[[], Picture]
    truth: Truth = None


@dataclass(slots=True)
class Dataset:
    """Samples in a fixed order; pictures are read while iterating, damaged ones land in `skipped`.

    kind: how the folder was recognised: coco, crops, labels, lines, pages, npz or pictures.
    """

    kind: str
    entries: Sequence[Entry]
    skipped: list[Skipped] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    def __iter__(self) -> Iterator[Sample]:
        self.skipped.clear()
        for entry in self.entries:
            try:
                image = entry.load()
            except DataError as broken:
                self.skipped.append(Skipped(entry.id, str(broken)))
                continue
            yield Sample(entry.id, image, entry.truth)

    def first(self, count: int | None) -> Dataset:
        """Return the first `count` samples, all of them for None."""
        return Dataset(self.kind, self.entries[:count])

    def spread(self, count: int) -> Dataset:
        """Return `count` samples spread evenly over all: the middles of `count` equal parts."""
        total = len(self.entries)
        count = min(count, total)
        picked = [self.entries[(2 * i + 1) * total // (2 * count)] for i in range(count)]
        return Dataset(self.kind, picked)


def open_data(path: str | Path, card: TaskCard) -> Dataset:
    """Open a folder or .npz with the truth that the card's task needs.

    Raises DataError if it does not exist, is damaged, or has no such truth.
    """
    path = Path(path)
    found = _labelled(path, card)
    if found is None:
        wanted = " or ".join(name for name, _ in _READERS[_need(card)])
        raise DataError(f"{path}: must hold {wanted} for {_need(card)}, has none. Add labels.")
    return _filled(found, path)


def calibration_data(path: str | Path, card: TaskCard | None, count: int) -> Dataset:
    """Choose `count` pictures, evenly spread, that look like the model's input; truth may be None.

    The pictures are those that `open_data` would take; unlabelled folders serve too.
    Raises DataError if there is no picture.
    """
    path = Path(path)
    if count < 1:
        raise DataError(
            f"{path}: must give at least one calibration picture, {count} were asked for. Raise it."
        )
    single = path.is_file() and path.suffix != ".npz"
    found = _labelled(path, card) if card and not single else None
    if found is None and _npz_files(path):
        found = Dataset("npz", _npz(path, None))
    if found is None:
        files = (path,) if single else list_pictures(_folder(path))
        found = Dataset(
            "pictures", [Entry(str(file), partial(read_picture, file)) for file in files]
        )
    return _filled(found, path).spread(count)


def _filled(found: Dataset, path: Path) -> Dataset:
    if not found.entries:
        raise DataError(f"{path}: must hold at least one sample, its list is empty. Add some.")
    return found


def _folder(path: Path) -> Path:
    if not path.is_dir():
        raise DataError(
            f"{path}: must be a data folder or an .npz file, is neither. Check the path."
        )
    return path


def _need(card: TaskCard) -> str:
    return "coco_person" if card.truth == "coco_person" else card.task


def _labelled(path: Path, card: TaskCard) -> Dataset | None:
    """Read the first file that the task understands, None if the folder has none of them."""
    if path.suffix != ".npz" or not path.is_file():
        _folder(path)
    for name, read in _READERS[_need(card)]:
        listing = path / name
        if name == "*.npz" and _npz_files(path):
            return Dataset("npz", _npz(path, card))
        if not listing.is_file():
            continue
        try:
            entries = read(listing, card)
        except DataError:
            raise
        except (KeyError, TypeError, ValueError, IndexError, OSError, csv.Error) as broken:
            raise DataError(
                f"{listing}: is damaged ({broken!r}). Compare it with the data README."
            ) from None
        if entries is not None:
            return Dataset(name.split(".")[0].replace("instances", "coco"), entries)
    return None


def _rows(listing: Path) -> list[dict[str, str]]:
    with listing.open(newline="", encoding="utf-8-sig") as file:
        return list(csv.DictReader(file, strict=True))


def _picture(folder: Path, name: str) -> Callable[[], Picture]:
    """Return a loader for a file named by a list; the name may not leave the folder."""
    pure = PurePosixPath(name.replace("\\", "/"))
    if pure.is_absolute() or ".." in pure.parts or not pure.parts:
        raise DataError(f"{folder}: file names must lie inside the folder, got {name!r}.")
    return partial(read_picture, folder / pure)


def _class_truth(text: str, card: TaskCard) -> frozenset[int]:
    """Read accepted classes: a label name, or indices separated by spaces."""
    if text in card.labels:
        return frozenset([card.labels.index(text)])
    try:
        return frozenset(map(int, text.split()))
    except ValueError:
        raise DataError(
            f"label {text!r}: must be an index or a label of the task card. Correct it."
        ) from None


def _class_labels(listing: Path, card: TaskCard) -> list[Entry] | None:
    rows, images = _rows(listing), listing.parent / "images"
    if rows and "label" not in rows[0]:
        return None
    return [
        Entry(row["file"], _picture(images, row["file"]), _class_truth(row["label"], card))
        for row in rows
    ]


def _crops(listing: Path, card: TaskCard) -> list[Entry]:
    entries = []
    for row in _rows(listing):
        x, y, w, h = (int(row[key]) for key in "xywh")
        load = partial(_crop, _picture(listing.parent / "images", row["file"]), x, y, w, h)
        entries.append(Entry(f"{row['file']}@{x},{y}", load, _class_truth(row["labels"], card)))
    return entries


def _crop(load: Callable[[], Picture], x: int, y: int, w: int, h: int) -> Picture:
    """Cut a box out and squeeze it to a square, the shape that classifiers are fed with."""
    import cv2

    image = load()
    part = image[max(0, y) : y + h, max(0, x) : x + w]
    if not part.size:
        raise DataError(
            f"box {x},{y},{w},{h}: must overlap its {image.shape[1]}x{image.shape[0]} picture."
        )
    method = cv2.INTER_AREA if min(w, h) > CROP_SIDE else cv2.INTER_LINEAR
    return cv2.resize(part, (CROP_SIDE, CROP_SIDE), interpolation=method)  # type: ignore[return-value]


def _text_labels(listing: Path, _: TaskCard) -> list[Entry] | None:
    rows, images = _rows(listing), listing.parent / "images"
    if rows and "text" not in rows[0]:
        return None
    return [Entry(row["file"], _picture(images, row["file"]), row["text"]) for row in rows]


def _lines(listing: Path, _: TaskCard) -> list[Entry]:
    lines = listing.parent / "lines"
    return [Entry(row["file"], _picture(lines, row["file"]), row["text"]) for row in _rows(listing)]


def _directions(listing: Path, card: TaskCard) -> list[Entry]:
    """Show each line upright (class 0) and turned by 180 degrees (class 1)."""
    entries = []
    for line in _lines(listing, card):
        entries.append(Entry(line.id, line.load, frozenset([0])))
        entries.append(Entry(f"{line.id}@180", partial(_turned, line.load), frozenset([1])))
    return entries


def _turned(load: Callable[[], Picture]) -> Picture:
    return np.ascontiguousarray(load()[::-1, ::-1])


def _pages(listing: Path, _: TaskCard) -> list[Entry]:
    pages = json.loads(listing.read_text(encoding="utf-8"))
    return [
        Entry(
            page["file"],
            _picture(listing.parent, page["file"]),
            np.array([line["box"] for line in page["lines"]], np.float64).reshape(-1, 4),
        )
        for page in pages
    ]


def _coco(listing: Path, card: TaskCard) -> list[Entry]:
    document = json.loads(listing.read_text(encoding="utf-8"))
    index = _category_index(document["categories"], card, listing)
    marks = _by_image(document)
    return [
        Entry(image["file_name"], _coco_picture(listing, image), _boxes(marks[image["id"]], index))
        for image in document["images"]
    ]


def _coco_person(listing: Path, _: TaskCard) -> list[Entry]:
    """Label a picture 1 if one person's box covers enough of it, else 0."""
    document = json.loads(listing.read_text(encoding="utf-8"))
    person = {item["id"] for item in document["categories"] if item["name"] == "person"}
    marks = _by_image(document)
    entries = []
    for image in document["images"]:
        least = PERSON_SHARE * image["width"] * image["height"]
        seen = any(
            mark["category_id"] in person and mark["bbox"][2] * mark["bbox"][3] > least
            for mark in marks[image["id"]]
        )
        entries.append(
            Entry(image["file_name"], _coco_picture(listing, image), frozenset([int(seen)]))
        )
    return entries


def _by_image(document: Any) -> dict[int, list[Any]]:
    marks: dict[int, list[Any]] = {image["id"]: [] for image in document["images"]}
    for mark in document["annotations"]:
        if mark["image_id"] in marks:
            marks[mark["image_id"]].append(mark)
    return marks


def _coco_picture(listing: Path, image: Any) -> Callable[[], Picture]:
    load = _picture(listing.parent / "images", image["file_name"])
    return partial(_sized, load, image["width"], image["height"])


def _sized(load: Callable[[], Picture], width: int, height: int) -> Picture:
    image = load()
    if image.shape[:2] != (height, width):  # its boxes would be wrong
        got = f"{image.shape[1]}x{image.shape[0]}"
        raise DataError(f"picture: must be {width}x{height} as instances.json says, is {got}.")
    return image


def _category_index(categories: Any, card: TaskCard, listing: Path) -> dict[int, int]:
    """Map category ids to class indices: by name, or by id order if no name is known."""
    ordered = sorted(categories, key=lambda item: item["id"])
    names = {label: i for i, label in enumerate(card.labels)}
    known = [item for item in ordered if item["name"] in names]
    if known:
        return {item["id"]: names[item["name"]] for item in known}
    if len(ordered) == len(card.labels) or not card.labels:
        return {item["id"]: i for i, item in enumerate(ordered)}
    raise DataError(f"{listing}: its categories must be labels of the task card, none of them is.")


def _boxes(marks: list[Any], index: dict[int, int]) -> Boxes:
    marks = [mark for mark in marks if mark["category_id"] in index]
    sides = np.array([mark["bbox"] for mark in marks], np.float64).reshape(-1, 4)  # x, y, w, h
    return Boxes(
        np.concatenate([sides[:, :2], sides[:, :2] + sides[:, 2:]], 1),
        np.array([index[mark["category_id"]] for mark in marks], np.intp),
        np.array([bool(mark.get("iscrowd", 0)) for mark in marks], np.bool_),
    )


def _npz_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.npz")) if path.is_dir() else [path] * (path.suffix == ".npz")


def _npz(path: Path, card: TaskCard | None) -> list[Entry]:
    """Read x (n, h, w, 3) uint8 RGB and, for a card, y (n,) class indices."""
    entries = []
    for file in _npz_files(path):
        try:
            with zipfile.ZipFile(file) as archive:
                if sum(part.file_size for part in archive.infolist()) > MAX_NPZ_BYTES:
                    raise ValueError(f"it unpacks to more than {MAX_NPZ_BYTES >> 30} GiB")
            with np.load(file, allow_pickle=False) as arrays:
                x, y = arrays["x"], arrays["y"] if card else None
            if x.dtype != np.uint8 or x.ndim != 4 or x.shape[3] != 3:
                raise ValueError(f"x is {x.dtype} {x.shape}, not uint8 (n, h, w, 3)")
            if y is not None and (y.shape != x.shape[:1] or not np.issubdtype(y.dtype, np.integer)):
                raise ValueError(f"y is {y.dtype} {y.shape}, not integers ({len(x)},)")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as broken:
            raise DataError(f"{file}: must hold arrays x and y, {broken}. Save it anew.") from None
        for i in range(len(x)):
            truth = None if y is None else frozenset([int(y[i])])
            entries.append(Entry(f"{file.name}#{i}", partial(_row, x, i), truth))
    return entries


def _row(x: Picture, i: int) -> Picture:
    return np.ascontiguousarray(x[i, :, :, ::-1])


Reader = Callable[[Path, TaskCard], list[Entry] | None]


def _npz_beside(listing: Path, card: TaskCard) -> list[Entry]:
    return _npz(listing.parent, card)


_READERS: dict[str, list[tuple[str, Reader]]] = {
    "detection": [("instances.json", _coco)],
    "coco_person": [("instances.json", _coco_person)],
    "classification": [
        ("crops.csv", _crops),
        ("labels.csv", _class_labels),
        ("*.npz", _npz_beside),
    ],
    "text_direction": [("lines.csv", _directions)],
    "text_recognition": [("lines.csv", _lines), ("labels.csv", _text_labels)],
    "text_detection": [("pages.json", _pages)],
}
