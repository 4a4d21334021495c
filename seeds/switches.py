"""Four makers' switches: toggle, rocker, selector knob, slide."""

from __future__ import annotations

import cv2
import numpy as np

from edgeq.seeds.objects import Part, Points, Style, circle, line, put, rectangle
from edgeq.seeds.surface import Color, Rng, Surface, block, disc, dome, polygon


def draw_switch(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Part:
    """Draw a toggle, a rocker, a selector knob or a slide switch, `size` high."""
    draw = {"toggle": _toggle, "rocker": _rocker, "knob": _knob, "slide": _slide}[style.switch]
    return Part("switch", draw(surface, rng, style, x, y, size))


def _toggle(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Points:
    r = size * 0.27
    up = -1 if rng.random() < 0.5 else 1
    y -= up * size * 0.16
    nut = circle(x, y, r, 6)
    mask, left, top = polygon(nut)
    washer = disc(r * 1.12)
    put(surface, washer, x, y, color=style.metal, height=2, gloss=0.7, bevel=0.8)
    surface.stamp(mask, left, top, color=style.metal, height=6, gloss=0.8, bevel=1.0)
    put(surface, disc(r * 0.62), x, y, color=(70, 70, 72), height=8, gloss=0.5, bevel=1)
    length, lean = size * 0.52, rng.uniform(-0.05, 0.05) * size
    bat: Color = (215, 214, 212) if rng.random() < 0.7 else (35, 35, 38)
    for share in np.linspace(0, 1, 24):
        knob = disc(r * (0.26 + 0.2 * share))
        put(surface, knob, x + lean * share, y + up * length * share, color=bat,
            height=9 + 12 * share + dome(knob, 4), gloss=0.7)  # fmt: skip
    tip = circle(x + lean, y + up * length, r * 0.46)
    return np.concatenate([circle(x, y, r * 1.12), tip])


def _rocker(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Points:
    w, h = size * 0.62, size
    put(surface, block(w, h, 4), x, y, color=(42, 41, 41), height=4, gloss=0.4, bevel=1.2)
    put(surface, block(w * 0.84, h * 0.86, 2), x, y, color=(20, 20, 20), height=1)
    key = block(w * 0.76, h * 0.8, 2)
    up = -1 if rng.random() < 0.5 else 1
    ramp = np.abs(np.linspace(-1, 1, key.shape[0], dtype=np.float32) * up + 0.25) * 7 + 2
    red = rng.random() < 0.35
    paint: Color = (35, 28, 185) if red else (52, 50, 50)
    lamp = (0.02, 0.02, 0.5) if red and rng.random() < 0.4 else None
    put(surface, key, x, y, color=paint, height=np.repeat(ramp[:, None], key.shape[1], 1),
        gloss=0.6, glow=lamp, bevel=1)  # fmt: skip
    white: Color = (225, 225, 225)
    line(surface, np.array([x, y - h * 0.27]), np.array([x, y - h * 0.15]), white, w * 0.06)
    spot = (round(x), round(y + h * 0.22))
    cv2.circle(
        surface.color, spot, max(2, round(w * 0.1)), white, max(1, round(w * 0.04)), cv2.LINE_AA
    )
    return rectangle(x, y, w, h)


def _knob(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Points:
    r = size * 0.44
    put(surface, disc(r), x, y, color=style.bezel, height=3, gloss=0.4, bevel=1.2)
    a = np.arange(120) * (2 * np.pi / 120)
    edge = r * 0.8 * (1 + 0.035 * np.sign(np.sin(a * 15)))
    grip = np.stack([x + edge * np.cos(a), y + edge * np.sin(a)], 1)
    mask, left, top = polygon(grip)
    surface.stamp(mask, left, top, color=(36, 35, 36), height=13, gloss=0.35, bevel=1.0)
    turn = float(rng.choice([-2.36, -1.57, -0.79, -2.0, -1.1]))
    along = np.array([np.cos(turn), np.sin(turn)])
    center = np.array([x, y])
    side = np.array([-along[1], along[0]]) * r * 0.2
    bar = np.stack([center - along * r * 0.7 - side, center + along * r * 0.8 - side,
                    center + along * r * 0.8 + side, center - along * r * 0.7 + side])  # fmt: skip
    mask, left, top = polygon(bar)
    surface.stamp(mask, left, top, color=(44, 43, 44), height=20, gloss=0.5, bevel=1.2)
    line(surface, center + along * r * 0.3, center + along * r * 0.76, (235, 235, 235), r * 0.1)
    return circle(x, y, r)


def _slide(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Points:
    w, h = size * 0.5, size * 0.92
    put(surface, block(w, h, 3), x, y, color=style.metal, height=2, gloss=0.7, bevel=1)
    put(surface, block(w * 0.56, h * 0.7, 2), x, y, color=(22, 22, 22), height=-4, bevel=0.7)
    up = -1 if rng.random() < 0.5 else 1
    put(surface, block(w * 0.5, h * 0.3, 2), x, y + up * h * 0.18, color=(50, 48, 48), height=8,
        gloss=0.4, bevel=1)  # fmt: skip
    for i in (-1, 0, 1):
        spot = y + up * h * 0.18 + i * h * 0.07
        line(
            surface, np.array([x - w * 0.2, spot]), np.array([x + w * 0.2, spot]), (90, 88, 88), 1.5
        )
    return rectangle(x, y, w, h)
