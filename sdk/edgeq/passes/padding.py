"""A zero Pad of height and width moves into the convolution or pool behind it."""

from __future__ import annotations

import math

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite

NOT_NEGATIVE = ("Relu", "Sigmoid", "HardSigmoid", "Softplus", "Square", "Abs", "Exp", "Sqrt")


def fold_padding(graph: Graph) -> Graph:
    """Return the graph with Pads folded where the window can read the border itself."""
    r = Rewrite(graph)
    for node in graph.nodes:
        pad = r.source(node.inputs[0], "Pad")
        attrs = _folded(r, node, pad) if pad is not None else None
        if pad is None or attrs is None:
            r.copy(node)
            continue
        r.changing()
        ins = [pad.inputs[0], *(r.now(i) if i else "" for i in node.inputs[1:])]
        r.emit(node.op, ins, attrs, out=node.outputs[0], name=node.name)
    return r.finish()


def _folded(r: Rewrite, node: Node, pad: Node) -> dict[str, object] | None:
    edge = pad.attrs["pads"]
    if len(edge) != 4 or any(edge[0]) or any(edge[3]) or min(edge[1] + edge[2]) < 0:
        return None
    (top, bottom), (left, right) = edge[1], edge[2]
    a = dict(node.attrs)
    was = a.get("pads", (0, 0, 0, 0))
    pads = (
        tuple(p + q for p, q in zip(was, (top, left, bottom, right), strict=True))
        if len(was) == 4
        else ()
    )
    if node.op in ("Conv", "DepthwiseConv"):
        w = r.shape(r.now(node.inputs[1]))
        kernel = w[1:3] if node.op == "Conv" else w[:2]
        fits = pad.attrs["value"] == 0 and _reaches(pads, kernel, a["dilations"])
    elif node.op == "AvgPool":
        fits = pad.attrs["value"] == 0 and (not any(was) or a["count_include_pad"])
        fits = fits and _reaches(pads, a["kernel"], (1, 1))
        a["count_include_pad"] = True
    elif node.op == "MaxPool":
        never_wins = pad.attrs["value"] <= _least(r, pad.inputs[0])
        fits = never_wins and _reaches(pads, a["kernel"], a["dilations"])
    else:
        return None
    return {**a, "pads": pads} if fits else None


def _reaches(pads: tuple[int, ...], kernel: tuple[int, ...], dilations: tuple[int, ...]) -> bool:
    """True when every window still sees a real pixel."""
    return all(p < dilations[i % 2] * (kernel[i % 2] - 1) + 1 for i, p in enumerate(pads))


def _least(r: Rewrite, name: str) -> float:
    """A lower bound of the value, from the node that makes it."""
    node = r.source(name)
    if node is None:
        return -math.inf
    if node.op == "Unary" and node.attrs["kind"] in NOT_NEGATIVE:
        return 0.0
    if node.op == "Unary" and node.attrs["kind"] == "Clip":
        return float(node.attrs["lo"])
    return float(node.attrs["clip"][0]) if "clip" in node.attrs else -math.inf
