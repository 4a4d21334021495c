"""Two nodes that do the same to the same values are one."""

from __future__ import annotations

from edgeq.graph.ir import Graph
from edgeq.passes.rewrite import Rewrite


def merge_twins(graph: Graph) -> Graph:
    """Keep the first of equal nodes."""
    r = Rewrite(graph)
    seen: dict[str, str] = {}
    for node in graph.nodes:
        ins = tuple(r.now(i) if i else "" for i in node.inputs)
        key = repr((node.op, ins, sorted(node.attrs.items())))
        if key in seen and node.outputs[0] not in graph.outputs:
            r.replace(node.outputs[0], seen[key])
            continue
        seen.setdefault(key, node.outputs[0])
        r.copy(node)
    return r.finish()
