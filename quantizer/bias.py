"""Analytic bias correction (Nagel et al. 2019, 1906.04721, section 4.2).

Rounded weights shift a channel's mean by sum((Wq - W) * E[x]); the bias takes that back.
"""

from __future__ import annotations

import numpy as np

from edgeq.graph.ir import Array, Node


def shift(node: Node, error: Array, mean: Array) -> Array:
    """What to add to the bias: sum of (W - Wq) * E[x], float64 (oc,).

    error: W - Wq, output channels first. mean: E[x] per input channel. Every tap sees the same mean;
    of a transposed convolution's taps an output pixel sees one in strides of them.
    """
    if node.op == "DepthwiseConv":  # (c, kh, kw)
        return np.asarray(error.sum(axis=(1, 2)) * mean)
    taps = error if node.op == "FullyConnected" else error.sum(axis=(1, 2))  # (oc, ic / group)
    group = node.attrs.get("group", 1)
    inputs = mean.reshape(group, -1).repeat(len(taps) // group, axis=0)  # (oc, ic / group)
    total = (taps * inputs).sum(axis=1)
    if node.op == "ConvTranspose":
        total = total / (node.attrs["strides"][0] * node.attrs["strides"][1])
    return np.asarray(total)
