"""Target: frozen hardware numbers from a TOML preset, each with where it comes from.

A preset is `targets/NAME.toml`:

    title = "one line"
    like = "other-preset"                 # optional: start from its constants and provenance
    [constants]
    sram_kib = {value = 512, word = "assumed", source = "sized so that MobileNetV2 fits"}

`word` is public (a datasheet, paper or published configuration says it), derived (computed from public
numbers; the source says how) or assumed (chosen by us; the source says why).
"""

from __future__ import annotations

import difflib
import functools
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from edgeq.errors import CompileError

WORDS = ("public", "derived", "assumed")
DATAFLOWS = ("none", "ws_systolic", "os_systolic", "ublock")
FOLDER = Path(__file__).parent / "targets"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a constant comes from: one of WORDS, and the source in a sentence."""

    word: str
    source: str


def _number(low: float, high: float, unit: str, meaning: str) -> Any:
    """A constant of a Target: its allowed range, its unit and what it means."""
    return field(default=0, metadata={"low": low, "high": high, "unit": unit, "meaning": meaning})


def _flag(meaning: str) -> Any:
    return field(default=False, metadata={"low": 0, "high": 1, "unit": "", "meaning": meaning})


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """What the compiler and the clock know of a chip. 0 means absent; units end the names.

    Rates named `*_cycles` are cycles per element of one core's vector unit or output stage.
    """

    name: str
    title: str
    dataflow: str = "none"  # one of DATAFLOWS; "none" is the cpu: one memory, no tiling, no clock

    # arithmetic
    cores: int = _number(0, 64, "", "cores that run the same kind of tile")
    rows: int = _number(0, 1024, "", "array rows (systolic: along K)")
    cols: int = _number(0, 1024, "", "array columns (systolic: along N)")
    small_cores: int = _number(0, 64, "", "further cores with a smaller array")
    small_rows: int = _number(0, 1024, "", "array rows of a small core")
    small_cols: int = _number(0, 1024, "", "array columns of a small core")
    ublock_h: int = _number(0, 16, "", "rows of a micro block")
    ublock_w: int = _number(0, 16, "", "columns of a micro block")
    ublock_oc: int = _number(0, 256, "", "output channels of a micro block")
    ublock_ic: int = _number(0, 256, "", "input channels of a micro block")
    clock_hz: int = _number(0, 10_000_000_000, "Hz", "clock of array, vector unit and SRAM")
    w4a8_rate: float = _number(0, 8, "x", "MAC rate with 4-bit weights")
    sparse24_rate: float = _number(0, 8, "x", "MAC rate with 2:4 sparse weights")
    depthwise_taps_per_cycle: int = _number(0, 1024, "", "depthwise taps per cycle and column")
    issue_cycles: int = _number(0, 1_000_000, "cycles", "from one command to the next")
    layer_cycles: int = _number(0, 10_000_000, "cycles", "synchronisation at the end of a layer")

    # memories
    sram_kib: int = _number(0, 1 << 22, "KiB", "working SRAM per core (of all cores if shared)")
    sram_shared: bool = _flag("one SRAM for all cores")
    accumulator_kib: int = _number(
        0, 1 << 20, "KiB", "accumulators (ublock: block memory) per core"
    )
    lut_slots: int = _number(0, 64, "", "tables of 256 entries held at once")
    sram_bytes_per_cycle: float = _number(0, 65536, "B/cycle", "SRAM port of a core")
    sram_read_latency_cycles: int = _number(0, 100_000, "cycles", "first byte of an SRAM read")
    sram_write_latency_cycles: int = _number(0, 100_000, "cycles", "end of an SRAM write")
    sram_burst_bytes: int = _number(0, 65536, "B", "smallest efficient SRAM transfer")
    sram_outstanding: int = _number(0, 65536, "", "SRAM requests in flight")
    dram_bytes_per_cycle: float = _number(
        0, 65536, "B/cycle", "external memory, shared by the cores"
    )
    dram_efficiency: float = _number(0, 1, "", "share of that rate that traffic reaches")
    dram_read_latency_cycles: int = _number(0, 100_000, "cycles", "first byte of an external read")
    dram_write_latency_cycles: int = _number(0, 100_000, "cycles", "end of an external write")
    dram_burst_bytes: int = _number(0, 65536, "B", "smallest efficient external transfer")
    dram_outstanding: int = _number(0, 65536, "", "external requests in flight per core")
    dram_writable: bool = _flag("feature maps may live outside (not so for flash)")
    dma_load_channels: int = _number(0, 64, "", "DMA channels for feature maps in")
    dma_weights_channels: int = _number(0, 64, "", "DMA channels for weights")
    dma_store_channels: int = _number(0, 64, "", "DMA channels for feature maps out")
    weight_decoder_bytes_per_cycle: float = _number(
        0, 65536, "B/cycle", "decoded weights per cycle; 0: weights are stored raw"
    )
    host_link_bytes_per_s: float = _number(
        0, 1e12, "B/s", "link to the host; 0 when on the same chip"
    )

    # vector unit and output stage, cycles per element
    output_cycles: float = _number(0, 1024, "cycles", "plain output of the array (requantize)")
    relu_cycles: float = _number(0, 1024, "cycles", "output with a clamp")
    lut_cycles: float = _number(0, 1024, "cycles", "table look-up")
    add_cycles: float = _number(0, 1024, "cycles", "add or subtract two feature maps")
    mul_cycles: float = _number(0, 1024, "cycles", "multiply two feature maps")
    pool_tap_cycles: float = _number(0, 1024, "cycles", "pooling, per input tap")
    pool_max_cycles: float = _number(0, 1024, "cycles", "pooling, per output of a maximum")
    reduce_cycles: float = _number(0, 1024, "cycles", "mean over a picture, per input")
    softmax_cycles: float = _number(0, 1024, "cycles", "softmax, per element")
    copy_cycles: float = _number(0, 1024, "cycles", "layout change, resize, per element")
    int32_unary_cycles: float = _number(0, 1024, "cycles", "32-bit shift or count, per element")
    int32_binary_cycles: float = _number(0, 1024, "cycles", "32-bit add or subtract, per element")

    # energy
    mac_pj: float = _number(0, 1000, "pJ", "one INT8 multiply-accumulate")
    w4a8_energy_ratio: float = _number(0, 2, "x", "the same with 4-bit weights")
    sram_pj_per_byte: float = _number(0, 1000, "pJ/B", "SRAM access, fixed part")
    sram_pj_per_byte_root_kib: float = _number(0, 100, "pJ/B", "SRAM access, times sqrt(KiB)")
    dram_pj_per_byte: float = _number(0, 10000, "pJ/B", "external memory access")
    vector_pj: float = _number(0, 1000, "pJ", "one vector-unit element")
    static_w: float = _number(0, 1000, "W", "leakage and clocks, always")
    energy_band: float = _number(0, 1, "", "half width of the stated band, as a share")

    provenance: Mapping[str, Provenance] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.dataflow not in DATAFLOWS:
            raise CompileError(
                f"target {self.name}: dataflow must be one of {', '.join(DATAFLOWS)}, got {self.dataflow!r}."
            )
        object.__setattr__(self, "provenance", MappingProxyType(dict(self.provenance)))
        for key in CONSTANTS:
            _in_range(self.name, key, getattr(self, key))
        need = _NEEDS.get(self.dataflow, ())
        missing = [key for key in need if not getattr(self, key)]
        if missing:
            raise CompileError(
                f"target {self.name}: dataflow {self.dataflow} needs {', '.join(missing)} above 0."
            )
        if bool(self.small_cores) != bool(self.small_rows and self.small_cols):
            raise CompileError(
                f"target {self.name}: small_cores, small_rows and small_cols go together."
            )

    @property
    def macs_per_cycle(self) -> int:
        """INT8 multiply-accumulates of all cores in one cycle."""
        if self.dataflow == "ublock":
            return self.cores * self.ublock_h * self.ublock_w * self.ublock_oc * self.ublock_ic
        return (
            self.cores * self.rows * self.cols
            + self.small_cores * self.small_rows * self.small_cols
        )

    @property
    def tops(self) -> float:
        """Peak INT8 operations per second / 1e12, two per MAC."""
        return 2 * self.macs_per_cycle * self.clock_hz / 1e12

    @property
    def sram_bytes(self) -> int:
        """SRAM that one core may use, in bytes; micro-block cores work as one."""
        together = not self.sram_shared or self.dataflow == "ublock"
        cores = 1 if together else self.cores + self.small_cores
        return self.sram_kib * 1024 // cores

    def what_if(self, changes: Mapping[str, str]) -> Target:
        """Return the target with constants replaced, as in {"sram_kib": "256", "cols": "64"}.

        Raises CompileError naming the constant when it is unknown, not a number or out of range.
        """
        values: dict[str, Any] = {}
        provenance = dict(self.provenance)
        for key, text in changes.items():
            if key not in CONSTANTS and key != "dataflow":
                raise CompileError(
                    f"what-if {key}: {_unknown('constant', key, ('dataflow', *CONSTANTS))}"
                )
            values[key] = text if key == "dataflow" else _parse(self.name, key, text)
            provenance[key] = Provenance("assumed", f"what-if; the preset has {getattr(self, key)}")
        return replace(self, **values, provenance=provenance)


CONSTANTS: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        f.name: MappingProxyType({**f.metadata, "type": str(f.type)})
        for f in fields(Target)
        if f.metadata
    }
)

_VECTOR = ("output_cycles", "lut_cycles", "add_cycles", "mul_cycles", "pool_tap_cycles", "reduce_cycles",
           "softmax_cycles", "copy_cycles")  # fmt: skip
_MEMORY = ("cores", "clock_hz", "sram_kib", "sram_bytes_per_cycle", "sram_burst_bytes", "sram_outstanding",
           "dram_bytes_per_cycle", "dram_efficiency", "dram_burst_bytes", "dram_outstanding",
           "accumulator_kib", "w4a8_rate", "sparse24_rate",
           "dma_load_channels", "dma_weights_channels", "dma_store_channels")  # fmt: skip
_SYSTOLIC = ("rows", "cols", "depthwise_taps_per_cycle", *_MEMORY, *_VECTOR)
_NEEDS = {
    "ws_systolic": _SYSTOLIC,
    "os_systolic": _SYSTOLIC,
    "ublock": ("ublock_h", "ublock_w", "ublock_oc", "ublock_ic", *_MEMORY, *_VECTOR),
}


def list_targets() -> tuple[str, ...]:
    """Names of the presets, `cpu` first, then by name."""
    names = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return tuple(sorted(names, key=lambda n: n != "cpu"))


@functools.cache
def load_target(name: str) -> Target:
    """Return a preset by name. Raises CompileError when there is none or it is broken."""
    title, dataflow, constants = _preset(name, ())
    return Target(
        name=name,
        title=title,
        dataflow=dataflow[0],
        **{key: value for key, (value, _) in constants.items()},
        provenance={
            "dataflow": dataflow[1],
            **{key: where for key, (_, where) in constants.items()},
        },
    )


def _preset(
    name: str, seen: tuple[str, ...]
) -> tuple[str, tuple[str, Provenance], dict[str, tuple[Any, Provenance]]]:
    """Title, dataflow and constants of a preset and of those it is `like`."""
    if name not in list_targets():
        raise CompileError(f"target {name!r}: {_unknown('target', name, list_targets())}")
    if name in seen:
        raise CompileError(
            f"target {name}: `like` must not lead back to itself, got {' -> '.join((*seen, name))}."
        )
    try:
        table = tomllib.loads((FOLDER / f"{name}.toml").read_text("utf-8"))
    except tomllib.TOMLDecodeError as e:
        raise CompileError(f"target {name}: its preset must be TOML ({e}).") from e
    extra = sorted(set(table) - {"title", "like", "constants"})
    if extra or not isinstance(table.get("title"), str):
        raise CompileError(
            f"target {name}: a preset holds title, like and [constants], got {', '.join(extra) or 'no title'}."
        )
    dataflow = ("none", Provenance("derived", "no array"))
    constants: dict[str, tuple[Any, Provenance]] = {}
    if "like" in table:
        _, dataflow, constants = _preset(table["like"], (*seen, name))
    for key, entry in table.get("constants", {}).items():
        value, where = _entry(name, key, entry)
        if key == "dataflow":
            dataflow = (value, where)
        else:
            constants[key] = (value, where)
    return table["title"], dataflow, constants


def _entry(name: str, key: str, entry: Any) -> tuple[Any, Provenance]:
    if key != "dataflow" and key not in CONSTANTS:
        raise CompileError(f"target {name}: {_unknown('constant', key, ('dataflow', *CONSTANTS))}")
    if not isinstance(entry, dict) or set(entry) != {"value", "word", "source"}:
        raise CompileError(
            f"target {name}, {key}: it must be {{value, word, source}}, got {entry!r}."
        )
    if entry["word"] not in WORDS or not entry["source"]:
        raise CompileError(
            f"target {name}, {key}: word must be one of {', '.join(WORDS)} with a source, got {entry['word']!r}."
        )
    value = entry["value"] if key == "dataflow" else _parse(name, key, entry["value"])
    return value, Provenance(entry["word"], entry["source"])


def _parse(name: str, key: str, value: Any) -> Any:
    """Read a constant from text or TOML as its own type."""
    kind = CONSTANTS[key]["type"]
    text = str(value).strip().lower().replace("_", "")
    try:
        if kind == "bool":
            out: Any = {
                "true": True,
                "yes": True,
                "1": True,
                "false": False,
                "no": False,
                "0": False,
            }[text]
        elif kind == "int":
            out = int(text)
        else:
            out = float(text)
    except (KeyError, ValueError):
        what = {"bool": "true or false", "int": "a whole number", "float": "a number"}[kind]
        raise CompileError(f"target {name}, {key}: it must be {what}, got {value!r}.") from None
    _in_range(name, key, out)
    return out


def _in_range(name: str, key: str, value: Any) -> None:
    rule = CONSTANTS[key]
    if not rule["low"] <= value <= rule["high"]:  # also refuses NaN
        unit = f" {rule['unit']}" if rule["unit"] else ""
        raise CompileError(
            f"target {name}, {key}: it must be {rule['low']:g}..{rule['high']:g}{unit}, got {value}."
        )


def _unknown(what: str, name: str, known: tuple[str, ...]) -> str:
    near = difflib.get_close_matches(name, known, 3, 0.5)
    hint = f"Did you mean {' or '.join(near)}?" if near else f"Known: {', '.join(known)}."
    return f"no {what} is called {name}. {hint}"
