"""The recipe: what the quantizer is asked to do. Frozen, validated, TOML in and out."""

from __future__ import annotations

import json
import reprlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NoReturn

from edgeq.errors import QuantizeError

MAX_RECIPE_BYTES = 1 << 20
MAX_OVERRIDES = 1000

WEIGHT_RANGES = ("maxabs", "mse")
GRANULARITIES = ("per_channel", "per_tensor")
RANGES = ("mse", "minmax")
HEADS = ("int16", "int8")
WIDTHS = ("int8", "int16")
WEIGHT_BITS = (8, 4)
KEPT = ("first", "last", "depthwise")


@dataclass(frozen=True, slots=True)
class Weights:
    """How constants of Conv-like nodes are stored: symmetric integers per output channel.

    keep8: what stays 8 bits beside 4: the first layers, those no weighted node comes before; the
    last, those none comes after; depthwise kernels.
    """

    bits: int = 8
    granularity: str = "per_channel"
    range: str = "maxabs"
    keep8: tuple[str, ...] = KEPT

    def __post_init__(self) -> None:
        _one_of("weights bits", self.bits, WEIGHT_BITS)
        if not isinstance(self.keep8, list | tuple):
            _refuse("weights keep8", "must be a list", self.keep8)
        for one in self.keep8:
            _one_of("weights keep8", one, KEPT)
        object.__setattr__(self, "keep8", tuple(self.keep8))
        _one_of("weights granularity", self.granularity, GRANULARITIES)
        _one_of("weights range", self.range, WEIGHT_RANGES)


@dataclass(frozen=True, slots=True)
class Activations:
    """How computed values are stored.

    range: of int8 values per tensor. per_channel_depthwise: own scales per channel where only
    depthwise convolutions read. heads: width of values that flow only into outputs.
    input_range: reals that 0 and 255 of a picture stand for after normalisation; by default what
    the samples showed.
    """

    range: str = "mse"
    per_channel_depthwise: bool = True
    heads: str = "int16"
    input_range: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        _one_of("activations range", self.range, RANGES)
        _one_of("activations per_channel_depthwise", self.per_channel_depthwise, (False, True))
        _one_of("activations heads", self.heads, HEADS)
        if self.input_range is not None:
            object.__setattr__(self, "input_range", _input_range(self.input_range))


@dataclass(frozen=True, slots=True)
class Override:
    """An exception for the values or nodes whose name fits the pattern `match` (`*`, `?`, `[ab]`).

    A node's name stands for its output and its weights. None leaves the recipe's general choice.
    """

    match: str
    activation: str | None = None
    range: str | None = None
    per_channel: bool | None = None
    weight_range: str | None = None
    weight_bits: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.match, str) or not 0 < len(self.match) <= 1000:
            _refuse("override match", "must be a name pattern of 1..1000 characters", self.match)
        _one_of("override activation", self.activation, (None, *WIDTHS))
        _one_of("override range", self.range, (None, *RANGES))
        _one_of("override per_channel", self.per_channel, (None, False, True))
        _one_of("override weight_range", self.weight_range, (None, *WEIGHT_RANGES))
        _one_of("override weight_bits", self.weight_bits, (None, *WEIGHT_BITS))


@dataclass(frozen=True, slots=True)
class Recipe:
    """All settings of one quantization; the defaults are the preset `int8`."""

    name: str = "int8"
    weights: Weights = field(default_factory=Weights)
    activations: Activations = field(default_factory=Activations)
    bias_correction: bool = True
    overrides: tuple[Override, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not 0 < len(self.name) <= 100:
            _refuse("recipe name", "must be a text of 1..100 characters", self.name)
        _one_of("recipe bias_correction", self.bias_correction, (False, True))
        if len(self.overrides) > MAX_OVERRIDES:
            _refuse("recipe overrides", f"must be at most {MAX_OVERRIDES}", len(self.overrides))

    @staticmethod
    def preset(name: str) -> Recipe:
        """Return a named recipe. Raises QuantizeError for an unknown name."""
        if name not in PRESETS:
            _refuse("recipe preset", f"must be one of {', '.join(PRESETS)}", name)
        return PRESETS[name]

    @staticmethod
    def from_toml(text: str) -> Recipe:
        """Read a recipe from TOML text. Raises QuantizeError that names the key for anything wrong."""
        try:
            return _recipe(tomllib.loads(text))
        except tomllib.TOMLDecodeError as broken:
            raise QuantizeError(f"recipe: must be TOML, {broken}. Correct it.") from None

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe file; see `from_toml`."""
        try:
            if Path(path).stat().st_size > MAX_RECIPE_BYTES:
                raise QuantizeError(
                    f"{path}: must be at most {MAX_RECIPE_BYTES} bytes. Shorten it."
                )
            return Recipe.from_toml(Path(path).read_text(encoding="utf-8"))
        except OSError as broken:
            raise QuantizeError(
                f"{path}: cannot be read, {broken.strerror}. Check the path."
            ) from None
        except UnicodeDecodeError:
            raise QuantizeError(f"{path}: must be UTF-8 text. Save it so.") from None

    def to_toml(self) -> str:
        """Return TOML text that `from_toml` reads back to an equal recipe."""
        parts = [_table("", {"name": self.name, "bias_correction": self.bias_correction})]
        parts += [
            _table("[weights]", _plain(self.weights)),
            _table("[activations]", _plain(self.activations)),
        ]
        parts += [_table("[[override]]", _plain(one)) for one in self.overrides]
        return "\n".join(parts)

    def overriding(self, key: str, *names: str) -> Any:
        """Return the last override of `key` that fits any of the names, None without one."""
        found = None
        for one in self.overrides:
            if getattr(one, key) is not None and any(fnmatchcase(n, one.match) for n in names):
                found = getattr(one, key)
        return found


def _recipe(raw: Mapping[str, Any]) -> Recipe:
    _known("recipe", raw, (*(f.name for f in fields(Recipe) if f.name != "overrides"), "override"))
    table = dict(raw)
    overrides = table.pop("override", [])
    if not isinstance(overrides, list):
        _refuse("recipe override", "must be an array of tables [[override]]", overrides)
    table["weights"] = _part(Weights, "weights", table.get("weights", {}))
    table["activations"] = _part(Activations, "activations", table.get("activations", {}))
    table["overrides"] = tuple(_part(Override, "override", one) for one in overrides)
    return Recipe(**table)


def _part(cls: type[Any], where: str, raw: object) -> Any:
    if not isinstance(raw, dict):
        _refuse(where, "must be a table", raw)
    _known(where, raw, tuple(f.name for f in fields(cls)))
    if cls is Override and "match" not in raw:
        raise QuantizeError("override: must have the key match, has none. Correct the recipe.")
    return cls(**raw)


def _known(where: str, raw: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in raw:
        if key not in keys:
            _refuse(where, f"has only the keys {', '.join(keys)}", key)


def _plain(part: Any) -> dict[str, Any]:
    rows = {f.name: getattr(part, f.name) for f in fields(part)}
    return {k: v for k, v in rows.items() if v is not None}


def _table(head: str, rows: Mapping[str, Any]) -> str:
    # JSON's strings, numbers, booleans and lists of numbers are TOML's, except that TOML wants DEL escaped
    lines = [
        f"{k} = {json.dumps(v, ensure_ascii=False).replace(chr(127), chr(92) + 'u007F')}"
        for k, v in rows.items()
    ]
    return "\n".join([head, *lines, ""]) if head else "\n".join([*lines, ""])


def _input_range(value: object) -> tuple[float, float]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        _refuse("activations input_range", "must be two numbers", value)
    for one in value:
        # the comparison refuses NaN
        if type(one) not in (int, float) or not -1e6 <= one <= 1e6:
            _refuse("activations input_range", "must be two numbers within 1e6", value)
    low, high = float(value[0]), float(value[1])
    if not low < high:
        _refuse("activations input_range", "must rise", value)
    return low, high


def _one_of(where: str, value: object, options: tuple[Any, ...]) -> None:
    # True == 1 and 8.0 == 8 must not pass for each other
    if not any(value == one and type(value) is type(one) for one in options):
        _refuse(where, f"must be one of {', '.join(map(repr, options))}", value)


def _refuse(where: str, rule: str, value: object) -> NoReturn:
    raise QuantizeError(f"{where}: {rule}, got {reprlib.repr(value)}. Correct the recipe.")


PRESETS: Mapping[str, Recipe] = {
    "int8": Recipe(),
    "w4a8": Recipe("w4a8", Weights(bits=4)),
}
