"""Turn a picture into the input tensor, and remember how to map results back."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DataError
from edgeq.vision.card import Input

MAX_ASPECT = (
    8  # `crop` only: beyond it the far ends are cut off before resizing, they are never seen
)


@dataclass(frozen=True, slots=True)
class Geometry:
    """Map picture to input pixels: input = picture * scale + offset, for x and y.

    width, height: the picture's size in pixels.
    """

    width: int
    height: int
    scale_x: float = 1.0
    scale_y: float = 1.0
    offset_x: float = 0.0
    offset_y: float = 0.0

    def to_input(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (..., 2k) picture coordinates x, y, x, y, ... to the input tensor."""
        scale, offset = self._repeated(points.shape[-1])
        return points * scale + offset

    def to_picture(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Map (..., 2k) input coordinates x, y, x, y, ... back to the picture."""
        scale, offset = self._repeated(points.shape[-1])
        return (points - offset) / scale

    def clip(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Limit (..., 2k) picture coordinates to the picture."""
        high = np.tile([float(self.width), float(self.height)], points.shape[-1] // 2)
        inside: NDArray[np.float64] = np.clip(points, 0.0, high)
        return inside

    def _repeated(self, length: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        scale = np.tile([self.scale_x, self.scale_y], length // 2)
        return scale, np.tile([self.offset_x, self.offset_y], length // 2)


def preprocess(image: NDArray[np.uint8], rule: Input) -> tuple[NDArray[np.float32], Geometry]:
    """Resize, pad and normalise one picture as `rule` says.

    image: (h, w, 3) uint8 BGR, as OpenCV reads it. Returns the (1, H, W, 3) float32 tensor and the
    geometry that undoes it. Raises DataError for any other kind of array.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise DataError(
            f"picture: must be uint8 (height, width, 3) in BGR order, got {image.dtype}"
            f" {image.shape}. Read it with edgeq.vision.read_picture."
        )
    small, geometry = _resized(image, rule)
    high, wide = small.shape[:2]
    top, left = round(geometry.offset_y), round(geometry.offset_x)
    if rule.resize == "crop":
        top = left = 0
    tensor = np.empty((1, rule.height, rule.width, 3), np.float32)
    if (high, wide) != (rule.height, rule.width):
        tensor[:] = _border(rule)
    tensor[0, top : top + high, left : left + wide] = _normalized(small, rule)
    return tensor, geometry


def _resized(image: NDArray[np.uint8], rule: Input) -> tuple[NDArray[np.uint8], Geometry]:
    """Scale the picture to the part of the tensor that it fills."""
    height, width = image.shape[:2]
    whole = round if rule.rounding == "round" else int
    match rule.resize:
        case "stretch":
            geometry = Geometry(width, height, rule.width / width, rule.height / height)
            return _resize(image, rule.width, rule.height, rule), geometry
        case "text_line":
            wide = min(max(8, whole(width * rule.height / height)), rule.width)
            geometry = Geometry(width, height, wide / width, rule.height / height)
            return _resize(image, wide, rule.height, rule), geometry
        case "crop":
            return _cropped(image, rule)
    ratio = min(rule.width / width, rule.height / height)
    wide, high = max(1, whole(width * ratio)), max(1, whole(height * ratio))
    center = rule.resize == "letterbox_center"
    left, top = ((rule.width - wide) // 2, (rule.height - high) // 2) if center else (0, 0)
    geometry = Geometry(width, height, ratio, ratio, left, top)
    return _resize(image, wide, high, rule), geometry


def _cropped(image: NDArray[np.uint8], rule: Input) -> tuple[NDArray[np.uint8], Geometry]:
    height, width = image.shape[:2]
    limit = MAX_ASPECT * min(height, width)
    cut_y, cut_x = max(0, height - limit) // 2, max(0, width - limit) // 2
    part = image[cut_y : cut_y + limit, cut_x : cut_x + limit]
    ratio = rule.short_side / min(part.shape[:2])
    part = _resize(part, round(part.shape[1] * ratio), round(part.shape[0] * ratio), rule)
    top, left = (part.shape[0] - rule.height) // 2, (part.shape[1] - rule.width) // 2
    offset_x, offset_y = -left - cut_x * ratio, -top - cut_y * ratio
    geometry = Geometry(width, height, ratio, ratio, offset_x, offset_y)
    return part[top : top + rule.height, left : left + rule.width], geometry


def _resize(image: NDArray[np.uint8], width: int, height: int, rule: Input) -> NDArray[np.uint8]:
    import cv2

    if image.shape[:2] == (height, width):
        return image
    shrinks = height < image.shape[0]
    area = rule.interpolation == "area" or (rule.interpolation == "auto" and shrinks)
    method = cv2.INTER_AREA if area else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=method)  # type: ignore[return-value]


@lru_cache(maxsize=16)
def _table(rule: Input) -> NDArray[np.float32]:
    """Tabulate (x - mean) / std for the 256 pixel values: (1, 256, 3), model channel order."""
    values = np.arange(256.0)[:, None]
    return ((values - rule.mean) / rule.std).astype(np.float32)[None]


def _normalized(image: NDArray[np.uint8], rule: Input) -> NDArray[np.float32]:
    """Normalise (h, w, 3) BGR pixels and bring them into the model's channel order."""
    import cv2

    if rule.color == "rgb":
        image = cv2.cvtColor(image, cv2.COLOR_BGR2RGB)  # type: ignore[assignment]
    return cv2.LUT(image, _table(rule))  # type: ignore[return-value]


def _border(rule: Input) -> NDArray[np.float64]:
    """Return the value of the padding per channel, in tensor units."""
    pad = np.full(3, rule.pad)
    return pad if rule.pad_unit == "tensor" else (pad - rule.mean) / rule.std
