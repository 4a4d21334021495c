"""An average over the whole picture is a ReduceMean."""

from __future__ import annotations

from edgeq.graph.ir import Graph
from edgeq.passes.rewrite import Rewrite


def simplify_pools(graph: Graph) -> Graph:
    """Turn AvgPool with a window of the whole picture into ReduceMean."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if node.op == "AvgPool":
            x = r.now(node.inputs[0])
            if not any(node.attrs["pads"]) and r.shape(x)[1:3] == tuple(node.attrs["kernel"]):
                r.changing()
                r.emit(
                    "ReduceMean",
                    [x],
                    {"axes": (1, 2), "keepdims": True},
                    out=node.outputs[0],
                    name=node.name,
                )
                continue
        r.copy(node)
    return r.finish()
