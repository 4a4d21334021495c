"""Damaged files raise ProgramError and nothing else; nothing that passes the loader crashes."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeq.errors import ProgramError
from edgeq.runtime import Session, _engine, isa, load
from tests.runtime.builder import Builder, pack_conv, window
from tests.runtime.samples import everything, mend

SAMPLE = everything()


def test_the_sample_runs_and_holds_every_opcode() -> None:
    session = load(SAMPLE)
    assert {c["opcode"] for c in session.commands} == set(isa.OPCODES)
    x = np.linspace(-60, 60, 108, dtype=np.float32).reshape(1, 6, 6, 3)
    first = session.run(x)
    for level in _engine.isa_list():
        for threads in (1, 2, 4):
            again = Session(SAMPLE, threads=threads, kernels=level).run(x)
            for name, value in first.items():
                np.testing.assert_array_equal(again[name], value)


def test_every_truncation_is_refused() -> None:
    for n in range(len(SAMPLE)):
        with pytest.raises(ProgramError):
            Session(SAMPLE[:n])


def test_a_tail_is_refused() -> None:
    with pytest.raises(ProgramError, match="truncated or has a tail"):
        Session(SAMPLE + b"\0")


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_a_flip_in_any_byte_is_refused(flip: int) -> None:
    for i in range(len(SAMPLE)):
        body = bytearray(SAMPLE)
        body[i] ^= flip
        with pytest.raises(ProgramError):
            Session(bytes(body))


@pytest.mark.parametrize("value", [0x00, 0x01, 0x7F, 0x80, 0xFF])
def test_any_byte_under_a_right_checksum_is_refused_or_runs(value: int) -> None:
    """The loader's rules, not the checksum, must keep every kernel inside its buffers."""
    x = np.zeros((1, 6, 6, 3), np.int8)
    constants = section_span(SAMPLE, "CONSTANTS")
    step = 1
    for i in range(0, len(SAMPLE), step):
        if i in constants and i % 7:  # weights: any value is right
            continue
        body = bytearray(SAMPLE)
        if body[i] == value:
            continue
        body[i] = value
        try:
            engine = _engine.Engine(mend(body), threads=1)
        except ProgramError:
            continue
        if (
            engine.input_count == 1
            and engine.tensor(0)["count"] == x.size
            and engine.tensor(0)["dtype"] == "int8"
        ):
            engine.set_input(0, x)
        engine.run()


def section_span(body: bytes, name: str) -> range:
    table = np.frombuffer(body, isa.SECTION_DTYPE, len(isa.SECTIONS), isa.HEADER_DTYPE.itemsize)
    row = table[table["kind"] == isa.SECTIONS[name]][0]
    return range(int(row["offset"]), int(row["offset"] + row["bytes"]))


def edited(section: str, at: int, form: str, *values: Any) -> bytes:
    body = bytearray(SAMPLE)
    struct.pack_into("<" + form, body, section_span(SAMPLE, section).start + at, *values)
    return mend(body)


def header_with(at: int, form: str, value: int) -> bytes:
    body = bytearray(SAMPLE)
    struct.pack_into("<" + form, body, at, value)
    return mend(body)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "at least 64 bytes"),
        (b"PK\3\4" + SAMPLE[4:], "not an .edgeq file"),
        (header_with(8, "H", 2), "newer"),
        (header_with(10, "H", 9), "newer"),
        (header_with(24, "Q", 1 << 40), "arena of at most"),
        (header_with(32, "I", 65), "inputs"),
        (header_with(12, "I", 7), "DEBUG: section is missing|not 0"),
        (edited("COMMANDS", 0, "B", 99), r"command 0 \(\?\): opcode 99 is unknown"),
        (edited("COMMANDS", 14, "B", 1), r"command 0 \(CONV\): rmode 1 is unknown"),
        (edited("COMMANDS", 8, "H", 999), r"command 0 \(CONV\): in0 is tensor 999"),
        (edited("COMMANDS", 28, "H", 0), "kernel, stride and dilation"),
        (edited("COMMANDS", 28, "HH", 255, 255), "at most 4096 kernel taps"),
        (edited("COMMANDS", 44, "I", 2), "do not divide into 2 groups"),
        (edited("COMMANDS", 16, "I", 1 << 30), "at 1073741824 of CONSTANTS"),
        (edited("COMMANDS", 20, "I", 64 * 10000), "of QPARAMS are unaligned or outside"),
        (edited("COMMANDS", 24, "I", 1 << 20), "of LUTS"),
        (edited("TENSORS", 0, "I", 1 << 20), "name outside STRINGS"),
        (edited("TENSORS", 4, "B", 9), "dtype 9"),
        (edited("TENSORS", 16, "i", -1), "dims are at least 1"),
        (edited("TENSORS", 16, "iii", 65536, 65536, 65536), "dims are at least 1, at most 2"),
        (edited("TENSORS", 40, "iiii", 1, 2**31 - 1, 1, 1), "reaches outside its region"),
        (edited("TENSORS", 8, "Q", 2**63), "reaches outside its region"),
        (edited("QPARAMS", 64 * 2, "f", float("nan")), "channel 0"),
        (edited("STRINGS", section_span(SAMPLE, "STRINGS").__len__() - 1, "B", 65), "STRINGS: must end"),
        (edited("META", 0, "B", 0x5B), "META: not valid JSON"),
        (edited("DEBUG", 0, "B", 0x7B), "DEBUG: not valid JSON"),
    ],
)  # fmt: skip
def test_the_error_names_the_section_and_the_rule(body: bytes, says: str) -> None:
    with pytest.raises(ProgramError, match=says):
        _ = Session(body).commands


def test_deeply_nested_metadata_is_refused() -> None:
    meta = b"[" * 200_000
    start = section_span(SAMPLE, "META").start
    body = bytearray(SAMPLE[:start] + meta + b"\0" * (-len(meta) % 64) + SAMPLE[start:])
    grow = len(body) - len(SAMPLE)
    head = isa.HEADER_DTYPE.itemsize
    struct.pack_into("<Q", body, 16, len(body))
    for i in range(len(isa.SECTIONS)):
        kind, _, offset, size = struct.unpack_from("<IIQQ", body, head + 24 * i)
        if kind == isa.SECTIONS["META"]:
            struct.pack_into("<IIQQ", body, head + 24 * i, kind, 0, offset, len(meta))
        else:
            struct.pack_into("<IIQQ", body, head + 24 * i, kind, 0, offset + grow, size)
    old = section_span(SAMPLE, "META")
    body[start + grow : start + grow + len(old)] = b"\0" * len(old)  # the old META is now a gap
    with pytest.raises(ProgramError, match="META: not valid JSON"):
        Session(mend(body))


def test_a_file_opens_by_path_and_a_folder_does_not(tmp_path: Path) -> None:
    path = tmp_path / "m.edgeq"
    path.write_bytes(SAMPLE)
    x = np.zeros((1, 6, 6, 3), np.float32)
    with path.open("rb") as f:
        sessions = [load(path), load(str(path)), load(SAMPLE), load(bytearray(SAMPLE)), load(f)]
    values = [next(iter(s.run(x).values())) for s in sessions]
    assert all(np.array_equal(values[0], v) for v in values)
    (tmp_path / "empty.edgeq").write_bytes(b"")
    with pytest.raises(ProgramError):
        load(tmp_path / "empty.edgeq")
    for missing in (tmp_path, tmp_path / "none.edgeq"):
        with pytest.raises(OSError, match=str(missing)):
            load(missing)


def test_a_huge_arena_costs_nothing_until_it_is_used() -> None:
    """1 GiB is within the limits; only touched pages count."""
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    session = load(header_with(24, "Q", 1 << 30))
    session.run(np.zeros((1, 6, 6, 3), np.float32))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB


def test_four_bit_weights_that_need_too_much_scratch_are_refused() -> None:
    depth = isa.MAX_UNPACKED_BYTES // 16 + 4
    b = Builder()
    tx, ty = b.tensor("in", (1, 1, 1, depth)), b.tensor("out", (1, 1, 1, 1))
    w = np.ones((1, 1, 1, depth), np.int8)
    b.command("CONV", in0=tx, out=ty, groups=1, flags=isa.FLAG_WEIGHTS4,
              constants=b.constant(pack_conv(w, 1, np.zeros(1, np.int8), 4)),
              qparams=b.rows("CONV", 1, m=1e-6, wsum=depth, lo=-128, hi=127), **window((1, 1)))  # fmt: skip
    with pytest.raises(ProgramError, match="must unpack to at most 16777216 bytes"):
        load(b.build())


def test_the_bytes_are_copied() -> None:
    """Changing the caller's bytes after the load must not matter."""
    b = Builder()
    tx, ty = b.tensor("in", (1, 2, 2, 4)), b.tensor("out", (1, 2, 2, 4))
    w = np.eye(4, dtype=np.int8).reshape(4, 1, 1, 4)
    b.command("CONV", in0=tx, out=ty, groups=1, constants=b.constant(pack_conv(w, 1, np.zeros(1, np.int8))),
              qparams=b.rows("CONV", 4, m=1.0, wsum=1, lo=-128, hi=127), **window((1, 1)))  # fmt: skip
    body = bytearray(b.build())
    session = load(body)
    body[:] = b"\xff" * len(body)
    x = np.arange(16, dtype=np.int8).reshape(1, 2, 2, 4)
    np.testing.assert_array_equal(next(iter(session.run(x, native=True).values())), x)
