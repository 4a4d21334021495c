"""A flat panel as layers (colour, height, gloss, light), and the light that falls on it.

Objects are stamped into the layers; `light` turns the layers into linear light as a camera above
the panel would receive it: Lambert and Blinn (1977) shading from the height map, cast shadows,
contact shadows, glow of lamps, and reflections in glass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

Color = tuple[int, int, int]  # BGR 0..255
Mask = NDArray[np.uint8]
Floats = NDArray[np.float32]
Rng = np.random.Generator

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
_LINEAR = ((np.arange(256) / 255.0) ** 2.2).astype(np.float32)


@dataclass(slots=True)
class Surface:
    """Layers of one scene, all (h, w[, 3]).

    color: uint8 BGR. height: pixels above the panel. gloss: 0..1. glow: emitted linear light.
    glass: 0..1, how much of the room a pane reflects.
    """

    color: Mask
    height: Floats
    gloss: Floats
    glow: Floats
    glass: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.glass = np.zeros_like(self.height)

    @staticmethod
    def blank(width: int, height: int, color: Color) -> Surface:
        """Make an even, matt, flat surface."""
        pixels = np.empty((height, width, 3), np.uint8)
        pixels[:] = color
        flat = np.zeros((height, width), np.float32)
        return Surface(pixels, flat, flat + np.float32(0.15), np.zeros_like(pixels, np.float32))

    def stamp(
        self,
        mask: Mask,
        left: int,
        top: int,
        *,
        color: Color | Mask | None = None,
        height: float | Floats | None = None,
        raised: float | Floats | None = None,
        gloss: float | None = None,
        glow: tuple[float, float, float] | None = None,
        glass: float | None = None,
        bevel: float = 0.0,
    ) -> None:
        """Blend values into the layers where `mask` (0..255) says so, its corner at (left, top).

        height sets the level, raised adds to it; bevel rounds their edge (sigma in pixels).
        """
        rows, columns = self.height.shape
        y0, x0 = max(0, top), max(0, left)
        y1, x1 = min(rows, top + mask.shape[0]), min(columns, left + mask.shape[1])
        if y0 >= y1 or x0 >= x1:
            return
        part = (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))
        spot = (slice(y0, y1), slice(x0, x1))
        share = mask[part].astype(np.float32) * np.float32(1 / 255)
        if color is not None:
            paint = color[part] if isinstance(color, np.ndarray) else np.array(color)
            old = self.color[spot].astype(np.float32)
            old += (paint.astype(np.float32) - old) * share[..., None]
            self.color[spot] = (old + 0.5).astype(np.uint8)
        soft = share
        if bevel > 0 and (height is not None or raised is not None):
            soft = cv2.GaussianBlur(mask, (0, 0), bevel)[part].astype(np.float32) / 255
        if height is not None:
            level = height[part] if isinstance(height, np.ndarray) else np.float32(height)
            self.height[spot] += (level - self.height[spot]) * soft
        if raised is not None:
            level = raised[part] if isinstance(raised, np.ndarray) else np.float32(raised)
            self.height[spot] += level * soft
        if gloss is not None:
            self.gloss[spot] += (np.float32(gloss) - self.gloss[spot]) * share
        if glow is not None:
            self.glow[spot] += share[..., None] * np.array(glow, np.float32)
        if glass is not None:
            self.glass[spot] = np.maximum(self.glass[spot], share * np.float32(glass))


def disc(radius: float) -> Mask:
    """Mask a disc, its centre in the middle of the array."""
    side = 2 * int(np.ceil(radius + 2)) + 1
    mask = np.zeros((side, side), np.uint8)
    center = (side // 2) << SHIFT
    cv2.circle(mask, (center, center), round(radius * (1 << SHIFT)), 255, -1, cv2.LINE_AA, SHIFT)
    return mask


def ring(radius: float, inner: float) -> Mask:
    """Mask a ring between two radii."""
    mask = disc(radius)
    side = mask.shape[0]
    center = (side // 2) << SHIFT
    cv2.circle(mask, (center, center), round(inner * (1 << SHIFT)), 0, -1, cv2.LINE_AA, SHIFT)
    return mask


def block(width: float, height: float, corner: float = 0.0) -> Mask:
    """Mask a rectangle with round corners, in the middle of an array 2 pixels larger a side."""
    w, h = round(width), round(height)
    mask = np.zeros((h + 4, w + 4), np.uint8)
    r = int(min(corner, w / 2, h / 2))
    if r < 1:
        mask[2 : 2 + h, 2 : 2 + w] = 255
        return mask
    cv2.rectangle(mask, (2 + r, 2), (1 + w - r, 1 + h), 255, -1)
    cv2.rectangle(mask, (2, 2 + r), (1 + w, 1 + h - r), 255, -1)
    for cx in (2 + r, 1 + w - r):
        for cy in (2 + r, 1 + h - r):
            cv2.circle(mask, (cx, cy), r, 255, -1, cv2.LINE_AA)
    return mask


def polygon(points: NDArray[np.floating]) -> tuple[Mask, int, int]:
    """Mask a polygon (n, 2); returns the mask and where its corner lies."""
    left, top = np.floor(points.min(0)).astype(int) - 2
    right, bottom = np.ceil(points.max(0)).astype(int) + 3
    mask = np.zeros((bottom - top, right - left), np.uint8)
    corners = np.round((points - (left, top)) * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [corners], 255, cv2.LINE_AA, SHIFT)
    return mask, int(left), int(top)


def centered(mask: Mask, x: float, y: float) -> tuple[int, int]:
    """Return left and top of a mask whose middle lies at (x, y)."""
    return round(x - mask.shape[1] / 2), round(y - mask.shape[0] / 2)


def dome(mask: Mask, rise: float) -> Floats:
    """Return a spherical cap over the extent of a mask, `rise` high in the middle."""
    h, w = mask.shape
    y = (np.arange(h, dtype=np.float32) - (h - 1) / 2) / (h / 2 - 1.5)
    x = (np.arange(w, dtype=np.float32) - (w - 1) / 2) / (w / 2 - 1.5)
    cap = np.sqrt(np.clip(1.02 - x[None] ** 2 - y[:, None] ** 2, 0, 1))
    return np.asarray(cap * rise, np.float32)


def noise(rng: Rng, width: int, height: int, size: float) -> Floats:
    """Draw smooth noise, about -1..1, with features of about `size` pixels."""
    w, h = max(2, int(width / size) + 2), max(2, int(height / size) + 2)
    small = rng.standard_normal((h, w), np.float32)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)


_TILE: list[Floats] = []


def grain(rng: Rng, width: int, height: int) -> Floats:
    """Cut white noise of unit variance from one fixed tile: much cheaper than drawing it anew."""
    if not _TILE:
        _TILE.append(np.random.default_rng(7).standard_normal((1400, 1700), np.float32))
    tile = _TILE[0]
    y, x = rng.integers(0, tile.shape[0] - height), rng.integers(0, tile.shape[1] - width)
    part = tile[y : y + height, x : x + width]
    return part[:: -1 if rng.random() < 0.5 else 1, :: -1 if rng.random() < 0.5 else 1]


@dataclass(frozen=True, slots=True)
class Light:
    """A lamp: position in canvas pixels, height over the panel, colours and shares of light."""

    x: float
    y: float
    z: float
    color: tuple[float, float, float]
    ambient: float
    shadow: float  # 0..1, how dark
    softness: float  # sigma of the shadow's edge
    room: Floats  # what glass reflects, (h, w), linear


def light(surface: Surface, lamp: Light) -> Floats:
    """Return the linear light (h, w, 3) that leaves the surface towards the camera."""
    h, w = surface.height.shape
    slope_x = cv2.Sobel(surface.height, cv2.CV_32F, 1, 0, ksize=3, scale=0.125)
    slope_y = cv2.Sobel(surface.height, cv2.CV_32F, 0, 1, ksize=3, scale=0.125)
    up = 1 / np.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    x = (np.float32(lamp.x) - np.arange(w, dtype=np.float32))[None] / w
    y = (np.float32(lamp.y) - np.arange(h, dtype=np.float32))[:, None] / w
    z = np.float32(lamp.z / w)
    far = np.sqrt(x * x + y * y + z * z)
    # n.l relative to flat at the lamp's foot: falls off with distance, as near lamps do
    lit = np.maximum((z - slope_x * x - slope_y * y) * up / far, 0) * (1.2 / (0.6 + far))
    # n.h with the viewer straight above
    half = (far + z - slope_x * x - slope_y * y) * up / np.sqrt(x * x + y * y + (far + z) ** 2)
    shine = cv2.pow(np.clip(half, 0, 1), 48.0)
    dark, contact = _shadows(surface.height, lamp)
    lit *= 1 - dark
    shine *= 1 - dark
    shade = (lamp.ambient + (1 - lamp.ambient) * lit) * (1 - contact)
    out: Floats = np.asarray(cv2.LUT(surface.color, _LINEAR), np.float32)
    out *= shade[..., None] * np.array(lamp.color, np.float32)
    out += (shine * surface.gloss + surface.glass * lamp.room)[..., None]
    small = cv2.resize(surface.glow, (w // 4, h // 4), interpolation=cv2.INTER_AREA)
    bloom = cv2.GaussianBlur(small, (0, 0), 1.5) * 0.35 + cv2.GaussianBlur(small, (0, 0), 6) * 0.25
    np.add(out, cv2.resize(bloom, (w, h), interpolation=cv2.INTER_LINEAR), out=out)
    out += surface.glow
    return out


def _shadows(height: Floats, lamp: Light) -> tuple[Floats, Floats]:
    """March towards the lamp at half size; return the cast and the contact shadow, 0..1."""
    h, w = height.shape
    small = cv2.resize(height, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    aim = np.array([lamp.x - w / 2, lamp.y - h / 2])
    reach = float(np.hypot(*aim)) + 1e-6
    aim /= reach
    fall = np.float32(lamp.z / reach * 2)  # the ray climbs so much per half-size pixel
    pad = 16
    padded = cv2.copyMakeBorder(small, pad, pad, pad, pad, cv2.BORDER_REPLICATE)
    over = np.zeros_like(small)
    for step in (1, 2, 3.5, 5, 7, 9, 12, 15):
        dx, dy = (round(float(v) * step) for v in aim)
        shifted = padded[pad + dy : pad + dy + h // 2, pad + dx : pad + dx + w // 2]
        np.maximum(over, shifted - small - fall * np.float32(step), out=over)
    dark = cv2.GaussianBlur(np.minimum(over * 0.7, 1), (0, 0), lamp.softness) * lamp.shadow
    around = cv2.GaussianBlur(small, (0, 0), 4) - small
    contact = np.clip(around * 0.07, 0, 0.35)
    return (
        np.asarray(cv2.resize(dark, (w, h), interpolation=cv2.INTER_LINEAR), np.float32),
        np.asarray(cv2.resize(contact, (w, h), interpolation=cv2.INTER_LINEAR), np.float32),
    )
