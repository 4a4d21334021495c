"""Commands to bytes: tensor table, constant sections, 64-byte descriptors."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from edgeq.compiler.command import Command
from edgeq.compiler.views import View
from edgeq.errors import CompileError
from edgeq.graph.ir import Array, Graph
from edgeq.ops.base import q_of
from edgeq.runtime import isa


class _Pool:
    """A section that stores equal blocks once, each aligned to 64 bytes."""

    def __init__(self) -> None:
        self.body = bytearray()
        self._at: dict[bytes, int] = {}

    def add(self, block: bytes) -> int:
        if not block:
            return isa.NONE32
        if block not in self._at:
            self.body += bytes(-len(self.body) % isa.ALIGN)
            self._at[block] = len(self.body)
            self.body += block
        return self._at[block]


class Emitter:
    """Collects sections while commands are written."""

    def __init__(
        self,
        graph: Graph,
        offsets: Mapping[str, int],
        spans: Mapping[str, tuple[int, int]],
        *,
        sram: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        self._graph, self._offsets, self._spans, self._sram = graph, offsets, spans, sram
        self.constants, self.qparams, self.luts = _Pool(), _Pool(), _Pool()
        self.strings = bytearray()
        self._rows: list[Any] = []
        self._ids: dict[View, int] = {}

    def io(self, name: str, view: View) -> None:
        """Add an input or output tensor; they come first and carry scales and zero points."""
        q = q_of(self._graph.values[name])
        count = q.scale.size if q.per_channel else 1
        block = np.broadcast_to(q.scale, (count,)).astype("<f4").tobytes()
        block += np.broadcast_to(q.zero_point, (count,)).astype("<i4").tobytes()
        self._ids.setdefault(view, self._tensor(view, name, self.qparams.add(block), count))

    def tensor(self, view: View) -> int:
        """The id of a view's row in the tensor table."""
        if view not in self._ids:
            self._ids[view] = self._tensor(view, view.root, isa.NONE32, 0)
        return self._ids[view]

    def _tensor(self, view: View, name: str, qparams: int, q_count: int) -> int:
        row = np.zeros((), isa.TENSOR_DTYPE)
        row["name"], row["dtype"], row["ndim"] = (
            len(self.strings),
            isa.DTYPES[view.dtype],
            len(view.dims),
        )
        self.strings += name.encode() + b"\0"
        size = isa.DTYPE_BYTES[view.dtype]
        if view.constant:
            base = self.constants.add(
                np.ascontiguousarray(self._graph.values[view.root.partition(":")[2]].data).tobytes()
            )
            row["region"] = isa.REGIONS["CONSTANTS"]
        else:
            base = self._offsets[view.root]
            if view.root in self._sram:
                row["region"], row["core"] = isa.REGIONS["SRAM"], self._sram[view.root]
        row["offset"] = base + view.offset * size
        row["dims"][: len(view.dims)], row["strides"][: len(view.dims)] = view.dims, view.strides
        row["first"], row["last"] = self._spans.get(view.root, (0, 0))
        row["qparams"], row["q_count"] = qparams, q_count
        if len(self._rows) >= isa.MAX_TENSORS:
            raise CompileError(
                f"graph {self._graph.name}: at most {isa.MAX_TENSORS} tensors fit in a program."
            )
        self._rows.append(row)
        return len(self._rows) - 1

    @property
    def tensors(self) -> Array:
        return np.array(self._rows, isa.TENSOR_DTYPE)

    def command(self, command: Command) -> bytes:
        """One 64-byte descriptor."""
        row = np.zeros((), isa.COMMAND_DTYPES[command.opcode])
        row["opcode"], row["flags"] = isa.OPCODES[command.opcode].number, command.flags
        ids = [self.tensor(v) for v in command.ins] + [isa.NONE16, isa.NONE16]
        row["in0"], row["in1"], row["out"] = ids[0], ids[1], isa.NONE16
        if command.opcode != "SYNC":
            row["out"] = self.tensor(command.out)
        row["rmode"], row["lut_kind"] = isa.RMODES["RNE_F32"], command.lut_kind
        row["constants"] = self.constants.add(command.constants)
        row["qparams"] = self.qparams.add(_rows(command, command.opcode, command.rows))
        if command.addend:
            row["flags"] |= isa.FLAG_ADD
            row["addend"] = self.tensor(command.addend[0])
            row["add_rows"] = self.qparams.add(_rows(command, "ELEMENTWISE", command.add_rows))
        row["lut"] = self.luts.add(command.lut)
        for name, value in command.fields.items():
            row[name] = value
        return row.tobytes()


def _rows(command: Command, opcode: str, rows: Mapping[str, Array]) -> bytes:
    if not rows:
        return b""
    out = b""
    for name, kind in isa.OPCODES[opcode].rows:
        values = rows[name]
        padded = np.zeros(isa.lanes(len(values)), "<" + kind)
        padded[: len(values)] = values
        if not np.isfinite(padded.astype(np.float64)).all():
            raise CompileError(
                f"node {command.node} ({command.op}): {name} must be finite. Its scales are out of range."
            )
        out += padded.tobytes()
    return out
