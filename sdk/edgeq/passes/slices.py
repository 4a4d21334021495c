"""A Slice of a Slice is one Slice."""

from __future__ import annotations

from edgeq.graph.ir import Graph
from edgeq.passes.rewrite import Rewrite


def merge_slices(graph: Graph) -> Graph:
    """Compose Slices with positive steps."""
    r = Rewrite(graph)
    for node in graph.nodes:
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
