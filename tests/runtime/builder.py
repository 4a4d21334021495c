"""Builds tiny programs by hand, one opcode at a time, for the tests of the runtime."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.runtime import isa
from edgeq.runtime.program import Program

Array = NDArray[Any]


@dataclass(eq=False)
class Tensor:
    """A view that the builder places in the arena, the constants or the SRAM of core 0."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    region: str = "ARENA"
    scale: Any = None
    zero_point: Any = None


@dataclass(eq=False)
class Builder:
    """Collects tensors, constants, rows and commands; `program()` makes the file."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    others: list[Tensor] = field(default_factory=list)
    constants: bytearray = field(default_factory=bytearray)
    qparams: bytearray = field(default_factory=bytearray)
    luts: bytearray = field(default_factory=bytearray)
    commands: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    arena: int = 0
    sram: int = 0  # with any, the program is one for an NPU of one core

    def tensor(
        self,
        role: str,
        shape: tuple[int, ...],
        dtype: str = "int8",
        *,
        pixel: int | None = None,
        row: int = 0,
        lead: int = 0,
        scale: Any = 1.0,
        zero_point: Any = 0,
        data: Array | None = None,
    ) -> Tensor:
        """Place a tensor. `pixel` is the stride of the second last axis, `row` adds to the third
        last, `lead` elements lie before it. `data` puts it into the constants, role "sram" into SRAM."""
        strides = [1] * len(shape)
        for i in range(len(shape) - 2, -1, -1):
            strides[i] = strides[i + 1] * shape[i + 1]
            if i == len(shape) - 2 and pixel is not None:
                strides[i] = pixel
            if i == len(shape) - 3:
                strides[i] += row
        size = isa.DTYPE_BYTES[dtype]
        reach = 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
        t = Tensor(f"{role}{len(self.inputs) + len(self.outputs) + len(self.others)}", dtype, shape,
                   tuple(strides), 0, "ARENA", scale, zero_point)  # fmt: skip
        if data is not None:
            t.region, t.offset = (
                "CONSTANTS",
                self.put(self.constants, np.ascontiguousarray(data).tobytes()),
            )
        elif role == "sram":
            t.region, t.offset = "SRAM", self.sram + lead * size
            self.sram = -(-(t.offset + reach * size) // 64) * 64
        else:
            t.offset = self.arena + lead * size
            self.arena = -(-(t.offset + reach * size) // 64) * 64
        {"in": self.inputs, "out": self.outputs}.get(role, self.others).append(t)
        return t

    @staticmethod
    def put(section: bytearray, body: bytes) -> int:
        """Append `body` at a multiple of 64; return its offset."""
        section.extend(b"\0" * (-len(section) % 64))
        at = len(section)
        section.extend(body)
        return at

    def constant(self, array: Array) -> int:
        return self.put(self.constants, np.ascontiguousarray(array).tobytes())

    def lut(self, array: Array) -> int:
        return self.put(self.luts, np.ascontiguousarray(array).tobytes())

    def rows(self, opcode: str, channels: int, **values: Any) -> int:
        """Rows of one command, padded to LANES; scalars broadcast."""
        body = b""
        for name, kind in isa.OPCODES[opcode].rows:
            row = np.zeros(isa.lanes(channels), "<" + kind)
            row[:channels] = values.get(name, 0)
            body += row.tobytes()
        return self.put(self.qparams, body)

    def command(self, opcode: str, **fields: Any) -> None:
        self.commands.append((opcode, fields))

    def program(self) -> Program:
        """Number the tensors, write the tables."""
        order = [*self.inputs, *self.outputs, *self.others]
        number = {id(t): i for i, t in enumerate(order)}
        strings, table = bytearray(), np.zeros(len(order), isa.TENSOR_DTYPE)
        for row, t in zip(table, order, strict=True):
            row["name"] = len(strings)
            strings += t.name.encode() + b"\0"
            row["dtype"], row["ndim"] = isa.DTYPES[t.dtype], len(t.shape)
            row["region"], row["offset"] = isa.REGIONS[t.region], t.offset
            row["dims"][: len(t.shape)], row["strides"][: len(t.shape)] = t.shape, t.strides
            if t in self.inputs or t in self.outputs:
                scale = np.atleast_1d(np.asarray(t.scale, "<f4"))
                zero = np.broadcast_to(np.asarray(t.zero_point, "<i4"), scale.shape)
                row["q_count"] = len(scale)
                row["qparams"] = self.put(self.qparams, scale.tobytes() + zero.tobytes())
        body = b""
        for opcode, fields in [*self.commands, ("END", {})]:
            c = np.zeros(1, isa.COMMAND_DTYPES[opcode])
            c["opcode"] = isa.OPCODES[opcode].number
            for name in ("in0", "in1", "out", "wait", "signal"):
                c[name] = isa.NONE16
            for name, value in fields.items():
                c[name] = number[id(value)] if isinstance(value, Tensor) else value
            body += c.tobytes()
        io = {
            key: [{"name": t.name, "shape": list(t.shape), "layout": "NHWC"} for t in tensors]
            for key, tensors in (("inputs", self.inputs), ("outputs", self.outputs))
        }
        debug = [{"node": f"n{i}", "op": op, "macs": 0} for i, (op, _) in enumerate(self.commands)]
        timing = np.zeros(len(self.commands) + 1, isa.TIMING_DTYPE) if self.sram else None
        return Program({"name": "test", "card": None, **io}, body, bytes(self.constants), bytes(self.qparams),
                       bytes(self.luts), table, bytes(strings), debug, self.arena, timing, self.sram,
                       int(self.sram > 0))  # fmt: skip

    def build(self) -> bytes:
        return self.program().to_bytes()


def window(
    kernel: tuple[int, int], stride: Any = (1, 1), dilation: Any = (1, 1), pad: Any = (0, 0)
) -> dict[str, int]:
    return {"kh": kernel[0], "kw": kernel[1], "sh": stride[0], "sw": stride[1],
            "dh": dilation[0], "dw": dilation[1], "pt": pad[0], "pl": pad[1]}  # fmt: skip


def pack_conv(w: Array, groups: int, zero_points: Array, bits: int = 8) -> Array:
    """w: (oc, kh, kw, ic/groups) int8 -> panels [groups][oc/16][taps][ic4][16][4], then the pad row."""
    oc, kh, kw, icg = w.shape
    ocg, ic4 = oc // groups, -(-icg // 4)
    lanes = isa.lanes(ocg)
    full = np.zeros((groups, lanes, kh * kw, ic4 * 4), np.int8)
    full[:, :ocg, :, :icg] = w.reshape(groups, ocg, kh * kw, icg)
    panels = full.reshape(groups, lanes // 16, 16, kh * kw, ic4, 4).transpose(0, 1, 3, 4, 2, 5)
    ic = icg * groups
    pad = np.zeros(-(-ic // 64) * 64, np.int8)
    pad[:ic] = zero_points
    return np.concatenate([halves(panels) if bits == 4 else panels.reshape(-1), pad])


def pack_dw(w: Array, zero_points: Array, bits: int = 8) -> Array:
    """w: (kh, kw, c) int8 -> [taps][lanes(c)], then the pad row."""
    kh, kw, c = w.shape
    full = np.zeros((kh * kw, isa.lanes(c)), np.int8)
    full[:, :c] = w.reshape(kh * kw, c)
    pad = np.zeros(isa.lanes(c), np.int8)
    pad[:c] = zero_points
    return np.concatenate([halves(full) if bits == 4 else full.reshape(-1), pad])


def halves(w: Array) -> Array:
    """Two weights a byte: of 64 (or what is left) the first half in the low halves, the rest in the high."""
    flat, out = w.reshape(-1).astype(np.int16) % 16, []
    for i in range(0, len(flat), 64):
        low, high = np.split(flat[i : i + 64], 2)
        out.append((low + 16 * high).astype(np.uint8).view(np.int8))
    return np.concatenate(out)


def group_rows(values: Array, groups: int) -> Array:
    """Per-channel values (oc,) -> (groups * lanes(oc/groups),)."""
    ocg = len(values) // groups
    out = np.zeros((groups, isa.lanes(ocg)), values.dtype)
    out[:, :ocg] = values.reshape(groups, ocg)
    return out.reshape(-1)
