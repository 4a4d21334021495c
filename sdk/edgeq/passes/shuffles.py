"""Channel shuffle in one form: Reshape (n,h,w,g,c/g), Transpose (0,1,2,4,3), Reshape (n,h,w,c)."""

from __future__ import annotations

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite

SWAP = (0, 1, 2, 4, 3)


def normalise_shuffles(graph: Graph) -> Graph:
    """Rewrite shuffles of the last axis that were exported on merged axes."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if not (node.op == "Reshape" and _shuffle(r, node)):
            r.copy(node)
    return r.finish()


def _shuffle(r: Rewrite, node: Node) -> bool:
    turn = r.source(node.inputs[0], "Transpose")
    split = r.source(turn.inputs[0], "Reshape") if turn else None
    if turn is None or split is None:
        return False
    x, shape = split.inputs[0], tuple(node.attrs["shape"])
    wide = r.shape(split.outputs[0])
    perm = tuple(turn.attrs["perm"])
    last = len(perm) - 1
    if len(shape) != 4 or r.shape(x) != shape or perm == SWAP:
        return False
    if perm != (*range(last - 1), last, last - 1) or wide[-2] * wide[-1] != shape[3]:
        return False
    out = node.outputs[0]
    r.changing()
    a = r.emit(
        "Reshape", [x], {"shape": (*shape[:3], *wide[-2:])}, out=r.fresh(f"{split.outputs[0]}~")
    )
    b = r.emit("Transpose", [a], {"perm": SWAP}, out=r.fresh(f"{turn.outputs[0]}~"))
    r.emit("Reshape", [b], {"shape": shape}, out=out, name=node.name)
    return True
