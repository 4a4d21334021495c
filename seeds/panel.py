"""The panel itself: colour, material, edges, the wall behind it, and the marks of its years."""

from __future__ import annotations

import cv2
import numpy as np

from edgeq.seeds.lettering import faces, pick
from edgeq.seeds.objects import METALS, Style, pick_color, put, screw
from edgeq.seeds.surface import Color, Rng, Surface, block, grain, noise

CANVAS = (800, 600)

PANELS: tuple[Color, ...] = (
    (212, 216, 218), (196, 204, 206), (170, 176, 178), (128, 132, 134), (88, 90, 92), (52, 52, 54),
    (36, 35, 36), (176, 168, 150), (150, 160, 140), (120, 100, 74), (198, 214, 222), (190, 190, 186),
)  # fmt: skip


def choose_style(rng: Rng, panel: Color, fonts: bool) -> Style:
    dark = sum(panel) < 330
    names = faces(fonts)
    return Style(
        face=pick(rng, names),
        face_two=pick(rng, names),
        print_color=(225, 228, 228)
        if dark
        else pick_color(rng, ((30, 28, 28), (30, 28, 28), (120, 50, 20))),
        dark=dark,
        bezel=pick_color(rng, ((38, 37, 38), (38, 37, 38), (66, 64, 63), (150, 150, 148))),
        metal=pick_color(rng, METALS),
        glass=float(rng.uniform(0.3, 1.0)),
        round_buttons=bool(rng.random() < 0.7),
        switch=pick(rng, ("toggle", "rocker", "knob", "slide")),
        square_gauge=bool(rng.random() < 0.3),
        led_bezel=bool(rng.random() < 0.6),
        display_tint=pick(rng, ("red", "red", "green", "amber", "blue", "white", "lcd", "lcd")),
    )


def make_panel(
    rng: Rng, style: Style, panel: Color
) -> tuple[Surface, tuple[float, float, float, float]]:
    """Make the panel, with or without its edges; returns the area x0, y0, x1, y1 to fill."""
    w, h = CANVAS
    area = (48.0, 42.0, w - 48.0, h - 42.0)
    if rng.random() < 0.6:
        surface = Surface.blank(w, h, panel)
        _texture(surface, rng, 1.0)
        if rng.random() < 0.5:
            for sx in (62, w - 62):
                for sy in (56, h - 56):
                    screw(surface, rng, sx, sy, 8.5, style.metal)
        return surface, area
    wall = pick_color(
        rng, ((150, 158, 162), (80, 96, 112), (60, 62, 66), (180, 186, 188), (70, 84, 66))
    )
    surface = Surface.blank(w, h, wall)
    _texture(surface, rng, 2.5)
    left, top, right, bottom = (float(v) for v in rng.uniform(30, 75, 4))
    pw, ph = w - left - right, h - top - bottom
    x, y = left + pw / 2, top + ph / 2
    plate = block(pw, ph, float(rng.choice([0, 4, 12, 22])))
    put(surface, plate, x, y, color=panel, height=14, gloss=0.2, bevel=2.2)
    surface.height -= 14  # level 0 is the panel
    inner = Surface.blank(round(pw), round(ph), panel)
    _texture(inner, rng, 1.0)
    spot = (
        slice(round(top) + 4, round(top + ph) - 4),
        slice(round(left) + 4, round(left + pw) - 4),
    )
    size = (spot[0].stop - spot[0].start, spot[1].stop - spot[1].start)
    surface.color[spot] = inner.color[: size[0], : size[1]]
    surface.height[spot] += inner.height[: size[0], : size[1]]
    surface.gloss[spot] = inner.gloss[: size[0], : size[1]]
    for dx in (-1, 1):
        for dy in (-1, 1):
            screw(surface, rng, x + dx * (pw / 2 - 18), y + dy * (ph / 2 - 18), 8, style.metal)
    return surface, (left + 34, top + 30, w - right - 34, h - bottom - 30)


def _texture(surface: Surface, rng: Rng, rough: float) -> None:
    """Give a flat surface its material: fine grain, orange peel or brushed metal, uneven colour."""
    h, w = surface.height.shape
    kind = rng.random()
    if kind < 0.2:  # brushed
        streaks = cv2.blur(grain(rng, w, h), (61, 1)) * 6
        surface.color[:] = np.clip(
            surface.color + (streaks * rng.uniform(1.5, 4))[..., None], 0, 255
        )
        surface.height += streaks * np.float32(0.06)
        surface.gloss += np.float32(0.3)
    elif kind < 0.65:  # moulded grain
        surface.height += cv2.GaussianBlur(grain(rng, w, h), (0, 0), 0.9) * np.float32(
            rng.uniform(0.15, 0.5) * rough
        )
        surface.gloss[:] = np.float32(rng.uniform(0.05, 0.25))
    else:  # orange peel of paint
        surface.height += noise(rng, w, h, rng.uniform(3, 6)) * np.float32(
            rng.uniform(0.05, 0.18) * rough
        )
        surface.gloss[:] = np.float32(rng.uniform(0.1, 0.45))
    uneven = noise(rng, w, h, 120) * np.float32(rng.uniform(0.5, 3.0) * rough)
    surface.color[:] = np.clip(surface.color + uneven[..., None], 0, 255)


def wear(surface: Surface, rng: Rng, level: float) -> None:
    """Scratch, stain and dust the panel."""
    h, w = surface.height.shape
    for _ in range(int(rng.integers(0, 4 + round(14 * level)))):
        a = rng.uniform((0, 0), (w, h))
        b = a + rng.normal(0, 40, 2)
        shade = int(rng.integers(40, 230))
        layer = surface.color[max(0, int(min(a[1], b[1])) - 2) : int(max(a[1], b[1])) + 3]
        line = np.stack([a, b]) - (0, max(0, int(min(a[1], b[1])) - 2))
        if layer.size:
            over = layer.copy()
            (ax, ay), (bx, by) = line.astype(int).tolist()
            cv2.line(over, (ax, ay), (bx, by), (shade,) * 3, 1, cv2.LINE_AA)
            faint = float(rng.uniform(0.1, 0.45))
            layer[:] = cv2.addWeighted(over, faint, layer, 1 - faint, 0)
    grime = np.clip(noise(rng, w // 4, h // 4, rng.uniform(6, 30)) - 0.8, 0, 1) * rng.uniform(
        0, 0.1 + 0.2 * level
    )
    grime = cv2.resize(grime.astype(np.float32), (w, h), interpolation=cv2.INTER_LINEAR)
    share = 1 - grime * np.clip(
        1.2 - np.abs(surface.height - np.median(surface.height[::20, ::20])) * 0.1, 0.2, 1
    )
    surface.color[:] = (surface.color * share[..., None]).astype(np.uint8)
    count = int(rng.integers(5, 40 + round(160 * level)))
    xs, ys = rng.integers(0, w, count), rng.integers(0, h, count)
    light_dust = rng.random(count)[:, None] * 0.6
    surface.color[ys, xs] = (surface.color[ys, xs] * (1 - light_dust) + 190 * light_dust).astype(
        np.uint8
    )
