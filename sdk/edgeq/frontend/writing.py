"""The ONNX file being written: tensors of each graph value by axis order, constants, Q/DQ pairs.

A graph value v may exist in several axis orders. Each is a tensor s with a perm such that
v = Transpose(s, perm): () orders as in `edgeq.passes.axes`. PLAIN is v itself; NCHW is a picture as
ONNX wants it. Orders are made only when an operator asks for them, and kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike
from onnx import TensorProto, helper, numpy_helper

from edgeq.graph.ir import Array, Graph, QParams, Value
from edgeq.passes.axes import (
    TO_NHWC,
    Perm,
    broadcast_rank,
    compose,
    inverse,
    moves_only_ones,
    transposed,
)

NCHW: Perm = TO_NHWC  # a value held as NCHW is that tensor transposed to NHWC


def plain(rank: int) -> Perm:
    return tuple(range(rank))


@dataclass(slots=True)
class Writing:
    """Nodes and initializers so far, and where each graph value can be read."""

    graph: Graph
    keep: frozenset[str]  # values that must exist under their own name, as NCHW or plain
    unsigned: bool = True  # int8 activations as uint8
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: dict[str, onnx.TensorProto] = field(default_factory=dict)
    orders: dict[str, dict[Perm, str]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)
    named: set[str] = field(default_factory=set)  # values whose own name is used
    labels: set[str] = field(default_factory=set)  # nodes whose own name is used

    def fresh(self, base: str) -> str:
        name, count = base, 0
        while name in self.taken:
            count += 1
            name = f"{base}_{count}"
        self.taken.add(name)
        return name

    def node(self, op: str, inputs: Sequence[str], out: str, **attrs: Any) -> str:
        """Append an ONNX node with one output and return that."""
        self.nodes.append(helper.make_node(op, list(inputs), [out], name=f"{op}:{out}", **attrs))
        return out

    def part(self, op: str, inputs: Sequence[str], base: str, **attrs: Any) -> str:
        """Append a node whose output nobody names."""
        return self.node(op, inputs, self.fresh(f"{base}~{op.lower()}"), **attrs)

    def init(self, base: str, data: ArrayLike, dtype: str = "") -> str:
        """Add an initializer; equal ones of the same base are added once."""
        tensor = to_tensor(base, data, dtype)
        found = self.constants.get(base)
        if found is not None and found.SerializeToString() == tensor.SerializeToString():
            return base
        if found is not None or base not in self.graph.values:
            tensor.name = self.fresh(base)
        self.constants[tensor.name] = tensor
        return str(tensor.name)

    def value(self, name: str) -> Value:
        return self.graph.values[name]

    def order(self, name: str) -> Perm:
        """The axis order in which the value was made; plain for constants."""
        found = self.orders.get(name)
        return next(iter(found)) if found else plain(len(self.value(name).shape))

    def get(self, name: str, perm: Perm) -> str:
        """Return the tensor that holds the value in this order, transposing once if need be."""
        v = self.value(name)
        if v.data is not None:
            return self.operand(v, perm)
        forms = self.orders[name]
        if perm in forms:
            return forms[perm]
        have, tensor = next(iter(forms.items()))
        step = compose(have, inverse(perm))
        shape = transposed(v.shape, inverse(have))
        final = self.name_for(name, perm)
        out = final if v.q is None else self.fresh(f"{final}~moved")
        if moves_only_ones(shape, step):
            target = self.init(f"{out}~shape", np.asarray(transposed(shape, step), np.int64))
            self.node("Reshape", [tensor, target], out)
        else:
            self.node("Transpose", [tensor], out, perm=list(step))
        if v.q is not None:  # its own pair, so that a runtime moves the integers
            self.pair(name, perm, out, final)
        forms[perm] = final
        return final

    def name_for(self, name: str, perm: Perm) -> str:
        """Choose a tensor's name: the value's own once, in an order that the file promises for it."""
        if name in self.graph.outputs:
            good = perm == plain(len(perm))
        else:
            good = name not in self.keep or perm in (NCHW, plain(len(perm)))
        if good and name not in self.named:
            self.named.add(name)
            return name
        return self.fresh(f"{name}~{_label(perm)}")

    def made(self, name: str, perm: Perm, tensor: str) -> None:
        """Note that the value now exists as this tensor; the first order is the cheapest one."""
        self.orders.setdefault(name, {})[perm] = tensor

    def operand(self, v: Value, perm: Perm) -> str:
        """A constant operand in this order, with leading axes of size 1 up to the perm's rank."""
        assert v.data is not None
        data = v.data.reshape(broadcast_rank(v.shape, len(perm))).transpose(inverse(perm))
        if v.q is None:
            return self.init(v.name, np.ascontiguousarray(data, np.float32))
        axis = perm[v.q.axis % len(v.shape) + len(perm) - len(v.shape)] if v.q.per_channel else 0
        return self.dequantized(v.name, data, v.q, axis, activation=True)

    def weight(self, name: str, data: Array, axis: int) -> str:
        """A weight or bias whose data was put in ONNX order, with its channels on `axis`."""
        q = self.value(name).q
        if q is None:
            return self.init(name, np.ascontiguousarray(data, np.float32))
        return self.dequantized(name, data, q, axis)

    def dequantized(
        self, name: str, data: Array, q: QParams, axis: int, *, activation: bool = False
    ) -> str:
        """DequantizeLinear of an integer initializer."""
        dtype, shift = self.integers(q) if activation else (q.dtype, 0)
        ints = self.init(f"{name}~int", data.astype(np.int32) + shift, dtype)
        scale, zero = self.scale_and_zero(name, q, dtype, shift)
        out = f"{ints}~real"
        if out not in self.taken:
            self.taken.add(out)
            self.node(
                "DequantizeLinear",
                [ints, scale, zero],
                out,
                **({"axis": axis} if q.per_channel else {}),
            )
        return out

    def integers(self, q: QParams) -> tuple[str, int]:
        """How an activation is stored: its integer type, and what to add to our integers."""
        return ("uint8", 128) if q.dtype == "int8" and self.unsigned else (q.dtype, 0)

    def scale_and_zero(self, name: str, q: QParams, dtype: str, shift: int) -> tuple[str, str]:
        zero = np.broadcast_to(q.zero_point + shift, q.scale.shape)
        return self.init(f"{name}~scale", q.scale), self.init(f"{name}~zero", zero, dtype)

    def pair(self, name: str, perm: Perm, real: str, out: str) -> str:
        """QuantizeLinear and DequantizeLinear of an activation held in this order."""
        q = self.value(name).q
        assert q is not None
        scale, zero = self.scale_and_zero(name, q, *self.integers(q))
        ints = self.fresh(f"{name}~int")
        if not q.per_channel:
            self.node("QuantizeLinear", [real, scale, zero], ints)
            return self.node("DequantizeLinear", [ints, scale, zero], out)
        # ONNX Runtime fuses Add, Mul, ... between DequantizeLinear and QuantizeLinear without looking whether
        # the scales are scalars, and then fails to load; a Max of one operand, which is that operand, keeps
        # them apart
        where = {"axis": perm[q.axis % len(perm)]}
        self.node("QuantizeLinear", [self.part("Max", [real], name), scale, zero], ints, **where)
        again = self.fresh(f"{name}~real")
        return self.node(
            "Max", [self.node("DequantizeLinear", [ints, scale, zero], again, **where)], out
        )


def _label(perm: Perm) -> str:
    if perm == NCHW:
        return "nchw"
    return "plain" if perm == plain(len(perm)) else "order" + "".join(map(str, perm))


def to_tensor(name: str, given: ArrayLike, dtype: str = "") -> onnx.TensorProto:
    """Make a TensorProto; int4 is packed two to a byte, low half first (onnx.proto3, TensorProto)."""
    data = np.asarray(given) if dtype in ("", "int4") else np.asarray(given).astype(dtype)
    if dtype != "int4":
        return numpy_helper.from_array(np.ascontiguousarray(data).reshape(data.shape), name)
    flat = (np.ascontiguousarray(data).astype(np.int8).reshape(-1) & 15).astype(np.uint8)
    flat = np.append(flat, np.zeros(flat.size % 2, np.uint8))
    packed = (flat[::2] | (flat[1::2] << 4)).astype(np.uint8)
    return helper.make_tensor(name, TensorProto.INT4, list(data.shape), packed.tobytes(), raw=True)
