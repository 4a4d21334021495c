"""Take channels apart before they are made: a Slice of channels moves before a convolution or a shuffle."""

from __future__ import annotations

import math

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite
from edgeq.passes.shuffles import SWAP

PANEL = 16  # output channels that a kernel computes at once
TABLE_MACS = 128  # a function in a pass of its own costs more per element (measured: about 200)

Part = tuple[Node, int, int]  # a Slice, its first channel, the one after its last


def part_channels(graph: Graph) -> Graph:
    """Give each Slice a convolution or a channel shuffle of its own where that saves a pass over memory."""
    r = Rewrite(graph)
    consumers = graph.consumers()
    done: set[str] = set()
    for node in graph.nodes:
        if node.outputs[0] in done:
            continue
        parts = _parts(graph, node, consumers)
        if parts and (_part_products(r, node, parts, consumers) or _part_shuffle(r, node, parts)):
            done |= {part.outputs[0] for part, _, _ in parts}
        else:
            r.copy(node)
    return r.finish()


def _parts(graph: Graph, node: Node, consumers: dict[str, list[Node]]) -> list[Part]:
    """The readers of a value, when they are Slices of its last axis that share nothing."""
    name, parts, end = node.outputs[0], [], 0
    shape = graph.value(name).shape
    for n in consumers[name]:
        a = n.attrs
        whole = n.op == "Slice" and a["starts"][:-1] == (0,) * (len(shape) - 1)
        if not whole or graph.value(n.outputs[0]).shape[:-1] != shape[:-1] or a["steps"][-1] != 1:
            return []
        start = range(shape[-1])[a["starts"][-1]]
        parts.append((n, start, start + graph.value(n.outputs[0]).shape[-1]))
    for _, start, stop in sorted(parts, key=lambda p: p[1]):
        if start < end:
            return []
        end = stop
    return [] if name in graph.outputs or len(parts) < 2 else parts


def _part_products(
    r: Rewrite, node: Node, parts: list[Part], consumers: dict[str, list[Node]]
) -> bool:
    """Convolve each part by itself where a table function can then run behind it."""
    if node.op not in ("Conv", "FullyConnected") or "clip" in node.attrs:
        return False
    x, weight, bias = (r.now(i) if i else "" for i in node.inputs)
    w, b = r.data(weight), r.data(bias)
    if w is None or r.values[weight].q is not None or node.attrs.get("group", 1) != 1:
        return False
    panels = sum(-(-(stop - start) // PANEL) for _, start, stop in parts)
    padded = max(panels - -(-len(w) // PANEL), 0) * PANEL * math.prod(w.shape[1:])
    tables = sum(stop - start for n, start, stop in parts if _activated(r, n, consumers))
    if not tables or padded > TABLE_MACS * tables:
        return False
    r.changing()
    for part, start, stop in parts:
        ins = [x, r.const(f"{weight}.{start}", w[start:stop]), ""]
        if b is not None:
            ins[2] = r.const(f"{bias}.{start}", b[start:stop])
        out = part.outputs[0]
        r.emit(node.op, ins, node.attrs, out=out, name=f"{node.name}.{start}")
    return True


def _activated(r: Rewrite, part: Node, consumers: dict[str, list[Node]]) -> bool:
    """True when only a table function reads the part."""
    out = part.outputs[0]
    return out not in r.old.outputs and [n.op for n in consumers[out]] == ["Unary"]


def _part_shuffle(r: Rewrite, node: Node, parts: list[Part]) -> bool:
    """Shuffle what each Slice takes: it can then go where its reader wants it."""
    turn = r.source(node.inputs[0], "Transpose", single=True) if node.op == "Reshape" else None
    split = r.source(turn.inputs[0], "Reshape", single=True) if turn else None
    if turn is None or split is None or tuple(turn.attrs["perm"]) != SWAP:
        return False
    shape = r.shape(split.outputs[0])  # (n, h, w, groups, channels of a group)
    out = tuple(node.attrs["shape"])
    groups = shape[3]
    if out != (*shape[:3], groups * shape[4]):
        return False
    if any(start % groups or stop % groups for _, start, stop in parts):
        return False
    r.changing()
    for part, start, stop in parts:
        name, low, high = part.outputs[0], start // groups, stop // groups
        attrs = {
            "starts": (0, 0, 0, 0, low),
            "ends": (*shape[:4], high),
            "steps": (1,) * 5,
        }
        some = r.emit("Slice", [split.outputs[0]], attrs, out=r.fresh(f"{name}.some"))
        turned = r.emit("Transpose", [some], {"perm": SWAP}, out=r.fresh(f"{name}.turned"))
        r.emit("Reshape", [turned], {"shape": (*out[:3], stop - start)}, out=name, name=part.name)
    return True
