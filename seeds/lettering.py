"""Letters as masks: free fonts where they are installed, OpenCV's strokes, seven-segment digits."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from edgeq.seeds.surface import Mask, Rng, polygon

# space first; the reader's blank comes before it
CHARSET = " !%+-./0123456789:ABCDEFGHIJKLMNOPQRSTUVWXYZ°abcdefghijklmnopqrstuvwxyz"

# file names of Debian packages: fonts-dejavu-core, -liberation, -freefont-ttf, -roboto-unhinted,
# -lato, -b612, -osifont, -play, -hack
_WANTED = """
DejaVuSans DejaVuSans-Bold DejaVuSansMono-Bold DejaVuSansMono LiberationSans-Regular
LiberationSans-Bold LiberationSansNarrow-Regular LiberationSansNarrow-Bold LiberationMono-Bold
FreeSans FreeSansBold FreeMonoBold RobotoCondensed-Regular RobotoCondensed-Bold Roboto-Regular
Roboto-Medium Roboto-Bold Lato-Regular Lato-Bold B612-Regular B612-Bold B612Mono-Bold osifont
Play-Regular Play-Bold Hack-Regular Hack-Bold
"""
_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts")

STROKES = ("stroke:0", "stroke:2", "stroke:3")  # OpenCV: simplex, duplex, complex


@lru_cache(maxsize=2)
def faces(installed: bool = True) -> tuple[str, ...]:
    """List the faces to draw with: font files in a fixed order, then OpenCV's strokes."""
    found: dict[str, str] = {}
    try:
        import PIL.ImageFont  # noqa: F401
    except ImportError:
        installed = False
    if installed:
        for folder in _FOLDERS:
            for file in sorted(Path(folder).rglob("*.[ot]tf")):
                found.setdefault(file.stem, str(file))
    return (*(found[name] for name in _WANTED.split() if name in found), *STROKES)


def ink(text: str, cap: float, face: str) -> Mask:
    """Draw one line in capitals `cap` pixels high; the mask is cut to the ink."""
    mask = _strokes(text, cap, face) if face.startswith("stroke:") else _font(text, cap, face)
    rows, columns = np.flatnonzero(mask.max(1) > 40), np.flatnonzero(mask.max(0) > 40)
    if not rows.size:
        return np.zeros((1, 1), np.uint8)
    return mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


@lru_cache(maxsize=512)
def _sized(face: str, size: int):  # type: ignore[no-untyped-def]
    from PIL import ImageFont

    return ImageFont.truetype(face, size)


@lru_cache(maxsize=64)
def _ratio(face: str) -> float:
    """Return font size over cap height."""
    _, top, _, bottom = _sized(face, 100).getbbox("H")
    return 100 / float(bottom - top)


def _font(text: str, cap: float, face: str) -> Mask:
    from PIL import Image, ImageDraw

    font = _sized(face, max(6, round(cap * _ratio(face))))
    left, top, right, bottom = font.getbbox(text)
    image = Image.new("L", (int(right - left) + 4, int(bottom - top) + 4), 0)
    ImageDraw.Draw(image).text((2 - left, 2 - top), text, fill=255, font=font)
    return np.array(image)


def _strokes(text: str, cap: float, face: str) -> Mask:
    """Draw with OpenCV; the degree sign, which it lacks, is a ring."""
    code = int(face[-1])
    scale = cap / 21.0
    thick = max(1, round(cap / (9 if code == 0 else 14)))
    parts, x = [], 0
    for piece in text.replace("°", "\0°\0").split("\0"):
        if piece == "°":
            r = max(2, round(cap * 0.17))
            x += r + thick
            parts.append((x, r))
            x += r + 2 * thick
        elif piece:
            parts.append((x, piece))  # type: ignore[arg-type]
            x += cv2.getTextSize(piece, code, scale, thick)[0][0]
    mask = np.zeros((int(cap * 2) + 8, x + 12), np.uint8)
    base = int(cap * 1.35) + 4
    for left, piece in parts:  # type: ignore[assignment]
        if isinstance(piece, str):
            cv2.putText(mask, piece, (left + 4, base), code, scale, 255, thick, cv2.LINE_AA)
        else:
            spot = (left + 4, base - round(cap) + piece)
            cv2.circle(mask, spot, piece, 255, thick, cv2.LINE_AA)
    return mask


#      a
#    f   b
#      g
#    e   c
#      d
_SEGMENTS = {
    "0": "abcdef", "1": "bc", "2": "abged", "3": "abgcd", "4": "fgbc", "5": "afgcd",
    "6": "afgedc", "7": "abc", "8": "abcdefg", "9": "abcdfg", "-": "g", " ": "",
    "E": "afged", "F": "afge", "H": "fbgec", "L": "fed", "P": "abfge", "C": "afed",
    "A": "abcefg", "U": "bcdef", "r": "eg", "o": "gcde", "d": "bcdeg", "n": "egc", "t": "fged",
}  # fmt: skip


def seven_segments(
    text: str, height: float, *, slant: float, thick: float, aspect: float, gap: float
) -> tuple[Mask, Mask]:
    """Draw digits; returns masks (h, w) of the lit and of the dark segments, cut to the digits.

    thick, aspect and gap are in units of the height; slant is dx/dy. `.` and `:` take half a cell.
    """
    h, t, w = height, height * thick, height * aspect
    step = w + height * gap
    pad = 4.0
    runs: list[tuple[str, float]] = []
    x = pad + slant * h
    for char in text:
        if char in ".:":
            narrow = t * 1.9
            runs.append((char, x - height * gap * 0.5 + narrow * 0.1))
            x += narrow * (0.75 if char == "." else 1.0)
        else:
            runs.append((char, x))
            x += step
    shape = (int(h + 2 * pad) + 1, int(x + pad) + 2)
    lit, dark = np.zeros(shape, np.uint8), np.zeros(shape, np.uint8)
    for char, left in runs:
        if char in ".:":
            for y in (h - t * 0.5,) if char == "." else (h * 0.3, h * 0.7):
                box = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * t * 0.52
                _slanted(lit, box + np.array([left + t * 0.5, y]), slant, h, pad)
            continue
        for name, shape_points in _bars(w, h, t).items():
            target = lit if name in _SEGMENTS[char] else dark
            _slanted(target, shape_points + np.array([left, 0]), slant, h, pad)
    both = np.maximum(lit, dark)
    columns = np.flatnonzero(both.max(0) > 40)
    rows = np.flatnonzero(both.max(1) > 40)
    cut = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return lit[cut], dark[cut]


def _bars(w: float, h: float, t: float) -> dict[str, np.ndarray]:
    """Return the seven hexagons of a digit whose corner is (0, 0)."""
    a, g = t / 2, t * 0.12  # half thickness, gap between segments

    def across(y: float) -> np.ndarray:
        return np.array([[a + g, y], [t + g, y - a], [w - t - g, y - a], [w - a - g, y],
                         [w - t - g, y + a], [t + g, y + a]])  # fmt: skip

    def down(x: float, y0: float, y1: float) -> np.ndarray:
        return np.array([[x, y0 + g], [x + a, y0 + a + g], [x + a, y1 - a - g], [x, y1 - g],
                         [x - a, y1 - a - g], [x - a, y0 + a + g]])  # fmt: skip

    m = h / 2
    return {
        "a": across(a), "g": across(m), "d": across(h - a),
        "f": down(a, a, m), "b": down(w - a, a, m), "e": down(a, m, h - a), "c": down(w - a, m, h - a),
    }  # fmt: skip


def _slanted(mask: Mask, points: np.ndarray, slant: float, h: float, pad: float) -> None:
    moved = points + np.stack([(h / 2 - points[:, 1]) * slant, np.full(len(points), pad)], 1)
    part, left, top = polygon(moved)
    x0, y0 = max(0, left), max(0, top)
    part = part[y0 - top :, x0 - left :]
    spot = mask[y0 : y0 + part.shape[0], x0 : x0 + part.shape[1]]
    np.maximum(spot, part[: spot.shape[0], : spot.shape[1]], out=spot)


def code_128(text: str) -> str:
    """Return the bars of a Code 128 symbol (set B, ISO/IEC 15417) as a string of 0 and 1."""
    values = [104, *(ord(char) - 32 for char in text)]
    check = (values[0] + sum(i * v for i, v in enumerate(values))) % 103
    runs = "".join(_PATTERNS[v] for v in [*values, check]) + "2331112"
    return "".join("10"[i % 2] * int(n) for i, n in enumerate(runs))


def _patterns() -> list[str]:
    """List widths of the 106 patterns: three bars and three gaps, 11 modules, ISO/IEC 15417 tab. 1."""
    table = (
        "212222222122222221121223121322131222122213122312132212221213221312231212112232122132"
        "122231113222123122123221223211221132221231213212223112312131311222321122321221312212"
        "322112322211212123212321232121111323131123131321112313132113132311211313231113231311"
        "112133112331132131113123113321133121313121211331231131213113213311213131311123311321"
        "331121312113312311332111314111221411431111111224111422121124121421141122141221112214"
        "112412122114122411142112142211241211221114413111241112134111111242121142121241114212"
        "124112124211411212421112421211212141214121412121111143111341131141114113114311411113"
        "411311113141114131311141411131211412211214211232"
    )
    return [table[i : i + 6] for i in range(0, len(table), 6)]


_PATTERNS = _patterns()


def qr(text: str) -> Mask:
    """Return a QR symbol, one pixel per module, 0 black and 255 white, without quiet zone."""
    code = np.asarray(cv2.QRCodeEncoder.create().encode(text))
    rows, columns = np.flatnonzero(code.min(1) == 0), np.flatnonzero(code.min(0) == 0)
    return np.ascontiguousarray(code[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])


def pick(rng: Rng, options: tuple[str, ...]) -> str:
    """Choose one of the options."""
    return options[int(rng.integers(len(options)))]
