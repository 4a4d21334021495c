"""Constant folding: a node that reads only constants becomes one."""

from __future__ import annotations

import math

import numpy as np

from edgeq.graph.ir import Graph, Node
from edgeq.ops import OPS
from edgeq.passes.rewrite import Rewrite

MAX_FOLDED = 2**26  # elements


def fold_constants(graph: Graph) -> Graph:
    """Compute nodes of constants with their float law (quantized constants are left alone)."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if not _fold(r, node):
            r.copy(node)
    return r.finish()


def _fold(r: Rewrite, node: Node) -> bool:
    ins = [r.values[r.now(i)] if i else None for i in node.inputs]
    out = node.outputs[0]
    if (
        any(v is not None and (v.data is None or v.q is not None) for v in ins)
        or out in r.old.outputs
    ):
        return False
    if math.prod(r.old.values[out].shape) > MAX_FOLDED:
        return False
    data = OPS[node.op].real(node.attrs, [None if v is None else v.data for v in ins])
    r.reserved.discard(out)
    r.replace(out, r.const(out, np.asarray(data, np.float32)))
    return True
