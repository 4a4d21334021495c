"""Lines for people: aligned tables and readable sizes, at most 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 80


def table(head: Sequence[str], rows: Iterable[Sequence[object]], *, width: int = WIDTH) -> str:
    """Align columns: numbers right, text left; the widest text columns are cut to fit `width`.

    A float has three significant digits at least; None is a dash.
    """
    cells = [[_cell(item) for item in row] for row in rows]
    sizes = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    right = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(head))]
    gap = 2
    while sum(sizes) + gap * (len(sizes) - 1) > width:
        widest = max(
            (i for i in range(len(sizes)) if not right[i]), key=sizes.__getitem__, default=0
        )
        if right[widest] or sizes[widest] <= 12:
            break
        sizes[widest] -= 1
    lines = []
    for number, row in enumerate([list(head), ["-" * size for size in sizes], *cells]):
        parts = []
        for i, text in enumerate(row):
            text = cut(text, sizes[i])
            parts.append(text.rjust(sizes[i]) if right[i] and number != 1 else text.ljust(sizes[i]))
        lines.append((" " * gap).join(parts).rstrip())
    return "\n".join(lines)


def markdown(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Write the same table for a README."""
    cells = [[_cell(item).replace("|", "\\|") for item in row] for row in rows]
    right = [bool(cells) and all(_is_number(row[i]) for row in cells) for i in range(len(head))]
    rule = ["---:" if one else "---" for one in right]
    return "\n".join("| " + " | ".join(row) + " |" for row in [list(head), rule, *cells])


def facts(pairs: Iterable[tuple[str, object]], *, indent: int = 0, width: int = WIDTH) -> str:
    """Write `name  value` lines, the values aligned and wrapped between words."""
    texts = [(name, _cell(value)) for name, value in pairs]
    wide = max((len(name) for name, _ in texts), default=0)
    lines = []
    for name, value in texts:
        room = max(20, width - indent - wide - 2)
        parts = textwrap.wrap(value, room, break_long_words=False, break_on_hyphens=False) or [""]
        lines.append(f"{'':{indent}}{name:<{wide}}  {parts[0]}".rstrip())
        lines += [f"{'':{indent + wide + 2}}{part}" for part in parts[1:]]
    return "\n".join(lines)


def size(count: float) -> str:
    """Write a number of bytes: 904 B, 3.66 MB (decimal units)."""
    for unit in ("B", "kB", "MB"):
        if abs(count) < 1000:
            return f"{count:.0f} B" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def count(number: float) -> str:
    """Write a large number: 904, 12.3 k, 523 M, 1.20 G."""
    for unit in ("", " k", " M"):
        if abs(number) < 1000:
            return f"{number:.0f}" if not unit else f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} G"


def plural(number: int, noun: str) -> str:
    """Write `1 picture`, `2 pictures`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def cut(text: str, room: int) -> str:
    """Shorten in the middle, where names differ least."""
    if len(text) <= room:
        return text
    head = (room - 1) // 2
    return f"{text[:head]}…{text[len(text) - (room - 1 - head) :]}"


def _cell(item: object) -> str:
    if item is None:
        return "-"
    if isinstance(item, bool):
        return "yes" if item else "no"
    if isinstance(item, float):
        return (
            f"{item:.0f}"
            if abs(item) >= 1000
            else f"{item:.4g}"
            if abs(item) >= 1
            else f"{item:.4f}"
        )
    return str(item)


def _is_number(text: str) -> bool:
    return text in ("", "-") or text[:1].isdigit() or (text[:1] in "+-" and text[1:2].isdigit())


def percentile(values: Sequence[float], share: float) -> float:
    """Return the value that `share` percent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    rank = -(-len(ordered) * share // 100)
    return ordered[max(0, int(rank) - 1)]
