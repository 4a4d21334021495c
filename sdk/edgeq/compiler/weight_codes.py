"""Weights as an NPU program stores them: raw, int4, 2:4 or Huffman-coded, whichever is smallest.

A coding belongs to the bytes that one DMA_WEIGHTS brings, whatever they mean (isa.CODINGS says how they
lie). int4 and 2:4 code as many leading bytes as they can and leave the rest, the pad row above all, as
it is. Huffman has one table per layer and runs of zeros as symbols of their own: dead
channels and padding then cost an eighth of a bit. `decode` is the slow truth of csrc/coding.c.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from edgeq.errors import ProgramError
from edgeq.graph.ir import Array
from edgeq.runtime import isa

_LONGEST = max(isa.CODE_RUNS)
# the runs that make up 0..7 zeros, longest first, as symbols; byte 0 itself is a run of one
_RUN_SYMBOLS = {1: 0, **{run: 256 + i for i, run in enumerate(isa.CODE_RUNS)}}
_REST = [[_RUN_SYMBOLS[run] for run in (4, 2, 1) if rest & run] for rest in range(_LONGEST)]


@dataclass(frozen=True, slots=True)
class Stream:
    """What a DMA_WEIGHTS reads: `body` of the `count` decoded bytes are coded, the others follow plainly."""

    coding: str  # one of isa.CODINGS
    data: bytes
    body: int
    count: int
    table: bytes = b""


@dataclass(frozen=True, eq=False)
class LayerCodes:
    """The codings of one layer: `weights` are all of its bytes; parts of them are coded one by one."""

    weights: bytes

    @cached_property
    def lengths(self) -> Array:
        """Code length of every symbol; every run has one, since parts begin and end elsewhere."""
        stream = symbols(_bytes(self.weights)[: _body(self.weights)])
        counts = np.bincount(stream, minlength=isa.CODE_SYMBOLS)
        counts[[*set(self.weights), *_RUN_SYMBOLS.values()]] += 1
        return code_lengths(counts)

    @cached_property
    def table(self) -> bytes:
        wide = np.append(self.lengths, 0).astype(np.uint8)
        return (wide[0::2] | wide[1::2] << 4).tobytes()

    @cached_property
    def pays(self) -> bool:
        """Huffman saves more than its table takes."""
        sizes = self._sizes(self.weights)
        _, coded = sizes.pop("HUFFMAN")
        return coded + isa.CODE_TABLE_BYTES < min(size for _, size in sizes.values())

    def choose(self, part: bytes) -> tuple[str, int, int]:
        """Coding, bytes of its body, and bytes stored, of a part; raw where nothing is smaller."""
        sizes = self._sizes(part)
        if not self.pays:
            del sizes["HUFFMAN"]
        best = min(sizes, key=lambda name: (sizes[name][1], isa.CODINGS[name]))
        return best, *sizes[best]

    def _sizes(self, part: bytes) -> dict[str, tuple[int, int]]:
        """Body and bytes stored by coding."""
        x, body = _bytes(part), _body(part)
        narrow = _leading((x + np.uint8(8)) < 16, 2)
        sparse = _leading((x[: len(x) // 4 * 4].reshape(-1, 4) != 0).sum(1) <= 2, 2) * 4
        lengths = self.lengths[symbols(x[:body])]
        coded = -(-int(lengths.sum()) // 8) + len(_end(part, body))
        if not lengths.all():  # bytes that the layer lacks: cut 4-bit weights pair up anew
            coded = len(x)
        return {
            "RAW": (0, len(x)),
            "INT4": (narrow, narrow // 2 + len(_end(part, narrow))),
            "SPARSE24": (sparse, sparse // 8 * 5 + len(_end(part, sparse))),
            "HUFFMAN": (body, coded),
        }

    def encode(self, part: bytes) -> Stream:
        """The part in its smallest coding."""
        coding, _, size = self.choose(part)
        stream = self.store(part, coding)
        assert len(stream.data) == size, "sizes are known before anything is coded"
        return stream

    def store(self, part: bytes, coding: str) -> Stream:
        """The part in one coding."""
        body, _ = self._sizes(part)[coding]
        x, end = _bytes(part), _end(part, body)
        match coding:
            case "INT4":
                data = (x[:body:2] & 15 | x[1:body:2] << 4).tobytes() + end
            case "SPARSE24":
                data = _sparse(x[:body].reshape(-1, 4)) + end
            case "HUFFMAN":
                data = pack(symbols(x[:body]), self.lengths) + end
            case _:
                data = part
        return Stream(coding, data, body, len(part), self.table if coding == "HUFFMAN" else b"")


@lru_cache(maxsize=256)
def layer_codes(weights: bytes) -> LayerCodes:
    """LayerCodes, made once for a layer however often it is planned."""
    return LayerCodes(weights)


def symbols(x: Array) -> Array:
    """Bytes as symbols: runs of zeros in as few as there are, the longest first."""
    zero = x == 0
    starts = np.flatnonzero(zero & ~np.concatenate([[False], zero[:-1]]))
    ends = np.flatnonzero(zero & ~np.concatenate([zero[1:], [False]])) + 1
    long, rest = np.divmod(ends - starts, _LONGEST)
    counts = long + np.array([len(r) for r in _REST])[rest]
    items = np.flatnonzero(~zero)
    at = np.concatenate([items, starts])
    repeats = np.concatenate([np.ones(len(items), np.int64), counts])
    order = np.argsort(at, kind="stable")
    out = np.repeat(x[at[order]].astype(np.int64), repeats[order])
    place = np.cumsum(repeats[order]) - repeats[order]  # of an item's first symbol
    first = place[np.searchsorted(at[order], starts)]
    inside = np.repeat(first, long) + _ramp(long)
    out[inside] = _RUN_SYMBOLS[_LONGEST]
    for value, tail in enumerate(_REST):
        for i, symbol in enumerate(tail):
            mine = rest == value
            out[first[mine] + long[mine] + i] = symbol
    return out


def code_lengths(counts: Array) -> Array:
    """Huffman's code lengths, flattened until none exceeds CODE_BITS; at least two symbols occur."""
    present = [int(i) for i in np.flatnonzero(counts)]
    weights = {i: int(counts[i]) for i in present}
    while True:
        heap: list[tuple[int, int, tuple[int, ...]]] = [(n, i, (i,)) for i, n in weights.items()]
        heapq.heapify(heap)
        lengths = np.zeros(isa.CODE_SYMBOLS, np.int64)
        while len(heap) > 1:
            (n, i, a), (m, _, b) = heapq.heappop(heap), heapq.heappop(heap)
            lengths[[*a, *b]] += 1
            heapq.heappush(heap, (n + m, i, a + b))
        if lengths.max() <= isa.CODE_BITS:
            return lengths
        weights = {i: n // 2 + 1 for i, n in weights.items()}


def canonical(lengths: Array) -> Array:
    """Codes by (length, symbol): each is one more than the one before, shifted to its length."""
    codes, code, last = np.zeros(len(lengths), np.int64), 0, 0
    for symbol in np.lexsort((np.arange(len(lengths)), lengths)):
        if lengths[symbol]:
            code <<= int(lengths[symbol]) - last
            last = int(lengths[symbol])
            codes[symbol] = code
            code += 1
    return codes


def pack(stream: Array, lengths: Array) -> bytes:
    """Codes of symbols one behind the other, most significant bit first."""
    size, code = lengths[stream], canonical(lengths)[stream]
    ends = np.cumsum(size)
    start = ends - size
    word = start >> 5
    code <<= 64 - (start & 31) - size  # within two words of 32 bits
    high, low = (code >> 32) & 0xFFFFFFFF, code & 0xFFFFFFFF
    total = int(size.sum())
    count = total // 32 + 2
    words = np.bincount(word, high, count) + np.bincount(word + 1, low, count + 1)[:count]
    return words.astype(">u4").tobytes()[: -(-total // 8)]


def decode(stream: Stream) -> bytes:
    """Decode bit by bit. Raises ProgramError where the C decoder refuses the stream."""
    if stream.coding == "RAW":
        return stream.data
    if stream.body > stream.count or stream.count > len(stream.data) * isa.MOST_EXPANSION:
        raise ProgramError("stream: its sizes contradict each other.")
    match stream.coding:
        case "INT4":
            out, used = _read_int4(stream.data, stream.body)
        case "SPARSE24":
            out, used = _read_sparse(stream.data, stream.body)
        case _:
            out, used = _read_huffman(stream.data, stream.table, stream.body)
    end, left = stream.data[used:], stream.count - stream.body
    if used > len(stream.data) or len(out) != stream.body or len(end) > left or (left and not end):
        raise ProgramError("stream: its end does not follow its body.")
    return out + end + end[-1:] * (left - len(end))


def _read_int4(data: bytes, body: int) -> tuple[bytes, int]:
    """The weights, and how many bytes they took."""
    nibbles = [n for byte in data[: body // 2] for n in (byte & 15, byte >> 4)]
    return bytes((n - 16 if n > 7 else n) & 255 for n in nibbles), body // 2


def _read_sparse(data: bytes, body: int) -> tuple[bytes, int]:
    places, used = data[: body // 8], body // 8 * 5
    values = data[body // 8 : used]
    if body % 8 or len(data) < used:
        raise ProgramError("stream: 2:4 holds 5 bytes for every 8 weights.")
    out = bytearray(body)
    for i in range(body // 4):
        pair = places[i // 2] >> (i % 2 * 4)
        out[4 * i + (pair & 3)] = values[2 * i]
        out[4 * i + (pair >> 2 & 3)] |= values[2 * i + 1]
    return bytes(out), used


def _read_huffman(data: bytes, table: bytes, body: int) -> tuple[bytes, int]:
    lengths = np.array([n for byte in table for n in (byte & 15, byte >> 4)][: isa.CODE_SYMBOLS])
    if lengths.max() > isa.CODE_BITS or (0.5 ** lengths[lengths > 0]).sum() != 1:
        raise ProgramError("stream: its table is not a full code.")
    codes = canonical(lengths)
    by_code = {(int(n), int(codes[s])): s for s, n in enumerate(lengths) if n}
    text = "".join(f"{byte:08b}" for byte in data)
    runs = {256 + i: run for i, run in enumerate(isa.CODE_RUNS)}
    out, at = bytearray(), 0
    while len(out) < body:
        for n in range(1, isa.CODE_BITS + 1):
            symbol = by_code.get((n, int(text[at : at + n] or "0", 2)))
            if symbol is not None and at + n <= len(text):
                break
        else:
            raise ProgramError("stream: it ends too early.")
        at += n
        out += bytes(runs[symbol]) if symbol in runs else bytes([symbol])
    used = -(-at // 8)
    if "1" in text[at : 8 * used]:
        raise ProgramError("stream: its last byte is not filled up with 0.")
    return bytes(out), used


def _sparse(groups: Array) -> bytes:
    """Groups of four with at most two that are not 0."""
    order = np.argsort(groups == 0, axis=1, kind="stable")[:, :2]  # places of what is not 0, first
    values = np.take_along_axis(groups, order, axis=1)
    places = (order[:, 0] | order[:, 1] << 2).astype(np.uint8)
    return (places[0::2] | places[1::2] << 4).tobytes() + values.tobytes()


def _body(part: bytes) -> int:
    """Bytes before the pad row: before one value that repeats, with zeros behind it, to the end."""
    weights = part.rstrip(b"\0")
    return len(weights.rstrip(weights[-1:])) if weights else len(part)


def _end(part: bytes, body: int) -> bytes:
    """What is stored behind the body: all up to a last byte that repeats, within MOST_EXPANSION."""
    end = part[body:]
    return end[: max(len(end.rstrip(end[-1:])) + 1, -(-len(end) // isa.MOST_EXPANSION))]


def _leading(good: Array, step: int) -> int:
    """How many at the start are good, in whole steps."""
    bad = np.flatnonzero(~good)
    return int(bad[0] if len(bad) else len(good)) // step * step


def _ramp(counts: Array) -> Array:
    """0..n-1 for every n in `counts`."""
    before: Array = np.repeat(np.cumsum(counts) - counts, counts)
    return np.arange(len(before)) - before


def _bytes(part: bytes) -> Array:
    return np.frombuffer(part, np.uint8)
