"""Weights and biases as integers, and the proof that their sums fit int32."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Array, Node, QParams
from edgeq.quantizer.ranges import LEAST_SCALE, MOST_SCALE
from edgeq.quantizer.recipe import Recipe

MOST = {8: 127, 4: 7}  # of a weight, by bits
MOST_ACCUMULATOR = 2**31 - 1
MOST_BIAS = 2**29  # leaves room for the products
SHARES = np.linspace(1.0, 0.5, 26)  # of max|w|, tried by the range "mse"


@dataclass(frozen=True, slots=True, eq=False)
class IntegerWeights:
    """Weights as int8 and their QParams (int8 or int4); `error` = real - stored, float64, output channels first."""

    data: Array
    q: QParams
    error: Array


def channel_axis(node: Node) -> int:
    """The axis of the weights that counts output channels."""
    return 2 if node.op == "DepthwiseConv" else 0


def quantize_weights(
    node: Node, w: Array, bias: Array, x: QParams, recipe: Recipe, *, bits: int = 8
) -> IntegerWeights:
    """Round weights to the nearest of 8 or 4 bits, symmetrically per output channel (or per tensor).

    bias: float64 (oc,). A channel's scale is at least so large that its bias fits into int32, which
    also covers channels whose weights are nearly zero.
    """
    axis = channel_axis(node)
    rows = np.moveaxis(w.astype(np.float64), axis, 0)  # (oc, ...)
    flat = rows.reshape(len(rows), -1)
    if not np.isfinite(flat).all() or not np.isfinite(bias).all():
        raise QuantizeError(f"node {node.name} ({node.op}): weights must be finite. Re-export it.")
    method, most = recipe.overriding("weight_range", node.name) or recipe.weights.range, MOST[bits]
    scale = _scales(flat, method, most)
    least = np.abs(bias) / (MOST_BIAS * x.scale.astype(np.float64))
    scale = np.clip(np.maximum(scale, least), LEAST_SCALE, MOST_SCALE)
    if recipe.weights.granularity == "per_tensor":
        scale = np.full_like(scale, scale.max())
    scale = scale.astype(np.float32)
    wide = scale.astype(np.float64).reshape(-1, *(1,) * (rows.ndim - 1))
    q = np.clip(np.rint(rows / wide), -most, most)
    if recipe.weights.granularity == "per_tensor":
        scale = scale[:1].reshape(())
    params = QParams(scale, np.zeros(scale.shape, np.int32), f"int{bits}", axis)
    data = np.ascontiguousarray(np.moveaxis(q, 0, axis).astype(np.int8))
    return IntegerWeights(data, params, rows - q * wide)


def quantize_bias(
    node: Node, bias: Array, x: QParams, weights: IntegerWeights
) -> tuple[Array, QParams]:
    """Store the bias as int32 on the accumulator's scale s_x * s_w[c]; proves that nothing overflows."""
    scale = x.scale.astype(np.float64) * weights.q.scale.astype(np.float64)
    scale = np.broadcast_to(scale, bias.shape)
    q = np.rint(bias / scale)
    check_accumulator(node, np.moveaxis(weights.data, channel_axis(node), 0), q, x)
    params = QParams(scale.astype(np.float32), np.zeros(len(bias), np.int32), "int32", 0)
    return q.astype(np.int32), params


def check_accumulator(node: Node, rows: Array, bias: Array, x: QParams) -> None:
    """Prove sum|w| * max|x - zx| + |bias| < 2**31 per output channel.

    rows: integer weights, output channels first. Raises QuantizeError for the worst channel.
    """
    most_x = np.maximum(x.hi - x.zero_point, x.zero_point - x.lo).astype(np.float64)
    total = np.abs(rows.astype(np.float64)).reshape(len(rows), -1).sum(axis=1) * most_x + np.abs(
        bias
    )
    if total.max() > MOST_ACCUMULATOR:
        raise QuantizeError(
            f"node {node.name} ({node.op}): its sums must stay below 2^31, channel {int(total.argmax())}"
            f" can reach {total.max():.3g}. Split the node, or narrow the bias."
        )


def _scales(flat: Array, method: str, most: int) -> Array:
    """float64 (oc,) for rows of weights that become integers up to `most`."""
    full = np.abs(flat).max(axis=1) / most
    if method == "maxabs":
        return np.asarray(full)
    best, error = full, np.full(len(flat), np.inf)
    for share in SHARES.tolist():
        scale = full * share
        safe = np.where(scale > 0, scale, 1.0)[:, None]
        rounded = np.clip(np.rint(flat / safe), -most, most) * safe
        found = np.square(rounded - flat).sum(axis=1)
        better = found < error
        best, error = np.where(better, scale, best), np.where(better, found, error)
    return np.asarray(best)
