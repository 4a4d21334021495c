"""A convolution of an upsampled picture reads the small one: it is a transposed convolution.

Nearest neighbours repeat each pixel of z, so the taps of a window that fall on copies of one pixel add
up. conv(up2(z), k x k) is a transposed convolution of z with stride 2 and (k + 1) x (k + 1) weights: of a
3x3 window 4 products are left of 9, and the large picture is never made. Of a Concat, as decoders join
scales, the upsampled channels go this way and the others keep a convolution: the two are added.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgeq.graph.ir import Array, Graph, Node
from edgeq.ops.resize import repetition
from edgeq.passes.rewrite import Rewrite, plain_name

SUM_MACS = 128  # a sum of its own, and a second output stage, cost at most as much per element


def fold_upsampling(graph: Graph) -> Graph:
    """Return the graph with nearest upsampling before convolutions inside their weights."""
    r = Rewrite(graph)
    consumers = graph.consumers()
    for node in graph.nodes:
        if not (node.op == "Conv" and _fold(r, node, consumers)):
            r.copy(node)
    return r.finish()


def _fold(r: Rewrite, node: Node, consumers: dict[str, list[Node]]) -> bool:
    a, (x, weight, bias) = node.attrs, (r.now(i) if i else "" for i in node.inputs)
    w = r.data(weight)
    if w is None or r.values[weight].q is not None or a["group"] != 1:
        return False
    kh, kw = w.shape[1:3]
    reach = (kh - 1, kw - 1, kh - 1, kw - 1)
    pads = tuple(k - p for k, p in zip(reach, a["pads"], strict=True))
    if (*a["strides"], *a["dilations"]) != (1, 1, 1, 1) or min(pads) < 0:
        return False
    joined = r.source(x, "Concat", single=True)
    if joined is not None and joined.attrs["axis"] != 3:
        return False
    inputs = list(joined.inputs) if joined else [x]
    small = [_half(r, i) for i in inputs]
    sizes = [r.shape(i)[3] for i in inputs]
    upsampled = np.repeat([s is not None for s in small], sizes)  # per channel
    saved = (kh * kw - (kh + 1) * (kw + 1) / 4) * upsampled.sum()
    whole = bool(upsampled.all())
    tables = any(n.op == "Unary" for n in consumers[node.outputs[0]])
    if saved <= (0 if whole else SUM_MACS) or (tables and not whole):
        return False
    r.changing()
    name, out = plain_name(node.outputs[0]), node.outputs[0]
    halves = [_emit_half(r, node) for node in small if node is not None]
    attrs = {**a, "strides": (2, 2), "pads": pads, "output_padding": (0, 0)}
    wide = r.const(f"{weight}.up", _spread(w[..., upsampled]))
    if whole:
        r.emit(
            "ConvTranspose", [_join(r, halves, name), wide, bias], attrs, out=out, name=node.name
        )
        return True
    clip = {k: attrs.pop(k) for k in ("clip",) if k in attrs}
    up = r.fresh(f"{name}.up")
    r.emit("ConvTranspose", [_join(r, halves, name), wide, ""], attrs, out=up)
    rest = _join(r, [i for i, s in zip(inputs, small, strict=True) if s is None], name)
    part = r.const(f"{weight}.same", w[..., ~upsampled])
    plain = {k: v for k, v in a.items() if k != "clip"}
    same = r.emit("Conv", [rest, part, bias], plain, out=r.fresh(f"{name}.same"), name=node.name)
    r.emit("Add", [same, up], clip, out=out)
    return True


def _half(r: Rewrite, name: str) -> Node | None:
    """The Resize that makes the value for one reader, if rows and columns repeat an even number of times."""
    node = r.source(name, "Resize", single=True)
    factors = repetition(node.attrs, r.shape(node.inputs[0])) if node else None
    return node if factors and not (factors[0] % 2 or factors[1] % 2) else None


def _emit_half(r: Rewrite, node: Node) -> str:
    """What the Resize makes, at half its size."""
    x, size = node.inputs[0], tuple(s // 2 for s in node.attrs["size"])
    shape = r.shape(x)
    if size == shape[1:3]:
        return x
    attrs = {
        "mode": "nearest",
        "coordinate": "asymmetric",
        "nearest_mode": "floor",
        "scales": tuple(s / n for s, n in zip(size, shape[1:3], strict=True)),
        "size": size,
    }
    return r.emit("Resize", [x], attrs, out=r.fresh(f"{plain_name(node.outputs[0])}.half"))


def _join(r: Rewrite, parts: Sequence[str], name: str) -> str:
    if len(parts) == 1:
        return parts[0]
    return r.emit("Concat", parts, {"axis": 3}, out=r.fresh(f"{name}.parts"))


def _spread(w: Array) -> Array:
    """(oc, kh, kw, ic) of a convolution -> (oc, kh + 1, kw + 1, ic) of the transposed one, stride 2."""
    oc, kh, kw, ic = w.shape
    out = np.zeros((oc, kh + 1, kw + 1, ic))
    for y in range(2):
        for x in range(2):
            out[:, y : y + kh, x : x + kw] += w[:, ::-1, ::-1]
    return out
