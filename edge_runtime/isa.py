"""The command set and the binary tables of an .edgeq file, defined once.

`csrc/isa.h` is generated from this file (`python edge_runtime/isa.py`), a test keeps the two equal.
All numbers are little-endian. A command is 64 bytes: a 28-byte head that every opcode shares and
36 bytes of fields of its own. Offsets count bytes from the start of their section.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Field = tuple[str, str] | tuple[str, str, int]

FORMAT_VERSION = 1
ISA_VERSION = 4
MAGIC = b"\x89EDGEQ\r\n"
NONE16 = 0xFFFF
NONE32 = 0xFFFFFFFF
ALIGN = 64
LANES = 16  # output channels of one weight panel; per-channel rows are padded to it
MAX_DIMS = 6

# limits that the loader enforces before it allocates or computes anything
MAX_FILE_BYTES = 1 << 30
MAX_ARENA_BYTES = 1 << 30
MAX_META_BYTES = 1 << 20
MAX_TENSORS = 0xFFFE
MAX_COMMANDS = 1 << 16
MAX_IO = 64
MAX_TAPS = 4096  # kh * kw of CONV and DWCONV
MAX_CORES = 64
MAX_UNPACKED_BYTES = 1 << 24  # 4-bit weights that one worker holds as int8

SECTIONS = {
    "META": 1,
    "COMMANDS": 2,
    "CONSTANTS": 3,
    "QPARAMS": 4,
    "LUTS": 5,
    "TENSORS": 6,
    "STRINGS": 7,
    "DEBUG": 8,
    "TIMING": 9,  # programs for an NPU only
}
OPTIONAL_SECTIONS = ("TIMING",)
DTYPES = {"int8": 1, "int16": 2, "int32": 3, "float32": 4}
DTYPE_BYTES = {"int8": 1, "int16": 2, "int32": 4, "float32": 4}
REGIONS = {"ARENA": 0, "CONSTANTS": 1, "SRAM": 2}  # SRAM: scratch of one core of an NPU
RMODES = {"RNE_F32": 0}
LUT_KINDS = {"NONE": 0, "LUT8": 1, "LUT16": 2}
ELEMENTWISE_KINDS = {"ADD": 0, "MUL": 1, "DIV": 2, "PRELU": 3, "REQUANT": 4}
POOL_KINDS = {"MAX": 0, "AVG": 1}
RESIZE_KINDS = {"NEAREST": 0, "LINEAR": 1}
# How the bytes that DMA_WEIGHTS brings are stored. The first `body` are coded; the others, the pad row above
# all, follow as they are up to a last byte that repeats to the end.
# INT4: two's complement nibbles, low nibble first. SPARSE24: of every 4 bytes at most 2 are not 0; first
# 4 bits a group (places of the two, 2 bits each, low nibble first), then their bytes. HUFFMAN: a canonical
# code, most significant bit first, over the 256 bytes and CODE_RUNS zeros in a row, filled up to a byte with
# 0; LUTS holds the code lengths of all symbols as nibbles, 0 where a symbol has no code.
CODINGS = {"RAW": 0, "INT4": 1, "SPARSE24": 2, "HUFFMAN": 3}
CODE_RUNS = (2, 4, 8)
CODE_SYMBOLS = 256 + len(CODE_RUNS)
CODE_BITS = 12  # of the longest code
CODE_TABLE_BYTES = (CODE_SYMBOLS + 1) // 2
MOST_EXPANSION = 64  # decoded bytes per stored one: a bit holds at most 8, and the end keeps to it
# The queues of one core run in order and side by side. Bit 4 * a + b of `signal` puts a token from
# queue a to queue b when the command ends; the same bit of `wait` takes one before it starts.
QUEUES = {"LOAD": 0, "LOAD_W": 1, "EXEC": 2, "STORE": 3}

# file header, then one SECTION row per section
HEADER: list[Field] = [
    ("magic", "S8"), ("format_version", "u2"), ("isa_version", "u2"), ("sections", "u4"),
    ("file_bytes", "u8"), ("arena_bytes", "u8"), ("inputs", "u4"), ("outputs", "u4"),
    ("table_crc", "u4"),  # CRC-32 of the header up to here, then of the section table
    ("sram_bytes", "u4"), ("cores", "u4"),  # scratch of one core, cores; 0 for the cpu
    ("npu_crc", "u4"),  # CRC-32 of the two; 0 for the cpu
    ("reserved", "u4", 2),
]  # fmt: skip
SECTION: list[Field] = [("kind", "u4"), ("crc", "u4"), ("offset", "u8"), ("bytes", "u8")]

# one tensor: a strided view into a region; the first `inputs` tensors are the program's inputs,
# the next `outputs` tensors its outputs
TENSOR: list[Field] = [
    ("name", "u4"),  # offset of a NUL-terminated UTF-8 string in STRINGS
    ("dtype", "u1"), ("ndim", "u1"), ("region", "u1"), ("core", "u1"),  # core: whose SRAM
    ("offset", "u8"),  # bytes from the start of the region
    ("dims", "i4", MAX_DIMS), ("strides", "i4", MAX_DIMS),  # strides count elements
    ("first", "u4"), ("last", "u4"),  # first and last command that touch it
    ("qparams", "u4"),  # io tensors: offset of q_count scales (f32) then q_count zero points (i32)
    ("q_count", "u4"),  # 0 none, 1 per tensor, dims[ndim-1] per channel
]  # fmt: skip

HEAD: list[Field] = [
    ("opcode", "u1"), ("core", "u1"), ("flags", "u2"), ("wait", "u2"), ("signal", "u2"),
    ("in0", "u2"), ("in1", "u2"), ("out", "u2"), ("rmode", "u1"), ("lut_kind", "u1"),
    ("constants", "u4"), ("qparams", "u4"), ("lut", "u4"),
]  # fmt: skip

FLAG_LUT_STEP = 1  # after the table a per-channel step: y = clamp(rint(f32(T) * r[c]) + zp[c])
FLAG_COUNT_PAD = 2  # average pooling divides by the full window
FLAG_TRANSPOSE_B = 4  # GEMM: in1 is (N, K)
FLAG_LUT_GATE = 8  # CONV, DWCONV with LUT16: y = clamp(rint((f32(acc) * r[c]) * f32(T)) + zp[c])
FLAG_WEIGHTS4 = 16  # CONV, DWCONV: two weights a byte (kernels.h, eq_unpack4_fn); pad row as ever
FLAG_ADD = (
    32  # CONV, DWCONV of int8: behind the epilogue y = clamp(add(y, addend)), as ELEMENTWISE ADD
)
GATE_EXPONENT = 80  # with FLAG_LUT_GATE |r| < 2**80, so that no product is NaN

WINDOW: list[Field] = [
    ("kh", "u2"), ("kw", "u2"), ("sh", "u2"), ("sw", "u2"), ("dh", "u2"), ("dw", "u2"),
    ("pt", "i2"), ("pl", "i2"),  # rows above and columns left of the input; negative crops
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Opcode:
    """One opcode: its number, its own fields, and its rows in QPARAMS (name, type), LANES-padded."""

    number: int
    fields: Sequence[Field]
    rows: tuple[tuple[str, str], ...] = ()


CONV_ROWS = (
    ("bias", "i4"),
    ("wsum", "i4"),
    ("m", "f4"),
    ("zp", "i4"),
    ("lo", "i4"),
    ("hi", "i4"),
    ("r", "f4"),
)
# with FLAG_ADD: a tensor of out's dims, and the rows of the sum, which are those of ELEMENTWISE
ADDEND: list[Field] = [("addend", "u2"), ("add_rows", "u4")]
ADD_ROWS = (
    ("za", "i4"),
    ("zb", "i4"),
    ("ra", "f4"),
    ("rb", "f4"),
    ("zp", "i4"),
    ("lo", "i4"),
    ("hi", "i4"),
)
MEAN_ROWS = (("ratio", "f8"), ("zx", "i4"), ("zp", "i4"), ("lo", "i4"), ("hi", "i4"))

OPCODES: dict[str, Opcode] = {
    "END": Opcode(0, []),
    # (n,h,w,ic) int8 -> (n,oh,ow,oc) int8|int16. Weights in CONSTANTS, then one pad row of ic bytes.
    "CONV": Opcode(1, [*WINDOW, ("groups", "u4"), ("pre_zero", "i2"), *ADDEND], CONV_ROWS),
    "DWCONV": Opcode(2, [*WINDOW, ("reserved0", "u4"), ("pre_zero", "i2"), *ADDEND], CONV_ROWS),
    # two activations: (..., M, K) x (..., K, N) int8 -> int8|int16
    "GEMM": Opcode(3, [("za", "i2"), ("zb", "i2")], (("m", "f4"), ("zp", "i4"), ("lo", "i4"), ("hi", "i4"))),
    "POOL": Opcode(4, [*WINDOW, ("kind", "u1")], MEAN_ROWS),
    "ELEMENTWISE": Opcode(5, [("kind", "u1")], ADD_ROWS),
    "LUT": Opcode(6, [("pre_zero", "i2")], (("zp", "i4"), ("lo", "i4"), ("hi", "i4"), ("r", "f4"))),
    # mean over the axes in the mask (bit i = input axis i); out has those axes removed or of size 1
    "REDUCE": Opcode(7, [("axes", "u1")], MEAN_ROWS),
    # over the last axis; LUTS holds fine[256], coarse[256] u32
    "SOFTMAX": Opcode(8, [("zp", "i4"), ("inv_scale", "f8")]),
    # CONSTANTS: NEAREST ys[oh] xs[ow] i32; LINEAR y0 y1 wy (oh each) x0 x1 wx (ow each) i32
    "RESIZE": Opcode(9, [("kind", "u1")]),
    # CONSTANTS: dims[6] src_strides[6] dst_strides[6] src_offset dst_offset i32, all in elements
    "LAYOUT": Opcode(10, []),
    "FILL": Opcode(11, [], (("value", "i4"),)),
    # CONSTANTS: count i32 indices along `axis`
    "GATHER": Opcode(12, [("axis", "u4")]),
    # copy in0 (ARENA or CONSTANTS) to out (SRAM), or in0 (SRAM) to out (ARENA); equal dims, any strides
    "DMA_LOAD": Opcode(13, []),
    "DMA_STORE": Opcode(14, []),
    # `coded` bytes of CONSTANTS become `bytes` in out (SRAM); CONV and DWCONV then read them there, as in1
    "DMA_WEIGHTS": Opcode(15, [("bytes", "u4"), ("coded", "u4"), ("body", "u4"), ("coding", "u1")]),
    # every core waits here for all others
    "SYNC": Opcode(16, []),
}  # fmt: skip

_C = {"u1": "uint8_t", "u2": "uint16_t", "u4": "uint32_t", "u8": "uint64_t",
      "i2": "int16_t", "i4": "int32_t", "f4": "float", "f8": "double", "S8": "char"}  # fmt: skip
_SIZE = {"u1": 1, "u2": 2, "u4": 4, "u8": 8, "i2": 2, "i4": 4, "f4": 4, "f8": 8, "S8": 8}


def record(fields: Sequence[Field], size: int | None = None) -> np.dtype[Any]:
    """numpy dtype of a packed little-endian record, padded to `size` bytes."""
    names = [f[0] for f in fields]
    formats = [("<" + f[1]) if len(f) == 2 else ("<" + f[1], f[2]) for f in fields]
    offsets, at = [], 0
    for f in fields:
        offsets.append(at)
        at += _SIZE[f[1]] * (f[2] if len(f) == 3 else 1)
    if size is not None and at > size:
        raise ValueError(f"record of {at} bytes does not fit in {size}")
    return np.dtype(
        {"names": names, "formats": formats, "offsets": offsets, "itemsize": size or at}
    )


# one row per command of an NPU program: what the clock needs to know
TIMING: list[Field] = [
    ("queue", "u1"), ("core", "u1"), ("layer", "u2"),  # layer: index into META "layers"
    ("cycles", "u4"), ("dram_cycles", "u4"),  # from start to end; of them on the external memory
    ("dram_bytes", "u4"), ("sram_bytes", "u4"), ("vector", "u4"), ("macs", "u8"),
]  # fmt: skip

HEADER_DTYPE = record(HEADER)
SECTION_DTYPE = record(SECTION)
TENSOR_DTYPE = record(TENSOR)
TIMING_DTYPE = record(TIMING)
COMMAND_DTYPES = {name: record([*HEAD, *op.fields], 64) for name, op in OPCODES.items()}


def lanes(n: int) -> int:
    """`n` rounded up to LANES."""
    return -(-n // LANES) * LANES


def c_header() -> str:
    """The text of csrc/isa.h."""
    out = [
        "/* Generated by edge_runtime/isa.py: do not edit. */",
        "#ifndef EDGEQ_ISA_H", "#define EDGEQ_ISA_H", "#include <stdint.h>", "",
        '#define EQ_MAGIC "\\x89" "EDGEQ\\r\\n"',
    ]  # fmt: skip
    for name in ("FORMAT_VERSION", "ISA_VERSION", "NONE16", "NONE32", "ALIGN", "LANES", "MAX_DIMS", "MAX_FILE_BYTES",
                 "MAX_ARENA_BYTES", "MAX_META_BYTES", "MAX_TENSORS", "MAX_COMMANDS", "MAX_IO", "MAX_TAPS", "MAX_CORES",
                 "MAX_UNPACKED_BYTES",
                 "FLAG_LUT_STEP", "FLAG_COUNT_PAD", "FLAG_TRANSPOSE_B",
                 "FLAG_LUT_GATE", "FLAG_WEIGHTS4", "FLAG_ADD", "GATE_EXPONENT",
                 "CODE_SYMBOLS", "CODE_BITS", "CODE_TABLE_BYTES", "MOST_EXPANSION"):  # fmt: skip
        out.append(f"#define EQ_{name} {globals()[name]}u")
    tables = {"SECTION": SECTIONS, "DTYPE": DTYPES, "REGION": REGIONS, "RMODE": RMODES, "QUEUE": QUEUES, "LUT": LUT_KINDS,
              "CODING": CODINGS, "EW": ELEMENTWISE_KINDS, "POOL": POOL_KINDS, "RESIZE": RESIZE_KINDS}  # fmt: skip
    for prefix, table in tables.items():
        body = ", ".join(f"EQ_{prefix}_{k.upper()} = {v}" for k, v in table.items())
        out.append(f"enum {{ {body} }};")
    body = ", ".join(f"EQ_OP_{k} = {v.number}" for k, v in OPCODES.items())
    out += [f"enum {{ {body} }};", "", "#pragma pack(push, 1)"]
    out += _struct("eq_header", HEADER, None) + _struct("eq_section", SECTION, None)
    out += _struct("eq_tensor_row", TENSOR, None) + _struct("eq_timing", TIMING, None)
    out += _struct("eq_head", HEAD, 64)
    for name, op in OPCODES.items():
        if op.fields:
            out += _struct(f"eq_cmd_{name.lower()}", [*HEAD, *op.fields], 64)
    out += [
        "#pragma pack(pop)",
        "",
        "/* rows of QPARAMS, in order; each holds EQ_LANES-padded channels */",
    ]
    for name, op in OPCODES.items():
        if op.rows:
            body = ", ".join(f"EQ_{name}_ROW_{r.upper()}" for r, _ in op.rows)
            out.append(f"enum {{ {body} }};")
    out += ["", "#endif", ""]
    return "\n".join(out)


def _struct(name: str, fields: Sequence[Field], size: int | None) -> list[str]:
    lines = ["typedef struct {"]
    used = 0
    for f in fields:
        count = 8 if f[1] == "S8" else (f[2] if len(f) == 3 else 1)
        used += (1 if f[1] == "S8" else _SIZE[f[1]]) * count
        lines.append(f"  {_C[f[1]]} {f[0]}{f'[{count}]' if count > 1 else ''};")
    if size is not None and used < size:
        lines.append(f"  uint8_t tail[{size - used}];")
    return [*lines, f"}} {name};", f'_Static_assert(sizeof({name}) == {size or used}, "{name}");']


if __name__ == "__main__":
    path = Path(__file__).parent / "csrc" / "isa.h"
    path.write_text(c_header())
    print(f"wrote {path}")
