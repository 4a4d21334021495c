"""Pictures become tensors as the card says, and coordinates find their way back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.errors import DataError
from edgeq.vision import Geometry, Input, preprocess

RESIZES = ("stretch", "letterbox_topleft", "letterbox_center", "crop", "text_line")


def rule(**change: Any) -> Input:
    return Input(**{"height": 8, "width": 8, "color": "bgr", "resize": "stretch", **change})


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_channels_are_normalised_in_model_order() -> None:
    image = np.zeros((8, 8, 3), np.uint8)
    image[:] = (10, 20, 30)
    tensor, _ = preprocess(image, rule(color="rgb", mean=(1, 2, 3), std=(2, 4, 8)))
    assert tensor.shape == (1, 8, 8, 3)
    assert tensor.dtype == np.float32
    np.testing.assert_array_equal(tensor[0, 3, 5], np.float32([29 / 2, 18 / 4, 7 / 8]))


def test_letterbox_pads_before_or_after_normalising() -> None:
    norm = {"mean": (100,) * 3, "std": (2,) * 3, "resize": "letterbox_topleft"}
    pixels, _ = preprocess(picture(4, 8), rule(**norm, pad=114, pad_unit="pixels"))
    tensor, _ = preprocess(picture(4, 8), rule(**norm, pad=0.5))
    assert (pixels[0, 4:] == 7).all()
    assert (tensor[0, 4:] == 0.5).all()
    np.testing.assert_array_equal(pixels[0, :4], tensor[0, :4])


def test_letterbox_center_splits_the_border() -> None:
    image = np.full((4, 8, 3), 9, np.uint8)
    tensor, geometry = preprocess(image, rule(resize="letterbox_center"))
    assert (tensor[0, 2:6] == 9).all()
    assert (tensor[0, [0, 1, 6, 7]] == 0).all()
    assert (geometry.offset_x, geometry.offset_y) == (0, 2)


def test_crop_takes_the_middle_of_the_short_side() -> None:
    image = picture(16, 32)
    tensor, geometry = preprocess(image, rule(resize="crop", short_side=16))
    np.testing.assert_array_equal(tensor[0], image[4:12, 12:20])
    assert geometry.to_input(np.array([12.0, 4.0])).tolist() == [0, 0]


def test_text_line_squeezes_only_what_is_too_wide() -> None:
    line = rule(resize="text_line", width=40)
    narrow, _ = preprocess(np.full((16, 32, 3), 7, np.uint8), line)
    wide, geometry = preprocess(np.full((16, 320, 3), 7, np.uint8), line)
    assert (narrow[0, :, :16] == 7).all()
    assert (narrow[0, :, 16:] == 0).all()
    assert (wide == 7).all()
    assert geometry.scale_x == 40 / 320


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (3, 2)])
def test_extreme_shapes_fit(resize: str, size: tuple[int, int]) -> None:
    tensor, _ = preprocess(picture(*size), rule(resize=resize, short_side=8 * (resize == "crop")))
    assert tensor.shape == (1, 8, 8, 3)
    assert np.isfinite(tensor).all()


@pytest.mark.parametrize(
    "wrong",
    [
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        np.zeros((4, 4, 3), np.float32),
    ],
)
def test_another_array_is_an_error_not_a_wrong_box(wrong: Any) -> None:
    with pytest.raises(DataError, match="uint8"):
        preprocess(wrong, rule())


sides = st.integers(1, 300)


@settings(max_examples=60)
@given(sides, sides, st.sampled_from(RESIZES), st.sampled_from(["round", "floor"]), st.data())
def test_geometry_round_trips(
    height: int, width: int, resize: str, rounding: str, data: st.DataObject
) -> None:
    short = 32 * (resize == "crop")
    one = rule(height=32, width=24, resize=resize, rounding=rounding, short_side=short)
    _, geometry = preprocess(np.zeros((height, width, 3), np.uint8), one)
    points = np.array([data.draw(st.floats(0, width)), data.draw(st.floats(0, height))] * 2)
    back = geometry.to_picture(geometry.to_input(points))
    np.testing.assert_allclose(back, points, atol=1e-6 * max(height, width))
    np.testing.assert_allclose(geometry.clip(points), points)


@settings(max_examples=60)
@given(sides, sides, st.sampled_from(["letterbox_topleft", "letterbox_center"]))
def test_letterboxed_picture_stays_inside_the_tensor(height: int, width: int, resize: str) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    _, geometry = preprocess(image, rule(height=32, width=24, resize=resize))
    corners = geometry.to_input(np.array([0.0, 0.0, width, height]))
    assert (corners >= 0).all()
    assert (corners <= [24.5, 32.5] * 2).all()


def test_clip_keeps_points_inside() -> None:
    points = np.array([[-5.0, 3.0, 99.0, 99.0]])
    assert Geometry(10, 20).clip(points).tolist() == [[0, 3, 10, 20]]
