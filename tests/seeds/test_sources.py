"""SOURCES.md promises nothing that is not there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def rows() -> list[list[str]]:
    text = (ROOT / "seeds" / "SOURCES.md").read_text(encoding="utf-8")
    table = text.split("## What edgeq answers")[1]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in table.splitlines()
        if line.startswith("|")
    ]
    return cells[2:]


def test_every_answer_exists_or_is_planned() -> None:
    assert len(rows()) > 15
    assert {row[3] for row in rows()} == {"exists", "planned"}


def test_what_exists_is_at_the_path_named() -> None:
    for row in rows():
        if row[3] == "exists":
            (path,) = re.findall(r"`([^`]+)`", row[4])
            folder = ROOT / path
            assert folder.is_dir() and any(
                f.suffix in (".py", ".c", ".toml") for f in folder.rglob("*")
            ), row
