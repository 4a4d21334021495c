"""A FullyConnected behind Transpose and Reshape takes the order of its inputs into its weights."""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Graph, Node
from edgeq.passes.axes import transposed
from edgeq.passes.rewrite import Rewrite


def fold_flatten(graph: Graph) -> Graph:
    """FC(Reshape(Transpose(x))) with all but the batch flattened becomes FC'(Reshape(x))."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if not (node.op == "FullyConnected" and _fold(r, node)):
            r.copy(node)
    return r.finish()


def _fold(r: Rewrite, node: Node) -> bool:
    flat = r.source(node.inputs[0], "Reshape")
    turn = r.source(flat.inputs[0], "Transpose") if flat else None
    w = r.data(r.now(node.inputs[1]))
    if flat is None or turn is None or w is None or r.values[r.now(node.inputs[1])].q is not None:
        return False
    perm = tuple(turn.attrs["perm"])
    shape = r.shape(turn.inputs[0])
    out = r.shape(flat.outputs[0])
    if perm[0] != 0 or len(out) != 2 or out[0] != shape[0]:
        return False
    inner = tuple(p - 1 for p in perm[1:])
    source = np.arange(w.shape[1]).reshape(shape[1:])
    order = np.argsort(source.transpose(inner).reshape(-1))  # column of w for each element of x
    assert transposed(shape[1:], inner) == source.transpose(inner).shape
    x = r.emit("Reshape", [turn.inputs[0]], {"shape": out}, out=r.fresh(f"{flat.outputs[0]}~"))
    weight = r.const(f"{r.now(node.inputs[1])}~", w[:, order])
    ins = [x, weight, r.now(node.inputs[2]) if node.inputs[2] else ""]
    r.changing()
    r.emit("FullyConnected", ins, node.attrs, out=node.outputs[0], name=node.name)
    return True
