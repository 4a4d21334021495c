"""The task card: what a picture goes through before and after the network.

A card travels as TOML beside a model and as JSON inside an `.edgeq` file. Both are untrusted: every
number, text and list has a bound, unknown keys are refused, and a card that exists is a valid card.
"""

from __future__ import annotations

import re
import reprlib
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

from edgeq.errors import CardError

MAX_LABELS = 65_536
MAX_CARD_BYTES = 1 << 20

# control characters drive the terminal that prints a label; lone surrogates have no UTF-8
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")

METRICS = {
    "classification": ("top1", "top5"),
    "text_direction": ("top1",),
    "detection": ("ap", "ap50"),
    "text_detection": ("hmean", "precision", "recall"),
    "text_recognition": ("exact", "cer"),
}
TASKS = tuple(METRICS)

Rule = Callable[[object], Any]
T = TypeVar("T")


def _integer(low: int, high: int) -> Rule:
    def read(value: object) -> int:
        if type(value) is not int or not low <= value <= high:
            raise ValueError(f"must be an integer {low}..{high}")
        return value

    return read


def _number(low: float, high: float) -> Rule:
    def read(value: object) -> float:
        # the comparison refuses NaN; a huge int is compared before it is converted
        if type(value) not in (int, float) or not low <= value <= high:  # type: ignore[operator]
            raise ValueError(f"must be a number {low:g}..{high:g}")
        return float(value)  # type: ignore[arg-type]

    return read


def _text(limit: int) -> Rule:
    def read(value: object) -> str:
        if type(value) is not str or len(value) > limit or _UNPRINTABLE.search(value):
            raise ValueError(f"must be text of at most {limit} printable characters")
        return value

    return read


def _choice(*options: str) -> Rule:
    def read(value: object) -> str:
        if type(value) is not str or value not in options:
            raise ValueError(f"must be one of {', '.join(map(repr, options))}")
        return value

    return read


def _boolean(value: object) -> bool:
    if type(value) is not bool:
        raise ValueError("must be true or false")
    return value


def _tuple(rule: Rule, low: int, high: int) -> Rule:
    def read(value: object) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple) or not low <= len(value) <= high:
            raise ValueError(f"must be a list of {low if low == high else f'{low}..{high}'} items")
        try:
            return tuple(map(rule, value))
        except ValueError as broken:
            raise ValueError(f"every item {broken}") from None

    return read


def _key(rule: Rule, **default: Any) -> Any:
    return field(metadata={"rule": rule}, **default)


def _refuse(where: str, rule: str, value: object) -> NoReturn:
    """Raise the one kind of error that a broken card gives."""
    raise CardError(f"{where}: {rule}, got {reprlib.repr(value)}. Correct the task card.")


class _Checked:
    """Checks every field against its rule when a card part is made, also by `replace`."""

    __slots__ = ()
    where: ClassVar[str]

    def __post_init__(self) -> None:
        for item in fields(self):  # type: ignore[arg-type]
            value = getattr(self, item.name)
            try:
                object.__setattr__(self, item.name, item.metadata["rule"](value))
            except ValueError as broken:
                _refuse(f"{self.where} {item.name}", str(broken), value)
        self._check()

    def _check(self) -> None:
        """Refuse fields that contradict each other."""


_CHANNELS = _tuple(_number(-1e6, 1e6), 3, 3)
_NAME = _text(256)


@dataclass(frozen=True, slots=True)
class Input(_Checked):
    """Say how a picture becomes the input tensor.

    resize: `stretch`; `letterbox_topleft`, `letterbox_center` (keep aspect, pad); `crop` (short
    side to `short_side`, then the centre); `text_line` (to the height, squeezed if wider than the
    tensor, padded right if narrower).
    interpolation: `linear`, `area`, or `auto` (area when shrinking, linear when growing).
    rounding: of the resized sides. pad: value of the border, in `pixels` (0..255, then normalised
    like the picture) or in `tensor` units (after normalisation). The tensor is (x - mean) / std per
    channel in the model's channel order, x in 0..255.
    """

    where: ClassVar[str] = "card input"
    height: int = _key(_integer(1, 4096))
    width: int = _key(_integer(1, 4096))
    color: str = _key(_choice("rgb", "bgr"))
    resize: str = _key(
        _choice("stretch", "letterbox_topleft", "letterbox_center", "crop", "text_line")
    )
    mean: tuple[float, float, float] = _key(_CHANNELS, default=(0.0, 0.0, 0.0))
    std: tuple[float, float, float] = _key(_tuple(_number(1e-6, 1e6), 3, 3), default=(1.0,) * 3)
    interpolation: str = _key(_choice("linear", "area", "auto"), default="linear")
    rounding: str = _key(_choice("round", "floor"), default="round")
    short_side: int = _key(_integer(0, 8192), default=0)
    pad: float = _key(_number(-1e6, 1e6), default=0.0)
    pad_unit: str = _key(_choice("pixels", "tensor"), default="tensor")

    def _check(self) -> None:
        least = max(self.height, self.width) if self.resize == "crop" else 0
        if self.short_side < least or (least == 0 and self.short_side):
            rule = f"must be at least {least}" if least else "belongs to resize = 'crop' only"
            _refuse(f"{self.where} short_side", rule, self.short_side)
        if self.pad_unit == "pixels" and not 0 <= self.pad <= 255:
            _refuse(f"{self.where} pad", "must be 0..255 in pixels", self.pad)


@dataclass(frozen=True, slots=True)
class _Boxes(_Checked):
    """Fields that all box decoders share: `score` and `nms` (IoU) thresholds, boxes to `keep`."""

    where: ClassVar[str] = "card decode"
    strides: tuple[int, ...] = _key(_tuple(_integer(1, 1024), 1, 8))
    score: float = _key(_number(0, 1))
    nms: float = _key(_number(0, 1))
    keep: int = _key(_integer(1, 1000), default=100)


@dataclass(frozen=True, slots=True)
class Yolox(_Boxes):
    """Decode one (1, cells, 5 + classes) output: x, y, w, h on the grid, objectness, classes."""

    kind: ClassVar[str] = "yolox"
    output: str = _key(_NAME, default="")


@dataclass(frozen=True, slots=True)
class NanoDet(_Boxes):
    """Decode per stride a (1, cells, classes) score and a (1, cells, 4 * bins) distance output."""

    kind: ClassVar[str] = "nanodet"
    scores: tuple[str, ...] = _key(_tuple(_NAME, 1, 8), default=())
    boxes: tuple[str, ...] = _key(_tuple(_NAME, 1, 8), default=())
    bins: int = _key(_integer(2, 64), default=8)

    def _check(self) -> None:
        if not len(self.scores) == len(self.boxes) == len(self.strides):
            got = (len(self.scores), len(self.boxes), len(self.strides))
            _refuse(self.where, "scores, boxes and strides must be equally many", got)


@dataclass(frozen=True, slots=True)
class TopK(_Checked):
    """Decode class scores; the first `background` of them mean nothing, `logits` need a softmax."""

    where: ClassVar[str] = "card decode"
    kind: ClassVar[str] = "top_k"
    output: str = _key(_NAME, default="")
    logits: bool = _key(_boolean, default=False)
    background: int = _key(_integer(0, 1), default=0)
    k: int = _key(_integer(1, 1000), default=5)


@dataclass(frozen=True, slots=True)
class Ctc(_Checked):
    """Decode one text line greedily; `time_axis` of the (1, ., .) output is 1 or 2."""

    where: ClassVar[str] = "card decode"
    kind: ClassVar[str] = "ctc"
    blank: int = _key(_integer(0, MAX_LABELS - 1))
    time_axis: int = _key(_integer(1, 2))
    output: str = _key(_NAME, default="")
    logits: bool = _key(_boolean, default=False)


@dataclass(frozen=True, slots=True)
class Db(_Checked):
    """Decode a (1, 1, h, w) text probability: regions over `threshold` whose mean reaches `score`.

    Rectangles grow by area * unclip / perimeter on each side; `min_side` is in map pixels.
    """

    where: ClassVar[str] = "card decode"
    kind: ClassVar[str] = "db"
    threshold: float = _key(_number(0, 1))
    score: float = _key(_number(0, 1))
    unclip: float = _key(_number(0, 10))
    min_side: float = _key(_number(1, 100), default=3.0)
    keep: int = _key(_integer(1, 5000), default=1000)
    output: str = _key(_NAME, default="")


Decode = Yolox | NanoDet | TopK | Ctc | Db
KINDS: dict[str, type[Decode]] = {cls.kind: cls for cls in (Yolox, NanoDet, TopK, Ctc, Db)}
_TASK_OF: dict[type[Decode], tuple[str, ...]] = {
    Yolox: ("detection",),
    NanoDet: ("detection",),
    TopK: ("classification", "text_direction"),
    Ctc: ("text_recognition",),
    Db: ("text_detection",),
}


def _part(cls: type[T]) -> Rule:
    def read(value: object) -> T:
        if not isinstance(value, cls):
            raise ValueError("must be a table")
        return value

    return read


@dataclass(frozen=True, slots=True)
class TaskCard(_Checked):
    """Hold the whole contract of one model.

    labels: text per class index (after the background); for `ctc` the blank's text is never shown.
    truth: `natural`, or `coco_person` (class 1: a person box covers over 0.5 % of the picture).
    compare: text is compared `literal` or `loose` (case and spaces ignored).
    licence, accuracy: one line each, for people. metric: the one number that ranks this model.
    """

    where: ClassVar[str] = "card"
    task: str = _key(_choice(*TASKS))
    input: Input = _key(_part(Input))
    decode: Decode = _key(_part(_Checked))
    metric: str = _key(_choice(*sorted({m for names in METRICS.values() for m in names})))
    labels: tuple[str, ...] = _key(_tuple(_text(256), 0, MAX_LABELS), default=())
    licence: str = _key(_text(500), default="")
    accuracy: str = _key(_text(500), default="")
    truth: str = _key(_choice("natural", "coco_person"), default="natural")
    compare: str = _key(_choice("literal", "loose"), default="literal")

    def _check(self) -> None:
        if self.task not in _TASK_OF.get(type(self.decode), ()):
            kinds = [cls.kind for cls, tasks in _TASK_OF.items() if self.task in tasks]
            _refuse(
                "card decode kind", f"must be {' or '.join(kinds)} for {self.task}", self.decode
            )
        if self.metric not in METRICS[self.task]:
            rule = f"must be {' or '.join(METRICS[self.task])} for {self.task}"
            _refuse("card metric", rule, self.metric)
        if self.truth == "coco_person" and self.task != "classification":
            _refuse("card truth", "coco_person belongs to classification only", self.task)
        if isinstance(self.decode, Ctc) and self.decode.blank >= len(self.labels):
            rule = f"must be an index of labels (there are {len(self.labels)})"
            _refuse("card decode blank", rule, self.decode.blank)

    def label(self, index: int) -> str:
        """Name class `index`; a class without a label is named by its number."""
        return self.labels[index] if 0 <= index < len(self.labels) else str(index)

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON-able values that `from_dict` reads back to an equal card."""
        card = asdict(self)
        return {key: _plain(value) for key, value in card.items()} | {
            "decode": {"kind": self.decode.kind, **_plain(asdict(self.decode))}
        }

    @staticmethod
    def from_dict(raw: object) -> TaskCard:
        """Read a card from untrusted plain values.

        Raises CardError that names the key if it is unknown, missing, mistyped or out of bounds.
        """
        table = dict(_mapping(raw, "card"))
        if "input" in table:
            table["input"] = _build(Input, table["input"])
        if "decode" in table:
            decode = dict(_mapping(table["decode"], "card decode"))
            kind = decode.pop("kind", None)
            if not isinstance(kind, str) or kind not in KINDS:
                _refuse("card decode kind", f"must be one of {', '.join(KINDS)}", kind)
            table["decode"] = _build(KINDS[kind], decode)
        return _build(TaskCard, table)

    @staticmethod
    def from_toml(path: str | Path, *, labels_dir: Path | None = None) -> TaskCard:
        """Read the `[card]` table of a TOML file.

        There `labels` is a list, or the name of a text file (one label a line, UTF-8) in
        `labels_dir`, by default beside the card. Raises CardError as `from_dict` does.
        """
        path = Path(path)
        try:
            raw = tomllib.loads(_read(path))
        except tomllib.TOMLDecodeError as broken:
            raise CardError(f"{path}: must be TOML, {broken}. Correct the task card.") from None
        card = raw.get("card")
        if card is None:
            raise CardError(f"{path}: must have a [card] table, has none. Add it.")
        try:
            if isinstance(card, dict) and isinstance(card.get("labels"), str):
                name = card["labels"]
                if Path(name).name != name:
                    _refuse("card labels", "must be a plain file name", name)
                text = _read((labels_dir or path.parent) / name)
                card["labels"] = text.removesuffix("\n").split("\n")
            return TaskCard.from_dict(card)
        except CardError as broken:
            raise CardError(f"{path}: {broken}") from None


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_CARD_BYTES:
            raise CardError(f"{path}: must be at most {MAX_CARD_BYTES} bytes. Shorten it.")
        return path.read_text(encoding="utf-8")
    except OSError as broken:
        raise CardError(f"{path}: cannot be read, {broken.strerror}. Check the path.") from None
    except UnicodeDecodeError:
        raise CardError(f"{path}: must be UTF-8 text. Save it so.") from None


def _mapping(raw: object, where: str) -> Mapping[str, Any]:
    if not isinstance(raw, Mapping) or not all(isinstance(key, str) for key in raw):
        _refuse(where, "must be a table", raw)
    return raw


def _build(cls: type[T], raw: object) -> T:
    where = cls.where  # type: ignore[attr-defined]
    table = _mapping(raw, where)
    known = {item.name: item for item in fields(cls)}  # type: ignore[arg-type]
    for key in table:
        if key not in known:
            _refuse(where, f"has only the keys {', '.join(known)}", key)
    for name, item in known.items():
        if name not in table and item.default is MISSING:
            raise CardError(f"{where} {name}: must be given, is missing. Correct the task card.")
    return cls(**table)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
