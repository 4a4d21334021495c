"""Build a graph node by node: `Builder` from nothing, `Rewrite` while walking an older graph in order."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from edgeq.errors import ModelError
from edgeq.graph.ir import Array, Graph, Node, Shape, Value, constant
from edgeq.ops import OPS

MAX_ELEMENTS = 2**31


class Builder:
    """Nodes appended in topological order; every emitted value gets its shape from the op's rule."""

    def __init__(self) -> None:
        self.values: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.maker: dict[str, Node] = {}
        self.reserved: set[str] = set()

    def fresh(self, base: str) -> str:
        """Return `base`, or the first of base_1, base_2, ... that no value has."""
        name, count = base, 0
        while name in self.values or name in self.reserved:
            count += 1
            name = f"{base}_{count}"
        return name

    def shape(self, name: str) -> Shape:
        return self.values[name].shape

    def data(self, name: str) -> Array | None:
        return self.values[name].data if name else None

    def const(self, base: str, data: ArrayLike) -> str:
        """Add a float32 constant and return its name."""
        name = self.fresh(base)
        array = np.asarray(data, np.float32)
        self.values[name] = constant(name, np.ascontiguousarray(array).reshape(array.shape))
        return name

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Any] | None = None,
        *,
        out: str,
        name: str = "",
    ) -> str:
        """Append a node whose value is called `out`, and return `out`. Raises ModelError on its shape rule."""
        attrs = dict(attrs or {})
        shapes = [self.values[i].shape if i else None for i in inputs]
        try:
            shape = OPS[op].shape(attrs, shapes)
        except ValueError as e:
            raise ModelError(f"node {name or out} ({op}): {e}. Re-export the model.") from None
        if math.prod(shape) > MAX_ELEMENTS:
            raise ModelError(
                f"node {name or out} ({op}): a value must have at most 2^31 elements, got {tuple(shape)}. "
                "Use a smaller input."
            )
        node = Node(op, name or out, tuple(inputs), (out,), attrs)
        self.values[out] = Value(out, tuple(int(d) for d in shape))
        self.nodes.append(node)
        self.maker[out] = node
        return out


class Rewrite(Builder):
    """Walks `old` in order and builds its successor; values keep their names where they stay the same tensor.

    A pass calls `copy(node)` for what it leaves alone, `emit(..., out=...)` with the old name for what it
    computes otherwise, and `replace(old, new)` where a value turns out to be another one.
    """

    def __init__(self, old: Graph) -> None:
        super().__init__()
        self.old = old
        self.changed = False
        self._now: dict[str, str] = {}
        self._uses = {name: len(nodes) for name, nodes in old.consumers().items()}
        for name in old.outputs:
            self._uses[name] = self._uses.get(name, 0) + 1
        made = {o for n in old.nodes for o in n.outputs}
        self.values.update({k: v for k, v in old.values.items() if k not in made})
        self.reserved = made | set(old.outputs)

    def now(self, name: str) -> str:
        """Return the name by which an old value goes in the new graph."""
        return self._now.get(name, name)

    def only_reader(self, name: str) -> bool:
        """True when one node reads the value and it is not an output of the graph."""
        return self._uses.get(name, 2) == 1 and name not in self.old.outputs

    def source(self, name: str, *ops: str, single: bool = False) -> Node | None:
        """Return the new node that makes the value, when its op is one of `ops` (and it has one reader)."""
        node = self.maker.get(self.now(name))
        if node is None or (ops and node.op not in ops):
            return None
        return node if not single or self.only_reader(node.outputs[0]) else None

    def copy(self, node: Node, **attrs: Any) -> None:
        """Take an old node over, reading what its inputs are now; `attrs` replace or add."""
        ins = tuple(self.now(i) if i else "" for i in node.inputs)
        if ins != node.inputs or attrs:
            node = Node(node.op, node.name, ins, node.outputs, {**node.attrs, **attrs})
        self.nodes.append(node)
        for out in node.outputs:
            self.values[out] = self.old.values[out]
            self.maker[out] = node

    def replace(self, old: str, new: str) -> None:
        """From here on the old value is the value `new`."""
        self._now[old] = new
        self._uses[new] = self._uses.get(new, 1) + self._uses.get(old, 1) - 1
        self.changed = True

    def changing(self) -> None:
        """Say that this walk rewrites something (else `finish` returns the old graph itself)."""
        self.changed = True

    def finish(self) -> Graph:
        """Return the new graph without dead nodes and values, or the old one if nothing changed."""
        if not self.changed:
            return self.old
        self._name_outputs()
        nodes = live(self.nodes, self.old.outputs)
        used = {i for n in nodes for i in n.inputs if i} | {o for n in nodes for o in n.outputs}
        used |= set(self.old.inputs) | set(self.old.outputs)
        values = {k: v for k, v in self.values.items() if k in used}
        old = self.old
        return Graph(old.name, tuple(nodes), values, old.inputs, old.outputs, old.meta)

    def _name_outputs(self) -> None:
        """Make every graph output exist under its own name again."""
        for out in self.old.outputs:
            now = self.now(out)
            if now == out:
                continue
            if now in self.maker and now not in self.old.outputs:
                self._rename(now, out)
            else:
                self.emit("Reshape", [now], {"shape": self.shape(now)}, out=out)

    def _rename(self, name: str, new: str) -> None:
        self._now = {k: (new if v == name else v) for k, v in self._now.items()}
        self._now[name] = new
        v = self.values.pop(name)
        self.values[new] = Value(new, v.shape, v.dtype, v.data, v.q)
        for i, n in enumerate(self.nodes):
            if name in n.inputs or name in n.outputs:
                ins = tuple(new if x == name else x for x in n.inputs)
                outs = tuple(new if x == name else x for x in n.outputs)
                label = new if n.name == name else n.name
                self.nodes[i] = Node(n.op, label, ins, outs, n.attrs)
                for o in outs:
                    self.maker[o] = self.nodes[i]
        self.maker.pop(name, None)


def plain_name(name: str) -> str:
    """The name without the marks (`~...`) that rewrites add."""
    return re.sub(r"~[A-Za-z0-9_]*", "", name) or name


def live(nodes: Sequence[Node], outputs: Sequence[str]) -> list[Node]:
    """Return the nodes that the outputs depend on, in their order."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if any(o in wanted for o in node.outputs):
            kept.append(node)
            wanted.update(i for i in node.inputs if i)
    return kept[::-1]
