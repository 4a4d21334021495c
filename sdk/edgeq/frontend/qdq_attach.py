"""Give a float graph the QParams and integers that its QDQ file says, and make it legal.

Where a value cannot be read in the integers it has, a Requantize node stands in between.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from edgeq.errors import ModelError
from edgeq.frontend.qdq_derive import alike, carried, covering, derive, part_of
from edgeq.frontend.qdq_strip import Stored, content
from edgeq.graph.ir import Array, Graph, Node, QParams, Value, constant
from edgeq.ops import OPS
from edgeq.ops.unary import takes_accumulator
from edgeq.passes.rewrite import plain_name

WEIGHTED = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")
MOST = {"int8": 127, "int4": 7}  # of a weight
EXACT = 127  # the integer that stands for a number with a scale of its own


def attach(
    where: str,
    graph: Graph,
    said: Mapping[str, QParams],
    stored: Mapping[bytes, Sequence[Stored]],
) -> Graph:
    """Return the quantized graph. Raises ModelError, one for all values that lack QParams."""
    known = _known(where, graph, said)
    graph = _merged(graph, known)
    known |= _accumulators(graph, known)
    derive(graph, known)
    for name in graph.inputs:
        if name in known and (known[name].per_channel or known[name].dtype != "int8"):
            known[name] = covering([known[name]])
    wanted = [*graph.inputs, *(n.outputs[0] for n in graph.nodes)]
    if missing := [n for n in wanted if n not in known]:
        count = f"{len(missing)} values have" if len(missing) > 1 else "1 value has"
        raise ModelError(
            f"{where}: every value must pass a QuantizeLinear and DequantizeLinear pair, {count} none and no "
            f"range that follows from others: {', '.join(missing)}. Quantize these too, or quantize the float "
            "model with edgeq quantize."
        )
    build = _Build(graph, known, stored)
    nodes = [made for node in graph.nodes for made in build.legal(node)]
    used = {*graph.inputs, *graph.outputs, *(i for n in nodes for i in (*n.inputs, *n.outputs))}
    values = {k: v for k, v in build.values.items() if k in used}
    return replace(graph, nodes=tuple(nodes), values=values)


def _known(where: str, graph: Graph, said: Mapping[str, QParams]) -> dict[str, QParams]:
    """QParams by the graph's values; `x~` is x in another axis order."""
    known = {}
    for name, value in graph.values.items():
        q = said.get(name) or said.get(plain_name(name))
        if q is None or value.data is not None:
            continue
        if q.per_channel and (not value.shape or len(q.scale) != value.shape[-1]):
            raise ModelError(
                f"{where}: value {name}: scales per channel must lie along its channels {value.shape}, "
                f"got {len(q.scale)} scales. Quantize it per tensor."
            )
        if (q.scale < np.finfo(np.float32).tiny).any():
            raise ModelError(
                f"{where}: value {name}: scales must be normal float32 numbers, got {q.scale.min()}. "
                "Quantize the model again."
            )
        known[name] = replace(q, axis=-1)
    return known


def _merged(graph: Graph, known: dict[str, QParams]) -> Graph:
    """Drop Requantize nodes between equal QParams: they only kept the passes apart."""
    root: dict[str, str] = {}
    final: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        x, y = root.get(node.inputs[0], node.inputs[0]), node.outputs[0]
        fixed = x in graph.inputs or final.get(x, x) in graph.outputs
        q = known.get(y) if node.op == "Requantize" else None
        if q is None or not known.setdefault(x, q).same(q) or (fixed and y in graph.outputs):
            nodes.append(node)
            continue
        root[y] = x
        if not fixed:
            final[x] = y

    def now(name: str) -> str:
        name = root.get(name, name)
        return final.get(name, name)

    nodes = [
        replace(n, inputs=tuple(map(now, n.inputs)), outputs=tuple(map(now, n.outputs)))
        for n in nodes
    ]
    used = {*graph.inputs, *graph.outputs, *(i for n in nodes for i in (*n.inputs, *n.outputs))}
    values = {k: v for k, v in graph.values.items() if k in used}
    return replace(graph, nodes=tuple(nodes), values=values)


def _accumulators(graph: Graph, known: Mapping[str, QParams]) -> dict[str, QParams]:
    """Values without a pair that a table function alone reads: it reads the int32 sums, scales follow."""
    uses, found = graph.consumers(), {}
    for node in graph.nodes:
        out = node.outputs[0]
        readers = uses[out]
        if out in known or out in graph.outputs or node.op not in WEIGHTED or "clip" in node.attrs:
            continue
        if len(readers) == 1 and readers[0].op == "Unary" and takes_accumulator(readers[0].attrs):
            count = graph.value(out).shape[-1]
            found[out] = QParams(np.ones(count, np.float32), np.zeros(count, np.int32), "int32")
    return found


class _Build:
    """The values of the quantized graph, and the nodes that make them."""

    def __init__(
        self, graph: Graph, known: Mapping[str, QParams], stored: Mapping[bytes, Sequence[Stored]]
    ) -> None:
        values = [replace(v, q=known[n]) if n in known else v for n, v in graph.values.items()]
        self.graph = graph.with_values(values)
        self.values: dict[str, Value] = dict(self.graph.values)
        self._stored = stored
        self._done: set[str] = set()  # constants that are integers by now
        self._requantized: dict[tuple[str, bytes], str] = {}
        self._pending: list[Node] = []

    def legal(self, node: Node) -> list[Node]:
        """Return the node with integer constants, and the Requantize nodes around it."""
        ins = list(node.inputs)
        if OPS[node.op].moves:
            node = self._moved(node)
        elif node.op in WEIGHTED:
            ins[0] = self._readable(node, ins[0])
            node = replace(node, inputs=self._weighted(node, ins))
        elif node.op == "PRelu":
            node = replace(node, inputs=(self._readable(node, ins[0]), ins[1]))
        else:
            for k, name in enumerate(ins):
                ins[k] = (
                    self._readable(node, name)
                    if self.values[name].data is None
                    else self._operand(node, self.values[name])
                )
            attrs = {} if node.op == "Requantize" else node.attrs
            node = replace(node, inputs=tuple(ins), attrs=attrs)
        at = [n.op != "Requantize" or n.inputs[0] != node.outputs[0] for n in self._pending]
        before = [n for n, first in zip(self._pending, at, strict=True) if first]
        after = [n for n, first in zip(self._pending, at, strict=True) if not first]
        self._pending = []
        return [*before, node, *after]

    def _q(self, name: str) -> QParams:
        q = self.values[name].q
        assert q is not None
        return q

    def _readable(self, node: Node, name: str) -> str:
        """The value in integers that the node may read."""
        q, out = self._q(name), self.values[node.outputs[0]].shape
        if q.dtype == "int32":
            return name
        each = bool(OPS[node.op].channelwise)
        if node.op == "ReduceMean":
            each = len(self.values[name].shape) - 1 not in node.attrs["axes"]
        elif each and node.op in ("Add", "Sub", "Mul", "Div"):
            each = self.values[name].shape[-1:] == out[-1:]
        wide = bool(OPS[node.op].wide)
        if (q.per_channel and not each) or (q.dtype == "int16" and not wide):
            return self._requantize(name, covering([q]))
        return name

    def _requantize(self, name: str, q: QParams) -> str:
        key = (name, repr((q.dtype, q.scale.tolist(), q.zero_point.tolist())).encode())
        if key not in self._requantized:
            out = self._fresh(f"{name}.requantized")
            self.values[out] = Value(out, self.values[name].shape, q=q)
            self._pending.append(Node("Requantize", out, (name,), (out,)))
            self._requantized[key] = out
        return self._requantized[key]

    def _moved(self, node: Node) -> Node:
        """A movement: its output has its inputs' QParams, or a Requantize node stands in between."""
        out = node.outputs[0]
        if node.op == "Concat":
            ins = []
            for k, name in enumerate(node.inputs):
                wanted = part_of(self.graph, node, k)
                assert wanted is not None
                value = self.values[name]
                if value.data is not None:
                    ins.append(self._shared(node, value, wanted))
                else:
                    same = alike(self._q(name), wanted)
                    ins.append(name if same else self._requantize(name, wanted))
            return replace(node, inputs=tuple(ins))
        x = node.inputs[0]
        if node.op == "Resize" and node.attrs["mode"] != "nearest" and self._q(x).dtype == "int16":
            x = self._requantize(x, covering([self._q(x)]))
        q = carried(self.graph, node, self._q(x))
        if q is None:
            x = self._requantize(x, covering([self._q(x)]))
            q = self._q(x)
        node = replace(node, inputs=(x,))
        if alike(q, self._q(out)):
            return node
        inner = self._fresh(f"{out}.moved")
        self.values[inner] = Value(inner, self.values[out].shape, q=q)
        self._pending.append(Node("Requantize", f"{node.name}.requantize", (inner,), (out,)))
        return replace(node, outputs=(inner,))

    def _weighted(self, node: Node, ins: list[str]) -> tuple[str, ...]:
        """Weights and bias of a Conv-like node as integers."""
        axis = 2 if node.op == "DepthwiseConv" else 0
        x, w = self._q(ins[0]), self.graph.value(ins[1])
        data, q = self._weight(w, axis)
        ins[1] = self._put(constant(w.name, data, q), node)
        out = self.values[node.outputs[0]]
        if out.q is not None and out.q.dtype == "int32":
            scale = x.scale.astype(np.float64) * q.scale.astype(np.float64)
            held = np.broadcast_to(scale, out.shape[-1:]).astype(np.float32)
            self.values[out.name] = replace(out, q=replace(out.q, scale=held))
        if ins[2]:
            bias = self.graph.value(ins[2])
            assert bias.data is not None
            if bias.shape != (data.shape[axis],):
                raise ModelError(
                    f"node {node.name} ({node.op}): its bias must have shape ({data.shape[axis]},), got "
                    f"{bias.shape}. Export the model again."
                )
            scale = x.scale.astype(np.float64) * q.scale.astype(np.float64)
            scale = np.broadcast_to(scale, bias.data.shape)
            ints = self._bias(node, bias.data, scale)
            sums = QParams(scale.astype(np.float32), np.zeros(scale.shape, np.int32), "int32", 0)
            ins[2] = self._put(constant(bias.name, ints, sums), node)
        return tuple(ins)

    def _weight(self, w: Value, axis: int) -> tuple[Array, QParams]:
        """The file's integers where passes only moved them; else weights of one channel's own scale."""
        assert w.data is not None
        for one in self._candidates(w):
            ints = integers_of(w.data, one.q, axis)
            fits = one.q.dtype in MOST and not one.q.zero_point.any()
            if fits and ints is not None and (one.q.scale >= np.finfo(np.float32).tiny).all():
                most = MOST[one.q.dtype]
                q = replace(one.q, axis=axis)
                # -128 is no weight: the one step from there to -127 is lost
                return np.clip(ints, -most, most).astype(np.int8), q
        rows = np.moveaxis(w.data.astype(np.float64), axis, -1)
        most = np.abs(rows).reshape(-1, rows.shape[-1]).max(axis=0)
        scale = np.clip(np.where(most > 0, most, 1.0) / EXACT, 1e-12, 1e12).astype(np.float32)
        ints = np.moveaxis(np.rint(rows / scale.astype(np.float64)), -1, axis)
        data = np.ascontiguousarray(np.clip(ints, -EXACT, EXACT).astype(np.int8))
        return data, QParams(scale, np.zeros(scale.shape, np.int32), "int8", axis)

    def _bias(self, node: Node, data: Array, scale: Array) -> Array:
        """The file's int32 where their scale is that of the sums; else their reals on it."""
        key = content(data)
        for one in self._stored.get(key, ()):
            if (
                one.q.dtype == "int32"
                and not one.q.zero_point.any()
                and one.reals.size == data.size
            ):
                held = np.broadcast_to(one.q.scale, data.shape)
                if np.allclose(held, scale, rtol=1e-6, atol=0) and _flat_equal(one.reals, data):
                    return one.integers.reshape(data.shape).astype(np.int32)
        ints = np.rint(data.astype(np.float64) / scale)
        if not (np.abs(ints) < 2**31).all():
            raise ModelError(
                f"node {node.name} ({node.op}): its bias must fit int32 on the scale of its sums, got "
                f"{np.abs(ints).max():.3g} steps. Quantize the model again."
            )
        return ints.astype(np.int32)

    def _operand(self, node: Node, value: Value) -> str:
        """A constant beside computed values: the file's integers, or the nearest exact ones."""
        x = value.data
        assert x is not None
        for one in self._candidates(value):
            ints = integers_of(x, one.q, -1)
            if one.q.dtype in ("int8", "int16") and ints is not None:
                q = replace(one.q, axis=-1)
                return self._put(constant(value.name, ints.astype(q.dtype), q), node)
        most = np.abs(x.astype(np.float64))
        if node.op in ("MatMul", "Softmax"):
            q = covering([_symmetric(np.asarray(most.max()), EXACT, "int8")])
        elif x.size == 1 or x.size == x.shape[-1] == self.values[node.outputs[0]].shape[-1]:
            q = _symmetric(most.reshape(()) if x.size == 1 else most.reshape(-1), EXACT, "int8")
        else:
            q = _symmetric(np.asarray(most.max()), 32767, "int16")
        return self._shared(node, value, q)

    def _shared(self, node: Node, value: Value, q: QParams) -> str:
        """A constant in given integers."""
        assert value.data is not None
        ints = np.rint(value.data / q.scale.astype(np.float64)) + q.zero_point
        data = np.clip(ints, q.lo, q.hi).astype(q.dtype)
        return self._put(constant(value.name, data, q), node)

    def _candidates(self, value: Value) -> list[Stored]:
        """Constants of the file with the same numbers, that of the same name first."""
        assert value.data is not None
        found = list(self._stored.get(content(np.asarray(value.data, np.float32)), ()))
        return sorted(found, key=lambda s: plain_name(s.name) != plain_name(value.name))

    def _put(self, value: Value, node: Node) -> str:
        """Store a constant; where its name has other integers, under the node's name too."""
        old = self.values.get(value.name)
        if value.name in self._done and old is not None and old.q is not None:
            assert old.data is not None and value.q is not None
            if old.q.same(value.q) and np.array_equal(old.data, np.asarray(value.data)):
                return value.name
            value = replace(value, name=self._fresh(f"{value.name}.{node.name}"))
        self._done.add(value.name)
        self.values[value.name] = value
        return value.name

    def _fresh(self, base: str) -> str:
        name, count = base, 0
        while name in self.values:
            count += 1
            name = f"{base}_{count}"
        return name


def integers_of(x: Array, q: QParams, axis: int) -> Array | None:
    """The integers that float32 `x` was made from, its channels on `axis`; None if it was not."""
    scale, zero = q.scale.astype(np.float64), q.zero_point
    if q.per_channel:
        if not x.ndim or x.shape[axis] != len(scale):
            return None
        side = [1] * x.ndim
        side[axis] = -1
        scale, zero = scale.reshape(side), zero.reshape(side)
    levels = x.astype(np.float64) / scale
    ints = np.rint(levels)
    near = np.abs(levels - ints) <= np.maximum(1e-5, np.abs(ints) * 2e-7)
    stored = ints + zero
    if not near.all() or stored.min(initial=0) < q.lo or stored.max(initial=0) > q.hi:
        return None
    return stored.astype(np.int32)


def _flat_equal(a: Array, b: Array) -> bool:
    return np.array_equal(a.reshape(-1), b.reshape(-1))


def _symmetric(most: Array, level: int, dtype: str) -> QParams:
    scale = np.clip(np.where(most > 0, most, float(level)) / level, 1e-12, 1e12).astype(np.float32)
    return QParams(np.asarray(scale), np.zeros(scale.shape, np.int32), dtype)
