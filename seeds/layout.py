"""Arrange things on a panel in rows, as panel makers do: instruments, controls, small things."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from edgeq.seeds import objects, stickers, words
from edgeq.seeds.lettering import ink, pick
from edgeq.seeds.objects import CAPS, Part, Style, letter
from edgeq.seeds.surface import Rng, Surface
from edgeq.seeds.switches import draw_switch

Area = tuple[float, float, float, float]  # x0, y0, x1, y1 in canvas pixels


@dataclass(frozen=True, slots=True)
class Item:
    """Something with a size that can be drawn around (x, y)."""

    w: float
    h: float
    draw: Callable[[Surface, float, float], list[Part]]


def layout(rng: Rng, style: Style, area: Area) -> Iterator[tuple[Item, float, float]]:
    """Fill the area with rows of items, as panel makers do."""
    zoom = float(rng.uniform(0.85, 1.35))
    x0, y0, x1, y1 = area
    rows, used = [], 0.0
    for _ in range(12):
        row = _row(rng, style, zoom, x1 - x0, y1 - y0 - used)
        if not row:
            continue
        rows.append(row)
        used += max(item.h for item in row) + 14
        if rng.random() < 0.03:
            break
    rng.shuffle(rows)
    free = max(0.0, (y1 - y0) - used)
    y = y0 + free / (len(rows) + 1) if rows else y0
    for row in rows:
        high = max(item.h for item in row)
        gap = (x1 - x0 - sum(item.w for item in row)) / (len(row) + 1)
        x = x0 + gap
        even = rng.random() < 0.8
        for item in row:
            shift = 0 if even else rng.uniform(-1, 1) * (high - item.h) / 2
            yield item, x + item.w / 2, y + high / 2 + shift
            x += item.w + gap
        y += high + 14 + free / (len(rows) + 1)


def _row(rng: Rng, style: Style, zoom: float, width: float, height: float) -> list[Item]:
    """Choose the items of one row, at most `width` by `height`."""
    row: list[Item] = []
    used, last = 0.0, None
    tall = rng.random()
    full = rng.uniform(0.6, 1.0) * width
    for _ in range(14):
        again = last is not None and rng.random() < 0.5
        make = last if again and last else _choose(rng, style, zoom, tall)
        item = make(rng)
        if item.h > height or used + item.w + 16 > width:
            if row and rng.random() < 0.5:
                break
            continue
        row.append(item)
        last = make
        used += item.w + 16
        if used > full:
            break
    return row


_Maker = Callable[[Rng], Item]


def _choose(rng: Rng, style: Style, zoom: float, tall: float) -> _Maker:
    """Choose a kind of item for a row: instruments, controls, or small things."""
    makers: dict[str, _Maker] = {
        "gauge": partial(_gauge, style, zoom, rng.uniform(125, 190)),
        "display": partial(_display, style, zoom, rng.uniform(60, 92)),
        "button": partial(_button, style, zoom, rng.uniform(46, 70)),
        "switch": partial(_switch, style, zoom, rng.uniform(58, 88)),
        "led": partial(_led, style, zoom, rng.uniform(22, 34)),
        "plate": partial(_plate, style, zoom, rng.uniform(14, 22)),
        "qr": partial(_qr, style, zoom, rng.uniform(84, 130)),
        "barcode": partial(_barcode, style, zoom, rng.uniform(56, 84)),
        "stack": partial(_stack, style, zoom),
    }
    names: tuple[str, ...]
    if tall < 0.4:
        names = ("gauge", "gauge", "gauge", "stack", "stack", "qr", "display")
    elif tall < 0.75:
        names = ("button", "button", "switch", "switch", "display", "qr", "stack")
    else:
        names = ("led", "led", "plate", "plate", "barcode", "button")
    return makers[pick(rng, names)]


def _captioned(
    style: Style,
    zoom: float,
    w: float,
    h: float,
    text: str,
    draw: Callable[..., list[Part]],
    above: bool,
) -> Item:
    """Put print above or below something."""
    cap = 12.5 * zoom**0.5
    wide = ink(text, cap, style.face).shape[1]
    lift = cap * 1.05

    def both(surface: Surface, x: float, y: float) -> list[Part]:
        side = -1 if above else 1
        line = letter(
            surface,
            text,
            x,
            y + side * (h / 2 + 2),
            cap=cap,
            face=style.face,
            color=style.print_color,
        )
        return [*draw(surface, x, y - side * lift), Part("", line.quad, [line])]

    return Item(max(w, wide), h + 2 * lift, both)


def _gauge(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    d = size * zoom**0.7
    return Item(d, d, lambda s, x, y: [objects.draw_gauge(s, rng, style, x, y, d)])


def _display(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    h = size * zoom**0.7
    w = h * rng.uniform(1.9, 2.9)

    def draw(s: Surface, x: float, y: float) -> list[Part]:
        return [objects.draw_display(s, rng, style, x, y, w, h)]

    if rng.random() < 0.35:
        return Item(w, h, draw)
    text = words.rating(rng).split()[-1] if rng.random() < 0.5 else words.caption(rng)
    return _captioned(style, zoom, w, h, text, draw, bool(rng.random() < 0.3))


def _button(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    d = size * zoom**0.7
    color = pick(rng, tuple(CAPS))

    def draw(s: Surface, x: float, y: float) -> list[Part]:
        return [objects.draw_button(s, rng, style, x, y, d, color)]

    if rng.random() < 0.3:
        return Item(d, d, draw)
    return _captioned(style, zoom, d, d, words.caption(rng), draw, bool(rng.random() < 0.4))


def _switch(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    d = size * zoom**0.7

    def draw(s: Surface, x: float, y: float) -> list[Part]:
        return [draw_switch(s, rng, style, x, y, d)]

    if rng.random() < 0.3:
        return Item(d, d, draw)
    return _captioned(style, zoom, d * 0.8, d, words.caption(rng), draw, bool(rng.random() < 0.4))


def _led(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    d = size * zoom**0.5

    def draw(s: Surface, x: float, y: float) -> list[Part]:
        return [objects.draw_led(s, rng, style, x, y, d)]

    if rng.random() < 0.3:
        return Item(d * 1.2, d * 1.2, draw)
    return _captioned(style, zoom, d, d * 1.1, words.caption(rng), draw, bool(rng.random() < 0.3))


def _plate(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    cap = size * zoom**0.5
    text = words.plate(rng)
    look = int(rng.integers(10))
    box = stickers.plate_size(rng, style, text, cap)
    return Item(
        *box, lambda s, x, y: [stickers.draw_plate(s, rng, style, x, y, text, cap, box, look)]
    )


def _qr(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    d = size * zoom**0.6
    return Item(d * 1.15, d * 1.3, lambda s, x, y: [stickers.draw_qr(s, rng, style, x, y, d)])


def _barcode(style: Style, zoom: float, size: float, rng: Rng) -> Item:
    h = size * zoom**0.6
    w = max(150.0, h * rng.uniform(1.9, 3.0))
    return Item(
        w * 1.05, h * 1.15, lambda s, x, y: [stickers.draw_barcode(s, rng, style, x, y, w, h)]
    )


def _stack(style: Style, zoom: float, rng: Rng) -> Item:
    """Put two or three low things above each other."""
    makers = (
        partial(_display, style, zoom, 70.0), partial(_plate, style, zoom, 17.0),
        partial(_barcode, style, zoom, 62.0), partial(_plate, style, zoom, 15.0), partial(_led, style, zoom, 28.0),
    )  # fmt: skip
    items = [makers[int(rng.integers(len(makers)))](rng) for _ in range(int(rng.integers(2, 4)))]
    gap = 14.0
    high = sum(item.h for item in items) + gap * (len(items) - 1)

    def draw(surface: Surface, x: float, y: float) -> list[Part]:
        parts, top = [], y - high / 2
        for item in items:
            parts += item.draw(surface, x, top + item.h / 2)
            top += item.h + gap
        return parts

    return Item(max(item.w for item in items), high, draw)
