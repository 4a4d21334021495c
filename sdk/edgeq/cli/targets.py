"""`edgeq targets [NAME]`: hardware presets, where their numbers come from, and what-if variants."""

from __future__ import annotations

import textwrap
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.cli.console import Out, verb
from edgeq.cli.tables import WIDTH, facts, plural, table
from edgeq.errors import CompileError

if TYPE_CHECKING:
    from edgeq.runtime.target import Target

Name = Annotated[str | None, typer.Argument(metavar="NAME", help="A target of `edgeq targets`.")]
WhatIf = Annotated[
    list[str] | None,
    typer.Option(
        "--what-if", metavar="KEY=VALUE", help="Change a constant: --what-if sram_kib=256,cols=64"
    ),
]


@verb
def targets(out: Out, name: Name = None, what_if: WhatIf = None) -> None:
    """List the hardware targets, or one in full with the source of every number."""
    from edgeq.runtime.target import list_targets, load_target

    changes = parse_what_if(what_if or [])
    if name is None:
        if changes:
            raise CompileError(
                "--what-if: it needs the NAME of a target, got none. Run: edgeq targets"
            )
        _list(out, [load_target(n) for n in list_targets()])
        return
    target = load_target(name)
    if changes:
        target = target.what_if(changes)
    _show(out, target)


def parse_what_if(texts: list[str]) -> dict[str, str]:
    """Read ["a=1,b=2", "c=3"] as {"a": "1", "b": "2", "c": "3"}. Raises CompileError for anything else."""
    changes: dict[str, str] = {}
    for item in (part for text in texts for part in text.split(",")):
        key, equals, value = (part.strip() for part in item.partition("="))
        if not equals or not key or not value:
            raise CompileError(
                f"--what-if: it must be KEY=VALUE, got {item!r}. Example: --what-if sram_kib=256"
            )
        if key in changes:
            raise CompileError(f"--what-if {key}: it is given twice, {changes[key]} and {value}.")
        changes[key] = value
    return changes


def _list(out: Out, known: list[Target]) -> None:
    out.document = {"targets": [_summary(t) for t in known]}
    rows = [(t.name, t.tops or None, t.sram_kib or None, t.title) for t in known]
    out.line(table(("target", "TOPS", "SRAM KiB", "what it is"), rows))
    out.note(f"{plural(len(known), 'target')}. One of them in full: edgeq targets NAME")


def _show(out: Out, target: Target) -> None:
    from edgeq.runtime.target import CONSTANTS

    constants = {key: getattr(target, key) for key in CONSTANTS if key in target.provenance}
    words = Counter(
        where.word
        for key, where in target.provenance.items()
        if key in constants or key == "dataflow"
    )
    out.document = {
        **_summary(target),
        "constants": {
            key: {
                "value": value,
                "unit": CONSTANTS[key]["unit"],
                "word": target.provenance[key].word,
                "source": target.provenance[key].source,
                "meaning": CONSTANTS[key]["meaning"],
            }
            for key, value in constants.items()
        },
        "provenance": dict(words),
    }
    pairs: list[tuple[str, object]] = [("target", target.name), ("what it is", target.title)]
    if constants:
        pairs += [
            ("array", f"{_array(target)}, {target.dataflow}, {target.macs_per_cycle} MAC/cycle"),
            (
                "peak",
                f"{target.tops:.4g} TOPS INT8, {target.tops * target.w4a8_rate:.4g} with 4-bit weights",
            ),
            ("numbers", ", ".join(f"{count} {word}" for word, count in words.most_common())),
        ]
    out.line(facts(pairs))
    if constants:
        out.line()
        for row in _rows(target, constants):
            out.line(row)


def _rows(target: Target, constants: dict[str, Any]) -> list[str]:
    """Constant, value, provenance and source in 80 columns; the source wraps below itself."""
    values = {key: _value(value) for key, value in constants.items()}
    wide = [max(map(len, column)) for column in (constants, values.values())]
    head = f"{'constant':<{wide[0]}}  {'value':>{wide[1]}}  {'from':<7}  "
    room = max(WIDTH - len(head), 12)
    lines = [f"{head}source", "  ".join("-" * n for n in (*wide, 7, room))]
    for key, value in values.items():
        where = target.provenance[key]
        parts = textwrap.wrap(where.source, room)
        lines.append(f"{key:<{wide[0]}}  {value:>{wide[1]}}  {where.word:<7}  {parts[0]}")
        lines += [" " * len(head) + part for part in parts[1:]]
    return lines


def _summary(t: Target) -> dict[str, Any]:
    return {
        "name": t.name,
        "title": t.title,
        "dataflow": t.dataflow,
        "macs_per_cycle": t.macs_per_cycle,
        "clock_hz": t.clock_hz,
        "tops": t.tops,
        "sram_kib": t.sram_kib,
    }


def _array(t: Target) -> str:
    if t.dataflow == "none":
        return "-"
    if t.dataflow == "ublock":
        return f"{t.cores} x {t.ublock_h}x{t.ublock_w}x{t.ublock_oc}"
    small = f" + {t.small_cores} x {t.small_rows}x{t.small_cols}" if t.small_cores else ""
    return f"{t.cores} x {t.rows}x{t.cols}{small}"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return (
            f"{value // 1_000_000} M"
            if value >= 10_000_000 and value % 1_000_000 == 0
            else str(value)
        )
    return f"{value:g}"
