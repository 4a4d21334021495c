"""Presets, their provenance, and what-if variants."""

from __future__ import annotations

import dataclasses
import re

import pytest

from edgeq.errors import CompileError
from edgeq.runtime import target as module
from edgeq.runtime.target import CONSTANTS, WORDS, Target, list_targets, load_target

NPUS = [name for name in list_targets() if name != "cpu"]


def test_every_preset_of_the_design_exists() -> None:
    wanted = {
        "npu-dev",
        "npu-micro-128",
        "npu-micro-256",
        "npu-micro-512",
        "npu-hat-25t",
        "npu-phone-4t",
        "npu-phone-40t",
    }
    chips = {"npu-card-64t", "npu-card-512t", "npu-card-atom", "npu-card-x220", "npu-card-x330"}
    assert list_targets()[0] == "cpu"
    assert wanted | chips <= set(list_targets())


@pytest.mark.parametrize("name", NPUS)
def test_every_constant_says_where_it_comes_from(name: str) -> None:
    t = load_target(name)
    assert len(t.title) <= 46
    for key in CONSTANTS:
        if getattr(t, key):
            assert t.provenance[key].word in WORDS, key
            assert len(t.provenance[key].source) > 3, key


@pytest.mark.parametrize(
    ("name", "tops"),
    [("npu-dev", 1.64), ("npu-micro-128", 0.128), ("npu-micro-256", 0.256), ("npu-micro-512", 1.02), ("npu-hat-25t", 24.6),
     ("npu-phone-4t", 4.1), ("npu-phone-40t", 41.6), ("npu-card-64t", 65.5), ("npu-card-512t", 524.3)],
)  # fmt: skip
def test_peak_rates_are_those_of_the_names(name: str, tops: float) -> None:
    assert load_target(name).tops == pytest.approx(tops, rel=0.01)


def test_the_cpu_is_a_target_without_an_array() -> None:
    cpu = load_target("cpu")
    assert (cpu.dataflow, cpu.macs_per_cycle, cpu.tops) == ("none", 0, 0)


def test_a_target_cannot_be_changed_in_place() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        load_target("npu-dev").rows = 64  # type: ignore[misc]


def test_what_if_changes_constants_and_says_so() -> None:
    t = load_target("npu-dev").what_if(
        {"sram_kib": "256", "cols": "64", "dram_writable": "no", "dram_efficiency": "0.5"}
    )
    assert (t.sram_kib, t.cols, t.dram_writable, t.dram_efficiency) == (256, 64, False, 0.5)
    assert t.provenance["sram_kib"].word == "assumed"
    assert "512" in t.provenance["sram_kib"].source
    assert load_target("npu-dev").sram_kib == 512


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"sram": "256"}, "no constant is called sram. Did you mean sram_kib"),
        ({"cols": "6x"}, "must be a whole number, got '6x'"),
        ({"cols": "3.5"}, "must be a whole number"),
        ({"cols": "-4"}, "must be 0..1024, got -4"),
        ({"dram_efficiency": "1.2"}, "must be 0..1, got 1.2"),
        ({"dram_efficiency": "nan"}, "must be 0..1, got nan"),
        ({"dram_writable": "maybe"}, "must be true or false"),
        ({"rows": "0"}, "needs rows above 0"),
        ({"dataflow": "magic"}, "dataflow must be one of"),
        ({"small_cores": "2"}, "go together"),
        ({"title": "x"}, "no constant is called title"),
    ],
)
def test_what_if_refuses_nonsense(changes: dict[str, str], text: str) -> None:
    with pytest.raises(CompileError, match=re.escape(text)):
        load_target("npu-dev").what_if(changes)


def test_an_unknown_target_names_the_nearest() -> None:
    with pytest.raises(CompileError, match="Did you mean npu-hat-25t"):
        load_target("npu-hat")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title = 1", "no title"),
        ("title = 'x'\nlike = 'broken'", "must not lead back"),
        ("title = 'x'\n[constants]\nrows = 4", "must be {value, word, source}"),
        ("title = 'x'\n[constants]\nrows = {value = 4, word = 'heard', source = 'x'}", "word must be one of"),
        ("title = 'x'\n[constants]\nrow = {value = 4, word = 'public', source = 'x'}", "no constant is called row"),
        ("title = 'x'\n[constants]\ndataflow = {value = 'ublock', word = 'public', source = 'x'}", "needs ublock_h"),
        ("title = ", "must be TOML"),
    ],
)  # fmt: skip
def test_a_broken_preset_is_refused(tmp_path, monkeypatch, text: str, message: str) -> None:  # type: ignore[no-untyped-def]
    (tmp_path / "broken.toml").write_text(text)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    load_target.cache_clear()
    with pytest.raises(CompileError, match=re.escape(message)):
        load_target("broken")
    load_target.cache_clear()


def test_a_target_made_by_hand_is_checked_too() -> None:
    with pytest.raises(CompileError, match="needs rows"):
        Target(name="mine", title="x", dataflow="ws_systolic")
