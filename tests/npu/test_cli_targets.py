"""`edgeq targets`: lists, one preset in 80 columns, what-if, JSON, errors."""

from __future__ import annotations

import json

import pytest
import typer

from edgeq.cli import console
from edgeq.cli.targets import parse_what_if, targets
from edgeq.errors import CompileError
from edgeq.runtime.target import list_targets


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    app = typer.Typer(cls=console.Verbs, add_completion=False, rich_markup_mode=None)
    app.callback()(lambda: None)
    app.command(cls=console.Verb)(targets)
    with pytest.raises(SystemExit) as end:
        app(["targets", *words], prog_name="edgeq")
    return int(end.value.code or 0), *capsys.readouterr()


def test_the_list_names_every_target(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys)
    assert code == 0
    assert all(name in out for name in list_targets())
    assert "…" not in out


@pytest.mark.parametrize("name", list_targets())
def test_a_target_fits_eighty_columns(capsys: pytest.CaptureFixture[str], name: str) -> None:
    code, out, _ = run(capsys, name)
    assert code == 0
    assert max(map(len, out.splitlines())) <= 80


def test_json_holds_value_unit_and_source(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "npu-dev", "--what-if", "sram_kib=256,cols=64", "--json")
    document = json.loads(out)
    assert code == 0
    assert document["constants"]["sram_kib"] == {
        "value": 256,
        "unit": "KiB",
        "word": "assumed",
        "source": "what-if; the preset has 512",
        "meaning": "working SRAM per core (of all cores if shared)",
    }
    assert document["macs_per_cycle"] == 32 * 64


@pytest.mark.parametrize(
    "words", [("nothing",), ("npu-dev", "--what-if", "sram_kib"), ("--what-if", "cols=64")]
)
def test_wrong_use_is_one_sentence_and_exit_code_two(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    code, out, err = run(capsys, *words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_what_if_takes_commas_and_repeats() -> None:
    assert parse_what_if(["a=1, b=2", "c=x"]) == {"a": "1", "b": "2", "c": "x"}
    with pytest.raises(CompileError, match="given twice"):
        parse_what_if(["a=1", "a=2"])
