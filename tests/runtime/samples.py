"""One small program that holds every opcode, for the tests that damage files."""

from __future__ import annotations

import struct
import zlib

import numpy as np

from edgeq.compiler.weight_codes import LayerCodes, Stream
from edgeq.runtime import isa, numerics
from tests.runtime.builder import Builder, pack_conv, pack_dw, window


def everything() -> bytes:
    """(1,6,6,3) -> CONV+table -> DWCONV -> POOL -> ADD -> LUT16 (output 2) -> ... -> SOFTMAX (output 1)."""
    rng = np.random.default_rng(0)
    b = Builder()
    act = {"zp": 0, "lo": -128, "hi": 127}

    def tensor(*shape: int, dtype: str = "int8", role: str = "mid") -> object:
        return b.tensor(role, shape, dtype)

    def put(opcode: str, source: object, out: object, channels: int = 0, **fields: object) -> None:
        rows = {r: fields.pop(r) for r, _ in isa.OPCODES[opcode].rows if r in fields}
        if rows:
            fields["qparams"] = b.rows(
                opcode, channels, **{k: np.asarray(v) for k, v in rows.items()}
            )
        b.command(opcode, in0=source, out=out, **fields)

    x = b.tensor("in", (1, 6, 6, 3), scale=0.5)
    y = b.tensor("out", (1, 3, 3, 5), scale=1 / 256, zero_point=-128)
    w = rng.integers(-127, 128, (5, 3, 3, 3)).astype(np.int8)
    c1, c2, c3, c4, c5 = (tensor(1, 6, 6, 5) for _ in range(5))
    c6 = tensor(1, 6, 6, 5, role="out")
    t8 = b.lut(rng.integers(-128, 128, 256).astype(np.int16))
    t16 = b.lut(rng.integers(-128, 128, 513).astype(np.int16))
    exp = b.lut(np.concatenate(numerics.exp_tables(0.1, wide=False)))
    put("CONV", x, c1, 5, constants=b.constant(pack_conv(w, 1, np.zeros(1, np.int8))), groups=1, lut=t8, lut_kind=1,
        flags=isa.FLAG_LUT_STEP, m=0.01, wsum=w.reshape(5, -1).sum(1), r=0.5, **act, **window((3, 3), pad=(1, 1)))  # fmt: skip
    d = rng.integers(-127, 128, (3, 3, 5)).astype(np.int8)
    weights = b.constant(pack_dw(d, np.zeros(5, np.int8)))
    put("DWCONV", c1, c2, 5, constants=weights, m=0.01,
        wsum=d.reshape(9, 5).sum(0), **act, **window((3, 3), pad=(1, 1)))  # fmt: skip
    put("POOL", c2, c3, kind=0, **window((3, 3), pad=(1, 1)))
    put("POOL", c2, c4, 5, kind=1, ratio=1.0, zx=0, **act, **window((3, 3), pad=(1, 1)))
    put("ELEMENTWISE", c3, c5, 5, in1=c4, kind=0, ra=0.5, rb=0.5, **act)
    wide = tensor(1, 6, 6, 5, dtype="int16")
    put(
        "ELEMENTWISE",
        c5,
        wide,
        5,
        kind=isa.ELEMENTWISE_KINDS["REQUANT"],
        ra=100.0,
        zp=0,
        lo=-32768,
        hi=32767,
    )
    put("LUT", wide, c6, 5, lut=t16, lut_kind=2, **act)
    small, blend = tensor(1, 3, 3, 5), tensor(1, 4, 4, 5)
    near = numerics.nearest_axis(6, 3, 0.5, "asymmetric", "floor")
    put("RESIZE", c6, small, kind=0, constants=b.constant(np.concatenate([near, near])))
    axis = numerics.lerp_axis(3, 4, 4 / 3, "half_pixel")
    put("RESIZE", small, blend, kind=1, constants=b.constant(np.concatenate([*axis, *axis])))
    flipped, picked, total = tensor(1, 4, 4, 5), tensor(1, 3, 4, 5), tensor(1, 1, 1, 5)
    table = [1, 1, 1, 4, 4, 5, 0, 0, 0, 5, 20, 1, 0, 0, 0, 20, 5, 1, 0, 0]
    put("LAYOUT", blend, flipped, constants=b.constant(np.array(table, np.int32)))
    put("GATHER", flipped, picked, axis=1, constants=b.constant(np.array([3, 0, 1], np.int32)))
    put("REDUCE", picked, total, 5, axes=0b110, ratio=1.0, zx=0, **act)
    scores, ones = tensor(1, 3, 3, 5), tensor(1, 3, 3, 5)
    put("FILL", isa.NONE16, ones, 5, value=3)
    put("ELEMENTWISE", ones, scores, 5, in1=total, kind=1, ra=1.0, **act)
    ta = tensor(1, 3, 3, 3)
    put("GEMM", scores, ta, 3, in1=ones, m=0.1, flags=isa.FLAG_TRANSPOSE_B, za=0, zb=0, **act)
    inside, back, mixed = tensor(1, 3, 3, 5, role="sram"), tensor(1, 3, 3, 5), tensor(1, 3, 3, 5)
    put("DMA_LOAD", scores, inside)
    d = d // 18  # two a byte
    weights = b.constant(pack_dw(d, np.zeros(5, np.int8), 4))
    there = tensor(88, role="sram")
    put("DMA_WEIGHTS", isa.NONE16, there, constants=weights, bytes=88)
    narrow = LayerCodes((np.arange(88) % 4 // 2 * 3).astype(np.int8).tobytes())
    for coding in ("INT4", "SPARSE24"):
        b.command("DMA_WEIGHTS", out=there, **stored(b, narrow.store(narrow.weights, coding)))
    codes = LayerCodes(pack_dw(d, np.zeros(5, np.int8), 4).tobytes())
    b.command("DMA_WEIGHTS", out=there, **stored(b, codes.store(codes.weights, "HUFFMAN")))
    moved = tensor(1, 3, 3, 5, role="sram")
    put("DWCONV", inside, moved, 5, in1=there, constants=weights, m=0.1, wsum=d.reshape(9, 5).sum(0),
        flags=isa.FLAG_WEIGHTS4, **act, **window((3, 3), pad=(1, 1)))  # fmt: skip
    put("SYNC", isa.NONE16, isa.NONE16)
    put("DMA_STORE", moved, back)
    w = rng.integers(-7, 8, (5, 1, 1, 5)).astype(np.int8)
    put("CONV", back, mixed, 5, constants=b.constant(pack_conv(w, 1, np.zeros(1, np.int8), 4)), groups=1,
        m=0.02, wsum=w.reshape(5, -1).sum(1), flags=isa.FLAG_WEIGHTS4, **act, **window((1, 1)))  # fmt: skip
    put("ELEMENTWISE", mixed, scores, 5, in1=ones, kind=0, ra=0.5, rb=0.5, **act)
    put("SOFTMAX", scores, y, lut=exp, zp=-128, inv_scale=256.0)
    return b.build()


def stored(b: Builder, stream: Stream) -> dict[str, int]:
    """The fields of a DMA_WEIGHTS that brings a stream."""
    return {
        "constants": b.put(b.constants, stream.data),
        "bytes": stream.count,
        "coded": len(stream.data),
        "body": stream.body,
        "coding": isa.CODINGS[stream.coding],
        "lut": b.put(b.luts, stream.table),
    }


def mend(body: bytearray) -> bytes:
    """Put the right checksums over damaged bytes, where the section table still makes sense."""
    head, row = isa.HEADER_DTYPE.itemsize, isa.SECTION_DTYPE.itemsize
    if len(body) >= head:
        count = min(struct.unpack_from("<I", body, 12)[0], 64)
        for i in range(count):
            at = head + i * row
            if at + row > len(body):
                break
            _, _, offset, size = struct.unpack_from("<IIQQ", body, at)
            if offset + size <= len(body):
                struct.pack_into("<I", body, at + 4, zlib.crc32(body[offset : offset + size]))
        table = bytes(body[head : head + count * row])
        struct.pack_into("<I", body, 40, zlib.crc32(table, zlib.crc32(bytes(body[:40]))))
    return bytes(body)
