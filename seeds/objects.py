"""The things on a panel: gauges, seven-segment displays, buttons, switches, LEDs, and their print.

Every drawing function stamps one object into a Surface around (x, y) and returns a Part: its kind,
its exact outline and the text it carries, in canvas pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from edgeq.seeds.lettering import ink, pick, seven_segments
from edgeq.seeds.surface import (
    SHIFT,
    Color,
    Rng,
    Surface,
    block,
    centered,
    disc,
    dome,
    polygon,
    ring,
)
from edgeq.seeds.words import gauge_scale, reading

KINDS = ("gauge", "display", "button", "switch", "led", "qr_code", "barcode", "label_plate")

Points = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Text:
    """One line: what it says, its corners (4, 2) from the top left clockwise, and what it is on.

    place: panel, display, gauge, label_plate or barcode.
    """

    text: str
    quad: Points
    place: str
    cap: float  # height of a capital in pixels


@dataclass(frozen=True, slots=True)
class Part:
    """One drawn object; kind is empty for print that belongs to nothing."""

    kind: str
    outline: Points
    lines: list[Text] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Style:
    """What all objects of one panel share: their maker's taste."""

    face: str
    face_two: str
    print_color: Color
    dark: bool  # the panel
    bezel: Color
    metal: Color
    glass: float
    round_buttons: bool
    switch: str
    square_gauge: bool
    led_bezel: bool
    display_tint: str


METALS: tuple[Color, ...] = ((205, 203, 200), (168, 166, 165), (120, 150, 170), (90, 92, 96))
LAMPS: dict[str, Color] = {
    "red": (30, 25, 225), "green": (60, 200, 40), "amber": (20, 150, 250),
    "blue": (240, 120, 30), "white": (240, 240, 240), "yellow": (30, 215, 250),
}  # fmt: skip
CAPS: dict[str, Color] = {
    "red": (38, 32, 190), "green": (70, 140, 40), "yellow": (30, 190, 235), "black": (38, 36, 36),
    "blue": (170, 85, 30), "white": (225, 228, 228), "grey": (130, 130, 128),
}  # fmt: skip


def circle(x: float, y: float, radius: float, count: int = 48) -> Points:
    """Return points on a circle: (count, 2)."""
    a = np.arange(count) * (2 * np.pi / count)
    return np.stack([x + radius * np.cos(a), y + radius * np.sin(a)], 1)


def rectangle(x: float, y: float, w: float, h: float) -> Points:
    """Return the corners of a rectangle around (x, y), clockwise from the top left: (4, 2)."""
    return np.array([[-w, -h], [w, -h], [w, h], [-w, h]]) / 2 + (x, y)


def put(
    surface: Surface, mask: NDArray[np.uint8], x: float, y: float, **values: object
) -> tuple[int, int]:
    """Stamp a mask with its middle at (x, y); returns its corner."""
    left, top = centered(mask, x, y)
    surface.stamp(mask, left, top, **values)  # type: ignore[arg-type]
    return left, top


def line(surface: Surface, a: Points, b: Points, color: Color, width: float) -> None:
    """Draw a straight line on the colour layer with soft edges."""
    if width < 2.2:
        p, q = (tuple(int(v) for v in np.round(e * (1 << SHIFT))) for e in (a, b))
        cv2.line(surface.color, p, q, color, max(1, round(width)), cv2.LINE_AA, SHIFT)
        return
    along = (b - a) / (np.hypot(*(b - a)) + 1e-9)
    side = np.array([-along[1], along[0]]) * width / 2
    bar = np.round(np.stack([a + side, b + side, b - side, a - side]) * (1 << SHIFT))
    cv2.fillPoly(surface.color, [bar.astype(np.int32)], color, cv2.LINE_AA, SHIFT)


def letter(
    surface: Surface,
    text: str,
    x: float,
    y: float,
    *,
    cap: float,
    face: str,
    color: Color,
    place: str = "panel",
    raised: float | None = None,
    width: float = 1e9,
) -> Text:
    """Print one line with its ink centred at (x, y), smaller if it is wider than `width`."""
    mask = ink(text, cap, face)
    if mask.shape[1] > width:
        cap *= width / mask.shape[1]
        mask = ink(text, cap, face)
    left, top = put(surface, mask, x, y, color=color, raised=raised)
    h, w = mask.shape
    return Text(text, rectangle(left + w / 2, top + h / 2, w, h), place, cap)


def screw(surface: Surface, rng: Rng, x: float, y: float, radius: float, metal: Color) -> None:
    """Draw a pan head screw with a slot or a cross."""
    head = disc(radius)
    put(surface, head, x, y, color=metal, height=dome(head, radius * 0.45), gloss=0.75, bevel=0.6)
    turn = rng.uniform(0, np.pi)
    for more in (0.0,) if rng.random() < 0.4 else (0.0, np.pi / 2):
        along = np.array([np.cos(turn + more), np.sin(turn + more)]) * radius * 0.72
        side = np.array([-along[1], along[0]]) * 0.2
        c = np.array([x, y])
        slot, left, top = polygon(np.stack([c - along - side, c + along - side,
                                            c + along + side, c - along + side]))  # fmt: skip
        surface.stamp(slot, left, top, color=(45, 45, 48), raised=-radius * 0.3, gloss=0.1)


def draw_gauge(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Part:
    """Draw a round pointer instrument, `size` across."""
    outline = circle(x, y, size / 2)
    r = size / 2
    if style.square_gauge:
        put(surface, block(size, size, size * 0.06), x, y,
            color=style.bezel, height=7, gloss=0.35, bevel=1.5)  # fmt: skip
        outline = rectangle(x, y, size, size)
        for dx in (-1, 1):
            for dy in (-1, 1):
                screw(surface, rng, x + dx * r * 0.84, y + dy * r * 0.84, r * 0.07, style.metal)
        r *= 0.93
    rim = style.metal if rng.random() < 0.5 else style.bezel
    put(
        surface,
        disc(r),
        x,
        y,
        color=rim,
        height=10,
        gloss=0.8 if rim == style.metal else 0.4,
        bevel=2.2,
    )
    r *= rng.uniform(0.84, 0.92)
    night = rng.random() < 0.25
    plate: Color = (
        (32, 30, 30)
        if night
        else pick_color(rng, ((236, 240, 242), (220, 232, 238), (246, 246, 246)))
    )
    pen: Color = (235, 235, 235) if night else (28, 26, 26)
    put(surface, disc(r), x, y, color=plate, height=1, gloss=0.1, glass=style.glass, bevel=1.2)
    labels, unit = gauge_scale(rng)
    start, sweep = (135.0, 270.0) if rng.random() < 0.7 else (180.0, 180.0)
    center = np.array([x, y])

    def at(share: float, radius: float) -> Points:
        a = np.deg2rad(start + sweep * share)
        return center + np.array([np.cos(a), np.sin(a)]) * radius

    if rng.random() < 0.5:
        low = rng.uniform(0.6, 0.85)
        _zone(surface, x, y, r * 0.84, start + sweep * low, start + sweep, (40, 35, 205), r * 0.07)
        if rng.random() < 0.5:
            _zone(
                surface,
                x,
                y,
                r * 0.84,
                start + sweep * 0.3,
                start + sweep * low,
                (70, 160, 60),
                r * 0.07,
            )
    parts = int(rng.choice([2, 4, 5])) if r > 45 else 2
    count = (len(labels) - 1) * parts
    for i in range(count + 1):
        major = i % parts == 0
        line(surface, at(i / count, r * (0.76 if major else 0.83)), at(i / count, r * 0.92), pen,
             r * (0.032 if major else 0.014))  # fmt: skip
    lines = []
    for i, label in enumerate(labels):
        spot = at(i / (len(labels) - 1), r * 0.6)
        letter(
            surface,
            label,
            *spot,
            cap=r * 0.125,
            face=style.face_two,
            color=pen,
            width=r * (0.42 if sweep > 200 else 0.3),
        )
    lines.append(letter(surface, unit, x, y + r * 0.44, cap=r * rng.uniform(0.16, 0.2), face=style.face,
                        color=pen, place="gauge", width=r * 0.5))  # fmt: skip
    _needle(surface, rng, center, np.deg2rad(start + sweep * rng.uniform(0.03, 0.97)), r, night)
    return Part("gauge", outline, lines)


def pick_color(rng: Rng, options: tuple[Color, ...]) -> Color:
    """Choose a colour."""
    return options[int(rng.integers(len(options)))]


def _zone(
    surface: Surface,
    x: float,
    y: float,
    radius: float,
    a: float,
    b: float,
    color: Color,
    width: float,
) -> None:
    center = (round(x * (1 << SHIFT)), round(y * (1 << SHIFT)))
    axes = (round(radius * (1 << SHIFT)),) * 2
    cv2.ellipse(
        surface.color, center, axes, 0, a, b, color, max(1, round(width)), cv2.LINE_AA, SHIFT
    )


def _needle(
    surface: Surface, rng: Rng, center: Points, angle: float, r: float, night: bool
) -> None:
    along = np.array([np.cos(angle), np.sin(angle)])
    side = np.array([-along[1], along[0]])
    w = r * rng.uniform(0.025, 0.05)
    hand = np.stack([center - along * r * 0.2 + side * w * 1.3, center + along * r * 0.8 + side * w * 0.2,
                     center + along * r * 0.8 - side * w * 0.2, center - along * r * 0.2 - side * w * 1.3])  # fmt: skip
    red, plain = (30, 30, 205), (230, 230, 230) if night else (25, 25, 25)
    mask, left, top = polygon(hand)
    surface.stamp(mask, left, top, color=red if rng.random() < 0.5 else plain, height=6, gloss=0.2)
    hub = disc(r * rng.uniform(0.07, 0.12))
    put(surface, hub, *center, color=(40, 40, 42), height=6 + dome(hub, 3), gloss=0.5)


def draw_display(
    surface: Surface, rng: Rng, style: Style, x: float, y: float, width: float, height: float
) -> Part:
    """Draw a seven-segment display in its bezel."""
    frame: Color = style.bezel if rng.random() < 0.7 else (48, 46, 45)
    put(surface, block(width, height, height * rng.uniform(0.03, 0.12)), x, y,
        color=frame, height=6, gloss=0.35, bevel=1.6)  # fmt: skip
    rim = height * rng.uniform(0.08, 0.13)
    w, h = width - 2 * rim, height - 2 * rim
    crystal = style.display_tint == "lcd"
    if crystal:
        ground: Color = pick_color(
            rng, ((140, 168, 158), (165, 178, 172), (120, 160, 150), (190, 150, 90))
        )
        lit_color: Color = (44, 48, 42)
        lamp = None
    else:
        tint = LAMPS[style.display_tint]
        ground = tuple(int(8 + c * 0.05) for c in tint)  # type: ignore[assignment]
        lit_color = tuple(int(c * 0.75 + 60) for c in tint)  # type: ignore[assignment]
        power = rng.uniform(0.5, 1.1)
        lamp = tuple((c / 255) ** 1.6 * power + 0.02 for c in tint)
    pane = block(w, h, 3)
    put(surface, pane, x, y, color=ground, height=2, gloss=0.1, glass=style.glass, bevel=0.8)
    text = reading(rng)
    tall = h * rng.uniform(0.62, 0.76)
    shape = {"slant": float(rng.choice([0.0, 0.08, 0.14])), "thick": rng.uniform(0.11, 0.17),
             "aspect": rng.uniform(0.5, 0.62), "gap": rng.uniform(0.1, 0.2)}  # fmt: skip
    lit, dark = seven_segments(text, tall, **shape)
    if lit.shape[1] > w * 0.92:
        tall *= w * 0.92 / lit.shape[1]
        lit, dark = seven_segments(text, tall, **shape)
    ghost: Color = tuple(int(g * 0.9 + c * 0.08) for g, c in zip(ground, lit_color, strict=True))  # type: ignore[assignment]
    slack = max(0.0, (w * 0.94 - lit.shape[1]) / 2)
    cx = x + rng.uniform(-0.3, 1.0) * slack
    if rng.random() < 0.7:
        put(surface, dark, cx, y, color=ghost)
    left, top = put(surface, lit, cx, y, color=lit_color, glow=lamp)
    quad = rectangle(left + lit.shape[1] / 2, top + lit.shape[0] / 2, lit.shape[1], lit.shape[0])
    return Part(
        "display", rectangle(x, y, width, height), [Text(text.strip(), quad, "display", tall)]
    )


def draw_button(
    surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float, color: str
) -> Part:
    """Draw a push button, `size` across, round or square as the maker likes."""
    paint, r = CAPS[color], size / 2
    lit = rng.random() < 0.2 and color in ("red", "green", "blue", "white", "yellow")
    lamp = tuple((c / 255) ** 2 * 0.5 for c in paint) if lit else None
    rim = style.metal if rng.random() < 0.5 else style.bezel
    shine = 0.8 if rim == style.metal else 0.35
    if style.round_buttons:
        put(surface, disc(r), x, y, color=rim, height=5, gloss=shine, bevel=1.5)
        put(surface, disc(r * 0.82), x, y, color=(25, 25, 26), height=1, bevel=0.8)
        cap = disc(r * rng.uniform(0.7, 0.78))
        mushroom = color == "red" and rng.random() < 0.4
        if mushroom:
            cap = disc(r * 0.94)
        shape = dome(cap, 5 if mushroom else rng.choice([-2.0, 1.0, 2.5]))
        put(surface, cap, x, y, color=paint, height=(16 if mushroom else 9) + shape,
            gloss=rng.uniform(0.3, 0.7), glow=lamp, bevel=1.6)  # fmt: skip
        return Part("button", circle(x, y, r))
    corner = size * 0.1
    put(surface, block(size, size, corner), x, y, color=rim, height=5, gloss=shine, bevel=1.5)
    put(
        surface,
        block(size * 0.86, size * 0.86, corner),
        x,
        y,
        color=(25, 25, 26),
        height=1,
        bevel=0.8,
    )
    key = block(size * 0.76, size * 0.76, corner)
    put(surface, key, x, y, color=paint, height=9 + dome(key, rng.choice([-2.0, 1.5])),
        gloss=rng.uniform(0.3, 0.6), glow=lamp, bevel=1.8)  # fmt: skip
    return Part("button", rectangle(x, y, size, size))


def draw_led(surface: Surface, rng: Rng, style: Style, x: float, y: float, size: float) -> Part:
    """Draw a lamp, lit or dark, `size` across."""
    r = size / 2
    name = pick(rng, ("red", "red", "green", "green", "amber", "blue", "white", "yellow"))
    tint, on = LAMPS[name], rng.random() < 0.55
    if style.led_bezel:
        rim = style.metal if style.round_buttons else (40, 40, 42)
        put(surface, ring(r, r * 0.7), x, y, color=rim, height=5, gloss=0.85, bevel=1)
        lens = disc(r * 0.72)
    else:
        lens = disc(r)
    shade = 0.85 if on else rng.uniform(0.3, 0.5)
    paint = tuple(int(c * shade + 12) for c in tint)
    put(surface, lens, x, y, color=paint, height=3 + dome(lens, 5), gloss=0.95)
    if on:
        power = rng.uniform(0.5, 1.6)
        core = disc(r * 0.42)
        glow = tuple((c / 255) ** 1.5 * power for c in tint)
        put(surface, lens, x, y, glow=tuple(g * 0.5 for g in glow))
        put(surface, core, x, y, glow=tuple(g + 0.25 * power for g in glow))
    return Part("led", circle(x, y, r))
