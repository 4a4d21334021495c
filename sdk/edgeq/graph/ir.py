"""The graph: frozen nodes in topological order over named values.

A float graph holds float32 values. A quantized graph holds the same nodes, and every value on the
integer path carries QParams; constants are then stored as the integers themselves.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Shape = tuple[int, ...]

RANGES = {
    "int4": (-8, 7),
    "int8": (-128, 127),
    "int16": (-32768, 32767),
    "int32": (-(2**31), 2**31 - 1),
}


@dataclass(frozen=True, slots=True, eq=False)
class QParams:
    """How integers stand for reals: real = scale * (integer - zero_point).

    `scale` float32 and `zero_point` int32 have shape () (per tensor) or (C,) (per channel along `axis`).
    """

    scale: Array
    zero_point: Array
    dtype: str = "int8"
    axis: int = -1

    @property
    def per_channel(self) -> bool:
        return self.scale.ndim == 1

    @property
    def lo(self) -> int:
        return RANGES[self.dtype][0]

    @property
    def hi(self) -> int:
        return RANGES[self.dtype][1]

    def same(self, other: QParams | None) -> bool:
        """True when both map integers to the same reals."""
        return (
            other is not None
            and self.dtype == other.dtype
            and self.scale.shape == other.scale.shape
            and (self.scale.ndim == 0 or self.axis == other.axis)
            and bool(np.array_equal(self.scale, other.scale))
            and bool(np.array_equal(self.zero_point, other.zero_point))
        )


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """An edge's tensor. `data` is set for constants (integers when `q` is set)."""

    name: str
    shape: Shape
    dtype: str = "float32"
    data: Array | None = None
    q: QParams | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One application of an op. An absent optional input is the empty string."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "attrs", MappingProxyType(dict(self.attrs)))


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """Nodes in topological order, values by name, and the names at the edges."""

    name: str
    nodes: tuple[Node, ...]
    values: Mapping[str, Value]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "values", MappingProxyType(dict(self.values)))
        object.__setattr__(self, "meta", MappingProxyType(dict(self.meta)))

    def value(self, name: str) -> Value:
        return self.values[name]

    def producers(self) -> dict[str, Node]:
        """Map each computed value to the node that makes it."""
        return {out: n for n in self.nodes for out in n.outputs}

    def consumers(self) -> dict[str, list[Node]]:
        """Map each value to the nodes that read it, in order (a node twice if it reads twice)."""
        uses: dict[str, list[Node]] = {v: [] for v in self.values}
        for n in self.nodes:
            for i in n.inputs:
                if i:
                    uses[i].append(n)
        return uses

    @property
    def quantized(self) -> bool:
        return any(v.q is not None for v in self.values.values())

    def with_values(self, values: Iterable[Value]) -> Graph:
        """Return the graph with these values added or replaced."""
        return replace(self, values={**self.values, **{v.name: v for v in values}})


def constant(name: str, data: Array, q: QParams | None = None) -> Value:
    """Make a constant value from an array."""
    return Value(name, tuple(int(d) for d in data.shape), str(data.dtype), data, q)
