"""One command before it becomes bytes, and what the rules that make it look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgeq.compiler.fuse import Layer
from edgeq.compiler.views import View, Views
from edgeq.graph.ir import Array, Graph, Node, Value
from edgeq.runtime import isa
from edgeq.runtime.numerics import LUT8_ENTRIES


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """One command before it becomes bytes. `rows` are per-channel arrays by name."""

    opcode: str
    node: str
    op: str
    ins: tuple[View, ...]
    out: View
    fields: Mapping[str, Any] = field(default_factory=dict)
    rows: Mapping[str, Array] = field(default_factory=dict)
    constants: bytes = b""
    lut: bytes = b""
    lut_kind: int = 0
    flags: int = 0
    macs: int = 0
    addend: tuple[View, ...] = ()  # CONV, DWCONV: the other operand of the sum behind them
    add_rows: Mapping[str, Array] = field(default_factory=dict)

    @property
    def weight_bits(self) -> int:
        """Bits of one weight of CONV or DWCONV."""
        return 4 if self.flags & isa.FLAG_WEIGHTS4 else 8


@dataclass(frozen=True, slots=True)
class Context:
    """What a lowering rule sees: the layer, its values and their views."""

    graph: Graph
    views: Views
    layer: Layer

    @property
    def node(self) -> Node:
        return self.layer.node

    def value(self, i: int) -> Value:
        return self.graph.values[self.node.inputs[i]]

    @property
    def out(self) -> Value:
        """What the node makes, its table included and before a fused sum."""
        return self.graph.values[self.layer.result]

    def view(self, i: int) -> View:
        return self.views.of(self.node.inputs[i])

    @property
    def out_view(self) -> View:
        return self.views.of(self.layer.output)

    def command(self, opcode: str, ins: tuple[View, ...], out: View, **rest: Any) -> Command:
        return Command(opcode, self.node.name, self.node.op, ins, out, **rest)


def table_bytes(table: Array, flags: int) -> tuple[bytes, int, int]:
    kind = isa.LUT_KINDS["LUT8" if len(table) == LUT8_ENTRIES else "LUT16"]
    return table.astype("<i2").tobytes(), kind, flags


def broadcast(rows: Mapping[str, Any], n: int) -> dict[str, Array]:
    return {k: np.broadcast_to(np.asarray(v), (n,)) for k, v in rows.items()}
