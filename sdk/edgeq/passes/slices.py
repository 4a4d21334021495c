"""Slices in one spelling: a Slice of a Slice is one Slice, neighbours in a Concat are one piece."""

from __future__ import annotations

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite


def merge_slices(graph: Graph) -> Graph:
    """Compose Slices with positive steps, and put pieces that a Concat joins again together."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if node.op == "Concat" and _rejoin(r, node):
            continue
        inner = r.source(node.inputs[0], "Slice") if node.op == "Slice" else None
        if inner is None or min(inner.attrs["steps"]) < 1 or min(node.attrs["steps"]) < 1:
            r.copy(node)
            continue
        starts, ends, steps = [], [], []
        for i, size in enumerate(r.shape(inner.inputs[0])):
            first = range(size)[
                inner.attrs["starts"][i] : inner.attrs["ends"][i] : inner.attrs["steps"][i]
            ]
            both = first[node.attrs["starts"][i] : node.attrs["ends"][i] : node.attrs["steps"][i]]
            starts.append(both.start)
            ends.append(min(both.stop, size))
            steps.append(both.step)
        attrs = {"starts": tuple(starts), "ends": tuple(ends), "steps": tuple(steps)}
        r.changing()
        r.emit("Slice", [inner.inputs[0]], attrs, out=node.outputs[0], name=node.name)
    return r.finish()


def _rejoin(r: Rewrite, node: Node) -> bool:
    """Concat(x[:c], x[c:], y) is Concat(x, y): x can then be made where the Concat wants it."""
    axis = node.attrs["axis"]
    pieces: list[tuple[str, str, int, int]] = []  # name, the value it is a piece of, start, stop
    for i in node.inputs:
        name = r.now(i)
        source, start, stop = _piece(r, name, axis)
        if pieces and source and (pieces[-1][1], pieces[-1][3]) == (source, start):
            pieces[-1] = "", source, pieces[-1][2], stop
        else:
            pieces.append((name, source, start, stop))
    if len(pieces) == len(node.inputs):
        return False
    r.changing()
    names = [name or _take(r, node, source, a, b) for name, source, a, b in pieces]
    r.emit("Concat", names, node.attrs, out=node.outputs[0], name=node.name)
    return True


def _piece(r: Rewrite, name: str, axis: int) -> tuple[str, int, int]:
    """What a value is a Slice of along this axis alone, and from where to where; ("", 0, 0) if of nothing."""
    cut = r.source(name, "Slice")
    if cut is None or set(cut.attrs["steps"]) != {1}:
        return "", 0, 0
    whole, part = r.shape(cut.inputs[0]), r.shape(name)
    if any(w != p for i, (w, p) in enumerate(zip(whole, part, strict=True)) if i != axis):
        return "", 0, 0
    start = range(whole[axis])[cut.attrs["starts"][axis]]
    return cut.inputs[0], start, start + part[axis]


def _take(r: Rewrite, node: Node, source: str, start: int, stop: int) -> str:
    shape, axis = r.shape(source), node.attrs["axis"]
    if (start, stop) == (0, shape[axis]):
        return source
    attrs = {
        "starts": tuple(start if i == axis else 0 for i in range(len(shape))),
        "ends": tuple(stop if i == axis else d for i, d in enumerate(shape)),
        "steps": (1,) * len(shape),
    }
    return r.emit("Slice", [source], attrs, out=r.fresh(f"{node.outputs[0]}.piece"))
