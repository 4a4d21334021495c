"""Take QuantizeLinear and DequantizeLinear out of an ONNX model, and note what they say.

What is left is a float model of the same reals. Where a pair was, a Requantize node stays: two pairs in a
row are one, and the others keep the passes from folding what lies on both sides, since a pair clamps (many
files have no Relu for that reason). Nothing in the file is trusted: the errors are ModelError.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from edgeq.errors import ModelError
from edgeq.frontend.importing import Call, onnx_op
from edgeq.frontend.onnx_file import check_names, initializers
from edgeq.frontend.onnx_fold import attributes, constant_value
from edgeq.frontend.qdq_params import TYPES, numpy_type, qparams_of, spread
from edgeq.graph.ir import Array, QParams
from edgeq.passes.rewrite import plain_name

ACTIVATIONS = ("int8", "int16")
DOMAINS = ("", "ai.onnx", "com.microsoft")  # ONNX Runtime had int16 before ONNX
REQUANTIZE = "edgeq.Requantize"  # the stripped model's own operator
# may stand between QuantizeLinear and DequantizeLinear: what they do to integers they do to reals
MOVERS = (
    "MaxPool", "Reshape", "Transpose", "Flatten", "Squeeze", "Unsqueeze", "Slice", "Split", "Concat", "Gather",
    "DepthToSpace", "SpaceToDepth", "Expand", "Tile", "GlobalMaxPool",
)  # fmt: skip
# their results fit any range, and passes may look through a pair behind them
OPEN = ("Sigmoid", "HardSigmoid", "Tanh", "Softplus", "Erf")


@dataclass(frozen=True, slots=True, eq=False)
class Stored:
    """A constant of the file: its integers, and the reals that they stand for (float32)."""

    name: str
    integers: Array
    reals: Array
    q: QParams


@dataclass(frozen=True, slots=True, eq=False)
class Stripped:
    """The float model, QParams by tensor (a per-channel axis as in ONNX), constants by `content`."""

    model: onnx.ModelProto
    said: Mapping[str, QParams]
    stored: Mapping[bytes, list[Stored]]


def strip(model: onnx.ModelProto, where: str) -> Stripped:
    """Return the model without its Q and DQ nodes. Raises ModelError for what these say wrongly."""
    walk = _Walk(where, initializers(where, model))
    nodes = check_names(where, model)
    for info in model.graph.input:
        kind = info.type.tensor_type.elem_type
        if info.name not in walk.constants and kind in _INTEGER_INPUTS:
            walk.integers[info.name] = _INTEGER_INPUTS[kind]
    for node in nodes:
        walk.take(node)
    return _finish(model, walk)


def content(reals: Array) -> bytes:
    """Name numbers by what they are, in whatever order and shape."""
    return hashlib.blake2b(np.sort(reals, axis=None).tobytes(), digest_size=16).digest()


@onnx_op(REQUANTIZE)
def requantize(c: Call) -> str:
    """Import the stripped model's Requantize; the attribute keeps two of one value apart."""
    return c.emit("Requantize", [c.x()], {"to": c.out}, last=True)


_INTEGER_INPUTS = {onnx.TensorProto.UINT8: "uint8", onnx.TensorProto.INT8: "int8"}


@dataclass(slots=True)
class _Walk:
    where: str
    constants: dict[str, Array]
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    floats: dict[str, Stored] = field(default_factory=dict)  # dequantized constants, by tensor
    real: dict[str, str] = field(default_factory=dict)  # a tensor that only repeats another one
    said: dict[str, QParams] = field(default_factory=dict)
    integers: dict[str, str] = field(default_factory=dict)  # tensors of integers, and their type
    nice: dict[str, str] = field(default_factory=dict)  # what DequantizeLinear calls a tensor
    held: dict[str, str] = field(default_factory=dict)  # a tensor, and it behind its first pair
    makers: dict[str, onnx.NodeProto] = field(default_factory=dict)

    def take(self, node: onnx.NodeProto) -> None:
        kind = node.op_type if node.domain in DOMAINS else ""
        name = node.name or next(o for o in node.output if o)
        where = f"{self.where}: node {name} ({node.op_type})"
        if kind in ("QuantizeLinear", "DequantizeLinear"):
            self._take_pair(where, node, kind)
            return
        if kind == "Constant":
            value = constant_value(attributes(where, node))
            if value is not None:
                self.constants[node.output[0]] = value
        if kind in ("Identity", "Dropout") or (kind in ("Max", "Min") and len(node.input) == 1):
            x = node.input[0]
            if x in self.constants:
                self.constants[node.output[0]] = self.constants[x]
            elif x not in self.floats and len([o for o in node.output if o]) == 1:
                self.real[node.output[0]] = self.real.get(x, x)
                if x in self.integers:
                    self.integers[node.output[0]] = self.integers[x]
                return
        self._keep(where, node, kind)

    def _take_pair(self, where: str, node: onnx.NodeProto, kind: str) -> None:
        attrs = attributes(where, node)
        if len(node.input) < 2 or not node.input[0] or len(node.output) != 1:
            raise ModelError(
                f"{where}: it must have an input, a scale and one output. Export it again."
            )
        x = node.input[0]
        if x in self.constants and kind == "DequantizeLinear":
            self._constant(where, node, attrs)
        elif x in self.constants or x in self.floats:
            self._quantized_constant(where, node, attrs)
        elif kind == "QuantizeLinear":
            self._quantize(where, node, attrs)
        else:
            self._dequantize(where, node, attrs)

    def _quantize(self, where: str, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
        x, y = node.input[0], node.output[0]
        real = self.real.get(x, x)
        if x in self.integers:
            raise ModelError(
                f"{where}: it must read reals, {x} holds integers. Dequantize it first."
            )
        q, stored = self._activation(where, node, attrs, "")
        self.integers[y] = stored
        again = self.said.setdefault(real, q).same(q)
        if again and real in self.held:
            self.real[y] = self.held[real]
        elif again and self._open(real, q):
            self.real[y] = real
        else:
            self.nodes.append(helper.make_node(REQUANTIZE, [real], [y], name=node.name or y))
            self.said[y] = q
            self.real[y] = y
            self.held |= {real: y, y: y} if again else {y: y}

    def _open(self, real: str, q: QParams) -> bool:
        """True when a pair clamps nothing that its producer makes."""
        maker = self.makers.get(real)
        if maker is None:
            return False
        if maker.op_type in OPEN:
            return True
        xs = [i for i in maker.input[: None if maker.op_type == "Concat" else 1] if i in self.said]
        return (
            maker.op_type in (*MOVERS, "Pad") and all(self.said[i].same(q) for i in xs) and bool(xs)
        )

    def _dequantize(self, where: str, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
        x, y = node.input[0], node.output[0]
        if x not in self.integers:
            raise ModelError(
                f"{where}: it must read integers, {x} holds reals or is unknown. Export the model again."
            )
        real = self.real.get(x, x)
        q, _ = self._activation(where, node, attrs, self.integers[x])
        if not self.said.setdefault(real, q).same(q):
            raise ModelError(
                f"{where}: scale, zero point and axis must be those with which {x} was quantized, they differ. "
                "Export the model again."
            )
        self.real[y] = real
        self.nice.setdefault(real, y)

    def _activation(
        self, where: str, node: onnx.NodeProto, attrs: Mapping[str, Any], given: str
    ) -> tuple[QParams, str]:
        """QParams of an activation, and the integer type in the file."""
        if attrs.get("block_size", 0):
            raise ModelError(
                f"{where}: an activation must have one scale, or one per channel, got blocks. Quantize it again."
            )
        q, stored = qparams_of(where, node, attrs, self.constants, given)
        if q.dtype not in ACTIVATIONS:
            raise ModelError(
                f"{where}: an activation must be 8 or 16 bits, got {stored}. Quantize it again."
            )
        if given and stored != given:
            raise ModelError(
                f"{where}: the zero point must be {given} as the input is, got {stored}. Export the model again."
            )
        return q, stored

    def _constant(self, where: str, node: onnx.NodeProto, attrs: Mapping[str, Any]) -> None:
        """DequantizeLinear of a constant."""
        data = self.constants[node.input[0]]
        if attrs.get("block_size", 0):
            self._keep(where, node, "")  # the reader folds it
            return
        given = str(data.dtype)
        if given not in TYPES:
            raise ModelError(
                f"{where}: {node.input[0]} must hold integers of 4 to 32 bits, got {given}. Export it again."
            )
        q, stored = qparams_of(where, node, attrs, self.constants, given)
        if stored != given:
            raise ModelError(
                f"{where}: the zero point must be {given} as the input is, got {stored}. Export the model again."
            )
        self._store(where, node, data.astype(np.int64) - TYPES[given][1], q)

    def _quantized_constant(
        self, where: str, node: onnx.NodeProto, attrs: Mapping[str, Any]
    ) -> None:
        """QuantizeLinear of a float constant: done here, and left to DequantizeLinear."""
        x = node.input[0]
        data = self.constants[x] if x in self.constants else self.floats[x].reals
        q, stored = qparams_of(where, node, attrs, self.constants, "")
        if (
            data.dtype.kind != "f"
            or node.op_type != "QuantizeLinear"
            or not np.isfinite(data).all()
        ):
            raise ModelError(
                f"{where}: {x} must hold finite reals, got {data.dtype}. Export the model again."
            )
        scale, zero = spread(where, q, data)
        levels = np.rint(data.astype(np.float32) / scale).astype(np.float64) + zero
        ints = np.clip(levels, q.lo, q.hi).astype(np.int64) + TYPES[stored][1]
        self.constants[node.output[0]] = ints.astype(numpy_type(stored))

    def _store(self, where: str, node: onnx.NodeProto, integers: Array, q: QParams) -> None:
        scale, zero = spread(where, q, integers)
        reals = np.asarray((integers - zero).astype(np.float32) * scale, np.float32)
        if q.per_channel:
            q = QParams(q.scale, q.zero_point, q.dtype, q.axis % integers.ndim)
        name = node.output[0]
        self.floats[name] = Stored(name, integers, reals, q)

    def _keep(self, where: str, node: onnx.NodeProto, kind: str) -> None:
        """Take a node over that computes reals, or moves integers as it would move reals."""
        moved = [self.integers[i] for i in node.input if i in self.integers]
        if moved and kind not in MOVERS:
            raise ModelError(
                f"{where}: it must read reals, {node.input[0]} holds integers. Export it as QDQ."
            )
        self.integers.update((o, moved[0]) for o in node.output if moved)
        copy = onnx.NodeProto()
        copy.CopyFrom(node)
        ins = [self.real.get(i, i) for i in node.input]
        if kind == "Mul" and len(set(ins)) == 1 and ins[0] not in self.constants:
            copy.op_type, ins = "Pow", [ins[0], _TWO]  # as which x * x is one table
        del copy.input[:]
        copy.input.extend(ins)
        self.nodes.append(copy)
        self.makers.update((o, copy) for o in copy.output)


_TWO = "edgeq.two"


def _finish(model: onnx.ModelProto, walk: _Walk) -> Stripped:
    """Give tensors their final names, and put the float model together."""
    g = model.graph
    fixed = {i.name for i in g.input} | {t.name for t in g.initializer}
    names = _names(g, walk, fixed)
    nodes = []
    for node in walk.nodes:
        ins, outs = ([names.get(i, i) for i in row] for row in (node.input, node.output))
        del node.input[:], node.output[:]
        node.input.extend(ins)
        node.output.extend(outs)
        nodes.append(node)
    for o in g.output:
        now = walk.real.get(o.name, o.name)
        if names.get(now, now) != o.name:
            nodes.append(helper.make_node("Identity", [names.get(now, now)], [o.name]))
    used = {i for n in nodes for i in n.input}
    constants = [t for t in g.initializer if t.name in used]
    constants += [numpy_helper.from_array(s.reals, n) for n, s in walk.floats.items() if n in used]
    if _TWO in used:
        constants.append(numpy_helper.from_array(np.asarray(2.0, np.float32), _TWO))
    made = {o for n in nodes for o in n.output} | {t.name for t in constants}
    constants += [
        numpy_helper.from_array(np.asarray(x), n)
        for n, x in walk.constants.items()
        if n in used - made - {i.name for i in g.input}
    ]
    body = helper.make_graph(nodes, g.name or "model", list(g.input), list(g.output), constants)
    out = helper.make_model(body, opset_imports=list(model.opset_import))
    out.ir_version = model.ir_version
    out.producer_name, out.producer_version = model.producer_name, model.producer_version
    stored: dict[bytes, list[Stored]] = {}
    for one in walk.floats.values():
        stored.setdefault(content(one.reals), []).append(one)
    return Stripped(out, {names.get(k, k): q for k, q in walk.said.items()}, stored)


def _names(g: onnx.GraphProto, walk: _Walk, fixed: Iterable[str]) -> dict[str, str]:
    """New names: graph outputs keep theirs, and the marks `~` go, which rewrites add to mean the same tensor."""
    names: dict[str, str] = {}
    made = [o for n in walk.nodes for o in n.output if o]
    known = set(made)
    for o in g.output:
        names.setdefault(walk.real.get(o.name, o.name), o.name)
    names = {k: v for k, v in names.items() if k in known}
    taken = {*fixed, *walk.floats, *walk.constants, *(o.name for o in g.output)}
    taken |= {o for o in made if "~" not in o}
    integers = set(walk.integers)
    for o in made:
        if o in names or ("~" not in o and o not in integers):
            continue
        wanted = walk.nice.get(o, o)
        base = plain_name(wanted) if o in walk.nice else o.replace("~", ".")
        name, count = base, 0
        while name in taken and name != o:
            count += 1
            name = f"{base}_{count}"
        taken.add(name)
        names[o] = name
    return names
