"""Fold Mul and Add by constants into the convolution or matrix product before them (BatchNorm comes as these).

What cannot fold, x * k + d per channel of a picture, becomes one DepthwiseConv 1x1. A Mul before a
convolution folds forward into its weights; an Add before an unpadded one folds into its bias.
"""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Array, Graph, Node
from edgeq.passes.arithmetic import constant_side
from edgeq.passes.rewrite import Rewrite, plain_name

WEIGHTED = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")


def fold_affine(graph: Graph) -> Graph:
    """Return the graph with per-channel constants inside weights and biases."""
    r = Rewrite(graph)
    for node in graph.nodes:
        if not (_back(r, node) or _pair(r, node) or _forward(r, node)):
            r.copy(node)
    return r.finish()


def _back(r: Rewrite, node: Node) -> bool:
    """(x conv w + b) * k = x conv (w * k) + b * k, and + d goes to the bias."""
    split = constant_side(r, node)
    before = r.source(split[0], *WEIGHTED, single=True) if split else None
    if split is None or before is None or "clip" in before.attrs or not _plain(r, before):
        return False
    channels = r.shape(before.outputs[0])[-1]
    c = per_channel(split[1], channels, r.shape(split[0]), r.old.values[node.outputs[0]].shape)
    if c is None:
        return False
    x, w, b = before.inputs
    bias = r.data(b) if b else None
    if node.op == "Mul":
        w = r.const(f"{w}~", _scaled(before, r.values[w].data, c))
        bias = None if bias is None else bias * c
    else:
        bias = c if bias is None else bias + c
    if bias is not None:
        b = r.const(f"{b or plain_name(before.outputs[0]) + '.bias'}~", bias)
    attrs = {**before.attrs, **{k: v for k, v in node.attrs.items() if k == "clip"}}
    r.changing()
    r.emit(before.op, [x, w, b], attrs, out=node.outputs[0], name=before.name)
    return True


def _scaled(node: Node, w: Array | None, c: Array) -> Array:
    assert w is not None
    if node.op == "DepthwiseConv":
        return w * c
    return w * c.reshape(-1, *[1] * (w.ndim - 1))


def _pair(r: Rewrite, node: Node) -> bool:
    """x * k + d on a picture, both per channel: DepthwiseConv 1x1."""
    split = constant_side(r, node)
    mul = r.source(split[0], "Mul", single=True) if split and node.op == "Add" else None
    inner = constant_side(r, mul)
    if split is None or mul is None or inner is None or "clip" in mul.attrs:
        return False
    x, k = inner
    shape = r.shape(x)
    out = r.old.values[node.outputs[0]].shape
    if len(shape) != 4 or (k.size == 1 and split[1].size == 1):
        return False
    factor = per_channel(k, shape[-1], shape, out)
    shift = per_channel(split[1], shape[-1], shape, out)
    if factor is None or shift is None:
        return False
    name = plain_name(node.outputs[0])
    w = r.const(f"{name}.weight", factor.reshape(1, 1, -1))
    b = r.const(f"{name}.bias", shift)
    attrs = {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1)}
    attrs |= {k: v for k, v in node.attrs.items() if k == "clip"}
    r.changing()
    r.emit("DepthwiseConv", [x, w, b], attrs, out=node.outputs[0], name=node.name)
    return True


def _forward(r: Rewrite, node: Node) -> bool:
    """conv(x * k) = (w * k) conv x; conv(x + d) = conv(x) + sum(w * d) where no padding is read."""
    if node.op not in ("Conv", "DepthwiseConv", "FullyConnected") or not _plain(r, node):
        return False
    before = r.source(node.inputs[0], "Mul", "Add", single=True)
    split = constant_side(r, before)
    if before is None or split is None or "clip" in before.attrs:
        return False
    shape = r.shape(split[0])
    c = per_channel(split[1], shape[-1], shape, r.shape(before.outputs[0]))
    if c is None or (before.op == "Add" and any(node.attrs.get("pads", ()))):
        return False
    w = r.values[r.now(node.inputs[1])].data
    bias = r.data(r.now(node.inputs[2])) if node.inputs[2] else None
    assert w is not None
    if node.op == "Conv":
        group, oc, icg = node.attrs["group"], w.shape[0], w.shape[-1]
        spread = np.repeat(c.reshape(group, icg), oc // group, axis=0).reshape(oc, 1, 1, icg)
        wc, axes = w * spread, [1, 2, 3]
    elif node.op == "DepthwiseConv":
        wc, axes = w * c, [0, 1]
    else:
        wc, axes = w * c, [1]
    names = [r.now(i) if i else "" for i in node.inputs]
    if before.op == "Mul":
        names[1] = r.const(f"{names[1]}~", wc)
    else:
        shift = wc.astype(np.float64).sum(axis=tuple(axes))
        total = shift if bias is None else bias + shift
        names[2] = r.const(f"{names[2] or plain_name(node.outputs[0]) + '.bias'}~", total)
    names[0] = split[0]
    r.changing()
    r.emit(node.op, names, node.attrs, out=node.outputs[0], name=node.name)
    return True


def per_channel(c: Array, channels: int, x: tuple[int, ...], out: tuple[int, ...]) -> Array | None:
    """The constant as (channels,) when it varies along the last axis only and broadcasting keeps x's shape."""
    if x != out:
        return None
    if c.size == 1:
        return np.full(channels, c.reshape(-1)[0], np.float32)
    return c.reshape(-1) if c.shape[-1] == c.size == channels else None


def _plain(r: Rewrite, node: Node) -> bool:
    """True when weights and bias are float constants."""
    return all(
        not i or (r.data(r.now(i)) is not None and r.values[r.now(i)].q is None)
        for i in node.inputs[1:]
    )
