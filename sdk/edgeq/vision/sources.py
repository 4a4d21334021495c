"""Read pictures from a file, a folder or a video; damaged ones are skipped and counted."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".ppm", ".pgm")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".mjpeg", ".mjpg")
MAX_PIXELS = 100_000_000  # 300 MB decoded; refused before decoding where the header tells
MAX_FILE_BYTES = 256 << 20
_LETTERS = 1 << 62  # letters sort behind any number


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: a name for people and (h, w, 3) uint8 BGR pixels."""

    name: str
    image: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture that could not be used, and why."""

    path: str
    reason: str


@dataclass(slots=True)
class Source:
    """Iterate over the frames of a file, a folder or a video; `skipped` fills while iterating.

    count: how many pictures there are, None for a video.
    """

    files: tuple[Path, ...]
    count: int | None
    skipped: list[Skipped] = field(default_factory=list)

    def __iter__(self) -> Iterator[Frame]:
        self.skipped.clear()
        if self.count is None:
            yield from _video(self.files[0])
            return
        for path in self.files:
            try:
                image = read_picture(path)
            except DataError as broken:
                self.skipped.append(Skipped(str(path), str(broken)))
                continue
            yield Frame(str(path), image)


def open_source(path: str | Path) -> Source:
    """Open a picture, a folder (searched recursively, natural order) or a video file.

    Raises DataError if it does not exist, holds no picture, or is no file that can be read.
    """
    path = Path(path)
    if path.is_dir():
        files = list_pictures(path)
        return Source(files, len(files))
    if not path.is_file():
        raise DataError(
            f"{path}: must be a picture, a folder or a video, does not exist. Check the path."
        )
    if path.suffix.lower() in VIDEOS:
        return Source((path,), None)
    if path.suffix.lower() not in PICTURES:
        known = " ".join(PICTURES + VIDEOS)
        raise DataError(f"{path}: must end in one of {known}. Convert it.")
    return Source((path,), 1)


def list_pictures(folder: Path) -> tuple[Path, ...]:
    """Return all pictures under a folder, 2.jpg before 10.jpg; hidden ones are left out.

    Raises DataError if there is none.
    """
    found = []
    for root, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(root, name)
            for name in names
            if not name.startswith(".") and name.lower().endswith(PICTURES)
        ]
    if not found:
        raise DataError(
            f"{folder}: must hold pictures ({' '.join(PICTURES)}), has none. Check the path."
        )
    return tuple(sorted(found, key=lambda path: natural(str(path.relative_to(folder)))))


def natural(text: str) -> list[tuple[int, str]]:
    """Return a sort key that orders digits by value: a2 < a10."""
    parts = re.findall(r"(\d+)|(\D+)", text.casefold())
    return [(int(digits) if digits else _LETTERS, rest) for digits, rest in parts] + [(-1, text)]


def read_picture(path: str | Path) -> NDArray[np.uint8]:
    """Read one picture file as (h, w, 3) uint8 BGR, turned upright by its EXIF data.

    Raises DataError if it is missing, damaged, truncated or larger than MAX_PIXELS.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as broken:
        raise DataError(f"{path}: cannot be read, {broken.strerror}. Check the path.") from None
    return decode_picture(data, str(path))


def decode_picture(data: bytes, name: str = "picture") -> NDArray[np.uint8]:
    """Decode the bytes of one picture file; see `read_picture`."""
    import cv2

    if len(data) > MAX_FILE_BYTES:
        raise DataError(f"{name}: must be at most {MAX_FILE_BYTES >> 20} MiB. Make it smaller.")
    width, height = picture_size(data) or (0, 0)
    if width * height > MAX_PIXELS:
        raise DataError(
            f"{name}: must have at most {MAX_PIXELS} pixels, has {width}x{height}. Make it smaller."
        )
    image = None
    if data and not _is_truncated(data):
        with suppress(cv2.error):
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise DataError(
            f"{name}: must be a whole picture, is damaged or of an unknown kind. Save it anew."
        )
    return image  # type: ignore[return-value]


def picture_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) as a JPEG, PNG, BMP, WebP or PNM header tells, None if it does not."""
    try:
        if data[:8] == b"\x89PNG\r\n\x1a\n":
            return struct.unpack(">II", data[16:24])
        if data[:2] == b"BM":
            width, height = struct.unpack("<ii", data[18:26])
            return abs(width), abs(height)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:2] in (b"P5", b"P6", b"P2", b"P3"):
            plain = re.sub(rb"#[^\n]*", b"", data[2:1024]).split()
            return int(plain[0]), int(plain[1])
        if data[:2] == b"\xff\xd8":
            return _jpeg_frame(data)[0]
    except (struct.error, ValueError, IndexError):
        pass
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    match data[12:16]:
        case b"VP8X":
            low = data[24:27], data[27:30]
            return int.from_bytes(low[0], "little") + 1, int.from_bytes(low[1], "little") + 1
        case b"VP8L":
            (bits,) = struct.unpack("<I", data[21:25])
            return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        case b"VP8 ":
            width, height = struct.unpack("<HH", data[26:30])
            return width & 0x3FFF, height & 0x3FFF
    return None


def _jpeg_frame(data: bytes) -> tuple[tuple[int, int] | None, int]:
    """Walk the JPEG segments up to the scan: picture size and where the scan starts (T.81, B.1)."""
    size, at = None, 2
    while True:
        marker, length = struct.unpack(">xBH", data[at : at + 4])
        if marker == 0xFF:  # fill byte
            at += 1
        elif marker == 0xDA:
            return size, at
        else:
            if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
                height, width = struct.unpack(">HH", data[at + 5 : at + 9])
                size = width, height
            at += 2 + length


def _is_truncated(data: bytes) -> bool:
    """Tell whether the end marker is missing: some decoders return half a picture then."""
    if data[:2] == b"\xff\xd8":
        try:
            return data.find(b"\xff\xd9", _jpeg_frame(data)[1]) < 0  # a scan stuffs 0xff bytes
        except struct.error:
            return True
    return data[:4] == b"\x89PNG" and data.find(b"IEND") < 0


def _video(path: Path) -> Iterator[Frame]:
    import cv2

    video = cv2.VideoCapture(str(path))
    number = 0
    try:
        while True:
            more, image = video.read()
            if not more:
                break
            if image.shape[0] * image.shape[1] > MAX_PIXELS:
                raise DataError(
                    f"{path}: frames must have at most {MAX_PIXELS} pixels. Scale it down."
                )
            yield Frame(f"{path}#{number}", image)  # type: ignore[arg-type]
            number += 1
    finally:
        video.release()
    if not number:
        raise DataError(
            f"{path}: must be a video that OpenCV can read, no frame came out. Convert it."
        )
