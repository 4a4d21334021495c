"""Stored weights: the C decoder equals the slow one, whatever the stream holds; nothing expands."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.compiler import compile_graph
from edgeq.compiler.weight_codes import LayerCodes, Stream, canonical, code_lengths, decode, symbols
from edgeq.errors import ProgramError
from edgeq.graph.reference import run_integer
from edgeq.runtime import Session, isa
from edgeq.runtime.program import Program
from edgeq.runtime.target import load_target
from tests.cases import CASES, build
from tests.runtime.builder import Builder
from tests.runtime.samples import stored

CODINGS = [name for name in isa.CODINGS if name != "RAW"]


def weights(kind: str, count: int, seed: int = 0) -> bytes:
    """Bytes of one kind, then a pad row as a layer has it."""
    rng = np.random.default_rng(seed)
    flat = rng.integers(-128, 128, count)
    body = {
        "flat": flat,
        "narrow": rng.integers(-8, 8, count),
        "peaked": np.clip(np.rint(rng.laplace(0, 6, count)), -127, 127),
        "sparse": np.where(np.arange(count) % 4 < 2, flat, 0),
        "dead": np.where(np.arange(count) // 4 % 8 == 3, flat, 0),
        "zero": np.zeros(count),
    }[kind]
    row = np.r_[np.full(37, rng.integers(-128, 128)), np.zeros(27)]
    return np.r_[body, row].astype(np.int8).tobytes()


KINDS = ("flat", "narrow", "peaked", "sparse", "dead", "zero")


def fast(stream: Stream) -> bytes:
    """What the C loader and DMA_WEIGHTS make of a stream."""
    b = Builder()
    out, there = b.tensor("out", (stream.count,)), b.tensor("sram", (stream.count,))
    b.command("DMA_WEIGHTS", out=there, **stored(b, stream))
    b.command("DMA_STORE", in0=there, out=out)
    with Session(b.build(), threads=1) as session:
        return next(iter(session.run({}, native=True).values())).tobytes()


@pytest.mark.parametrize("count", [1, 3, 64, 1000, 5000])
@pytest.mark.parametrize("kind", KINDS)
def test_every_coding_gives_the_weights_back(kind: str, count: int) -> None:
    whole = weights(kind, count)
    codes = LayerCodes(whole)
    for part in (whole, whole[: count // 2], whole[count // 3 :]):
        if part:
            for stream in (*(codes.store(part, coding) for coding in CODINGS), codes.encode(part)):
                assert decode(stream) == part
                assert fast(stream) == part


@pytest.mark.parametrize(
    ("kind", "count", "coding"),
    [("flat", 400, "RAW"), ("narrow", 4096, "INT4"), ("sparse", 400, "SPARSE24"),
     ("peaked", 4096, "HUFFMAN"), ("dead", 4096, "HUFFMAN"), ("zero", 4096, "HUFFMAN")],
)  # fmt: skip
def test_the_smallest_coding_is_chosen_and_never_expands(
    kind: str, count: int, coding: str
) -> None:
    whole = weights(kind, count)
    whole = whole[:count] if kind == "flat" else whole
    codes = LayerCodes(whole)
    sizes = {coding: len(codes.store(whole, coding).data) for coding in CODINGS}
    chosen = codes.encode(whole)
    assert chosen.coding == coding
    if codes.pays:
        assert len(chosen.data) == min(len(whole), *sizes.values())
    assert len(chosen.data) <= len(whole)
    tiny = LayerCodes(weights("peaked", 40))
    assert tiny.encode(tiny.weights).coding != "HUFFMAN"  # its table would cost more than it saves


@given(st.lists(st.integers(0, 1 << 20), min_size=isa.CODE_SYMBOLS, max_size=isa.CODE_SYMBOLS))
@settings(max_examples=50)
def test_codes_are_complete_and_no_longer_than_allowed(counts: list[int]) -> None:
    counts[0] = counts[1] = 1
    lengths = code_lengths(np.array(counts))
    used = lengths[lengths > 0]
    assert (lengths > 0).tolist() == [c > 0 for c in counts]
    assert used.max() <= isa.CODE_BITS
    assert (0.5**used).sum() == 1
    codes = canonical(lengths)
    texts = sorted(f"{codes[s]:0{n}b}" for s, n in enumerate(lengths) if n)
    assert not any(b.startswith(a) for a, b in pairwise(texts))


def test_a_part_may_hold_bytes_that_its_layer_lacks() -> None:
    """Channels cut from depthwise 4-bit weights pair up anew: other bytes than those of the whole."""
    layer = LayerCodes(bytes([3, 3, 3, 3, 3, 3, 40, 50]) * 100)
    assert layer.encode(layer.weights[:400]).coding == "HUFFMAN"
    part = bytes([3, 3, 3, 3, 3, 3, 40, 60]) * 20
    assert decode(layer.encode(part)) == part


def test_skewed_counts_stay_within_the_longest_code() -> None:
    fibonacci = [1, 1]
    while len(fibonacci) < 40:
        fibonacci.append(fibonacci[-1] + fibonacci[-2])
    lengths = code_lengths(np.pad(fibonacci, (0, isa.CODE_SYMBOLS - 40)))
    assert lengths.max() == isa.CODE_BITS


def test_runs_of_zeros_are_single_symbols() -> None:
    x = np.frombuffer(b"\5" + bytes(15) + b"\6" + bytes(9), np.uint8)
    assert symbols(x).tolist() == [5, 258, 257, 256, 0, 6, 258, 0]
    assert symbols(x[:0]).tolist() == []


@pytest.mark.parametrize("coding", CODINGS)
def test_a_damaged_stream_is_refused_or_means_the_same_to_both_decoders(coding: str) -> None:
    rng = np.random.default_rng(3)
    kind = {"INT4": "narrow", "SPARSE24": "sparse", "HUFFMAN": "dead"}[coding]
    codes = LayerCodes(weights(kind, 200))
    good = codes.store(codes.weights, coding)
    refused = accepted = 0
    for _ in range(400):
        broken = _damage(good, rng)
        try:
            expected: bytes | None = decode(broken)
        except ProgramError:
            expected = None
        try:
            actual: bytes | None = fast(broken)
        except ProgramError:
            actual = None
        assert actual == expected
        refused, accepted = refused + (expected is None), accepted + (expected is not None)
    assert refused > 20
    assert accepted > 20


def _damage(stream: Stream, rng: np.random.Generator) -> Stream:
    """One thing changed: a bit, a length, or a size."""
    match rng.integers(5):
        case 0 if stream.table:
            table = bytearray(stream.table)
            table[rng.integers(len(table))] ^= 1 << rng.integers(8)
            return replace(stream, table=bytes(table))
        case 1:
            return replace(stream, data=stream.data[: rng.integers(1, len(stream.data))])
        case 2:
            return replace(stream, data=stream.data + bytes(rng.integers(1, 4)))
        case 3:
            return replace(stream, body=int(rng.integers(0, stream.count + 9)))
    data = bytearray(stream.data)
    data[rng.integers(len(data))] ^= 1 << rng.integers(8)
    return replace(stream, data=bytes(data))


def test_one_stream_is_not_read_in_two_ways() -> None:
    codes = LayerCodes(weights("narrow", 200))
    stream = codes.store(codes.weights, "INT4")
    b = Builder()
    there, out = b.tensor("sram", (stream.count,)), b.tensor("out", (stream.count,))
    fields = stored(b, stream)
    b.command("DMA_WEIGHTS", out=there, **fields)
    b.command("DMA_WEIGHTS", out=there, **{**fields, "coding": isa.CODINGS["HUFFMAN"]})
    b.command("DMA_STORE", in0=there, out=out)
    with pytest.raises(ProgramError, match="in another way"):
        Session(b.build())


def test_overlapping_streams_cannot_ask_for_more_memory_than_the_file_bounds() -> None:
    b = Builder()
    count = isa.MOST_EXPANSION * 1024
    there, out = b.tensor("sram", (count,)), b.tensor("out", (1,))
    b.put(b.constants, bytes(1024))
    for at in range(0, 1024, 64):  # each claims what all together may hold
        coding = isa.CODINGS["SPARSE24"]
        b.command("DMA_WEIGHTS", out=there, constants=at, bytes=count, coded=1024, coding=coding)
    b.command("FILL", out=out, qparams=b.rows("FILL", 1))
    with pytest.raises(ProgramError, match=r"overlap|needs"):
        Session(b.build())


def test_a_target_without_a_decoder_stores_raw_bytes() -> None:
    plain = load_target("npu-dev").what_if({"weight_decoder_bytes_per_cycle": "0"})
    case = next(c for c in CASES if c.op == "Conv")
    graph, inputs = build(case)
    expected = run_integer(graph, inputs)
    for target in (plain, load_target("npu-dev")):
        program = compile_graph(graph, target=target)
        with Session(program.to_bytes(), threads=1) as session:
            actual = session.run(inputs, native=True)
        for name in graph.outputs:
            np.testing.assert_array_equal(actual[name], expected[name])
    assert set(_codings(compile_graph(graph, target=plain))) == {0}


def _codings(program: Program) -> list[int]:
    rows = np.frombuffer(program.commands, isa.COMMAND_DTYPES["DMA_WEIGHTS"])
    return rows["coding"][rows["opcode"] == isa.OPCODES["DMA_WEIGHTS"].number].tolist()
