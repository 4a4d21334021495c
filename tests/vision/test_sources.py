"""Damaged pictures are skipped and counted; missing ones are one clear sentence."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np
import pytest

from edgeq.errors import DataError
from edgeq.vision import open_source, read_picture
from edgeq.vision.sources import decode_picture, natural, picture_size

NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8)


def encoded(ending: str) -> bytes:
    return cv2.imencode(ending, NOISE)[1].tobytes()


def test_folder_is_read_in_natural_order_and_damage_is_counted(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("10.jpg", "2.jpg", "sub/1.png", "한글.jpg"):
        (tmp_path / name).write_bytes(encoded(name[-4:]))
    (tmp_path / "3.jpg").write_bytes(encoded(".jpg")[:700])
    (tmp_path / "4.jpg").write_bytes(b"not a picture")
    (tmp_path / "5.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / ".6.jpg").write_bytes(encoded(".jpg"))
    source = open_source(tmp_path)
    names = [Path(frame.name).name for frame in source]
    assert names == ["2.jpg", "10.jpg", "1.png", "한글.jpg"]
    assert source.count == 7
    assert [Path(skip.path).name for skip in source.skipped] == ["3.jpg", "4.jpg", "5.jpg"]
    assert all("whole picture" in skip.reason for skip in source.skipped)


def test_missing_empty_and_unknown_are_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    for path in (tmp_path / "absent", tmp_path, tmp_path / "model.onnx"):
        with pytest.raises(DataError) as caught:
            open_source(path)
        assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="cannot be read"):
        read_picture(tmp_path / "absent.jpg")


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp", ".ppm"])
def test_size_is_known_before_decoding(ending: str) -> None:
    assert picture_size(encoded(ending)) == (60, 40)
    assert decode_picture(encoded(ending)).shape == (40, 60, 3)


def test_silly_huge_picture_is_refused_before_decoding() -> None:
    png = bytearray(encoded(".png"))
    png[16:24] = struct.pack(">II", 60_000, 60_000)
    with pytest.raises(DataError, match="pixels, has 60000x60000"):
        decode_picture(bytes(png))


@pytest.mark.parametrize("ending", [".jpg", ".png", ".bmp", ".webp", ".ppm"])
def test_any_prefix_is_a_picture_or_a_data_error(ending: str) -> None:
    data = encoded(ending)
    for length in range(0, min(len(data), 600), 7):
        with suppress(DataError):
            decode_picture(data[:length])


def test_digits_sort_by_value() -> None:
    assert sorted(["b10", "b9", "a", "b", "7"], key=natural) == ["7", "a", "b", "b9", "b10"]


def test_video_gives_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "film.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 5, (60, 40))
    if not writer.isOpened():
        pytest.skip("this OpenCV cannot write MJPG")
    for _ in range(3):
        writer.write(NOISE)
    writer.release()
    source = open_source(path)
    assert source.count is None
    assert [frame.image.shape for frame in source] == [(40, 60, 3)] * 3
    path.write_bytes(b"no film")
    with pytest.raises(DataError, match="no frame"):
        list(source)
