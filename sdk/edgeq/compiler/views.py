"""Where each value lives: a strided view into a root buffer, so that concat, slice and reshape are addresses.

A value that a Concat joins is written straight into the Concat's buffer (its home); a Slice or Reshape
reads its input's buffer through other strides. What cannot be an address becomes a LAYOUT copy.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeq.graph.ir import Graph, Node, Shape, Value

CONSTANT = "constant:"


@dataclass(frozen=True, slots=True)
class View:
    """dims and strides (in elements) over `root`, from element `offset`."""

    root: str
    dtype: str
    offset: int
    dims: Shape
    strides: Shape

    @property
    def constant(self) -> bool:
        return self.root.startswith(CONSTANT)

    def same(self, other: View) -> bool:
        """True when both address the same elements (strides of axes of length 1 do not matter)."""
        mine, theirs = (
            [s for d, s in zip(v.dims, v.strides, strict=True) if d != 1] for v in (self, other)
        )
        return (self.root, self.offset, self.dims, mine) == (
            other.root,
            other.offset,
            other.dims,
            theirs,
        )

    def reshape(self, dims: Shape) -> View | None:
        """The same elements under other dims, or None when that would need a copy."""
        strides = reshape_strides(self.dims, self.strides, dims)
        return None if strides is None else View(self.root, self.dtype, self.offset, dims, strides)

    def slice(self, starts: Shape, steps: Shape, dims: Shape) -> View:
        """Every steps[i]-th element of axis i from starts[i]."""
        offset = self.offset + sum(a * s for a, s in zip(starts, self.strides, strict=True))
        return View(
            self.root,
            self.dtype,
            offset,
            dims,
            tuple(p * s for p, s in zip(steps, self.strides, strict=True)),
        )


def contiguous(dims: Shape) -> Shape:
    """Row-major strides in elements."""
    strides, step = [], 1
    for d in reversed(dims):
        strides.append(step)
        step *= d
    return tuple(reversed(strides))


def reshape_strides(dims: Shape, strides: Shape, new: Shape) -> Shape | None:
    """Strides of a reshape without a copy (the rule of numpy's attempt_nocopy_reshape)."""
    old = [(d, s) for d, s in zip(dims, strides, strict=True) if d != 1]
    out: list[int] = []
    i = 0
    j = 0
    while j < len(new):
        if new[j] == 1:
            out.append(0)
            j += 1
            continue
        if i >= len(old):
            return None
        have, want, j0 = old[i][0], new[j], j
        while have != want:
            if have < want:
                i += 1
                if i >= len(old) or old[i - 1][1] != old[i][0] * old[i][1]:
                    return None
                have *= old[i][0]
            else:
                j += 1
                if j >= len(new):
                    return None
                want *= new[j]
        step, group = old[i][1], []
        for d in reversed(new[j0 : j + 1]):
            group.append(step)
            step *= d
        out += reversed(group)
        i, j = i + 1, j + 1
    return _fill_units(new, out)


def _fill_units(dims: Shape, strides: list[int]) -> Shape:
    """Give axes of length 1 the stride that a contiguous neighbour would have."""
    out, step = list(strides), 1
    for i in range(len(dims) - 1, -1, -1):
        if dims[i] == 1:
            out[i] = step
        else:
            step = out[i] * dims[i]
    return tuple(out)


@dataclass(frozen=True, slots=True)
class _Home:
    """`value` is written into `parent`: at `start` along `axis`, or (axis None) reshaped."""

    parent: str
    axis: int | None
    start: int


class Views:
    """The view of every value of a quantized graph.

    Pictures of three channels take four bytes a pixel, so that the first convolution reads whole words;
    `dense` forgoes that for less memory.
    """

    def __init__(self, graph: Graph, *, dense: bool = False) -> None:
        self.graph = graph
        self._producers = graph.producers()
        self._homes = self._choose_homes()
        self._views: dict[str, View] = {}
        self.roots: dict[str, tuple[str, int]] = {}  # root -> (dtype, elements)
        for name in graph.inputs:
            self._views[name] = self._root(graph.values[name], wide_pixels=not dense)

    def of(self, name: str) -> View:
        """Return the view of a value, deciding it on first use."""
        if name not in self._views:
            self._views[name] = self._decide(self.graph.values[name])
        return self._views[name]

    def needs_copy(self, node: Node) -> bool:
        """True when a Reshape or Slice could not become an address."""
        alias = self._alias(node)
        return alias is None or not alias.same(self.of(node.outputs[0]))

    def _decide(self, value: Value) -> View:
        if value.is_constant:
            dims = value.shape or (1,)
            return View(CONSTANT + value.name, _dtype(value), 0, dims, contiguous(dims))
        home = self._homes.get(value.name)
        if home is not None:
            parent = self.of(home.parent)
            if home.axis is None:
                view = parent.reshape(value.shape)
                if view is not None:
                    return view
            else:
                starts = tuple(home.start if i == home.axis else 0 for i in range(len(value.shape)))
                return parent.slice(starts, (1,) * len(value.shape), value.shape)
        node = self._producers.get(value.name)
        if node is not None and node.op in ("Reshape", "Slice"):
            view = self._alias(node)
            if view is not None:
                return view
        return self._root(value)

    def _alias(self, node: Node) -> View | None:
        source, out = self.of(node.inputs[0]), self.graph.values[node.outputs[0]]
        if node.op == "Reshape":
            return source.reshape(out.shape)
        if min(node.attrs["steps"]) < 1 or (node.attrs["steps"][-1] != 1):
            return None
        return source.slice(node.attrs["starts"], node.attrs["steps"], out.shape)

    def _root(self, value: Value, *, wide_pixels: bool = False) -> View:
        dims = value.shape or (1,)  # a scalar is one element along one axis
        if wide_pixels and len(dims) == 4 and dims[3] == 3:
            strides = (*(s // 3 * 4 for s in contiguous(dims)[:3]), 1)
            elements = int(np.prod(dims[:3])) * 4
        else:
            strides, elements = contiguous(dims), int(np.prod(dims))
        self.roots[value.name] = (_dtype(value), elements)
        return View(value.name, _dtype(value), 0, dims, strides)

    def _choose_homes(self) -> dict[str, _Home]:
        """Walk backwards: consumers come first, so a parent's own home is known before its parts'."""
        homes: dict[str, _Home] = {}
        for node in reversed(self.graph.nodes):
            out = self.graph.values[node.outputs[0]]
            if node.op == "Concat":
                start = 0
                for name in node.inputs:
                    if node.inputs.count(name) == 1 and self._movable(name, homes, out):
                        homes[name] = _Home(out.name, node.attrs["axis"], start)
                    start += self.graph.values[name].shape[node.attrs["axis"]]
            elif (
                node.op == "Reshape"
                and out.name in homes
                and self._movable(node.inputs[0], homes, out)
            ):
                homes[node.inputs[0]] = _Home(out.name, None, 0)
        return homes

    def _movable(self, name: str, homes: dict[str, _Home], parent: Value) -> bool:
        value, node = self.graph.values[name], self._producers.get(name)
        return (
            node is not None
            and name not in homes
            and name not in self.graph.outputs
            and node.op != "Slice"
            and (node.op != "Reshape" or self._movable(node.inputs[0], homes, value))
            and _dtype(value) == _dtype(parent)
        )


def _dtype(value: Value) -> str:
    assert value.q is not None, f"value {value.name} is not quantized"
    return "int8" if value.q.dtype == "int4" else value.q.dtype
