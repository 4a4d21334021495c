"""Per-channel rows of a sum, product or quotient of two activations: ELEMENTWISE, and sums behind CONV."""

from __future__ import annotations

from typing import Any

from edgeq.graph.ir import QParams
from edgeq.ops.base import clamp_bounds
from edgeq.runtime.numerics import multiplier


def pair_rows(
    op: str, qa: QParams, qb: QParams, q: QParams, clip: tuple[float, float] | None
) -> dict[str, Any]:
    """Rows of Add, Sub, Mul or Div of values on `qa` and `qb`, to `q` within `clip` (real numbers)."""
    lo, hi = clamp_bounds(q, clip)
    rows = {
        "za": qa.zero_point,
        "zb": qb.zero_point,
        "rb": 0.0,
        "zp": q.zero_point,
        "lo": lo,
        "hi": hi,
    }
    if op == "Mul":
        return rows | {"ra": multiplier(qa.scale, qb.scale, under=(q.scale,))}
    if op == "Div":
        return rows | {"ra": multiplier(qa.scale, under=(qb.scale, q.scale))}
    rb = multiplier(qb.scale, under=(q.scale,))
    return rows | {
        "ra": multiplier(qa.scale, under=(q.scale,)),
        "rb": -rb if op == "Sub" else rb,
    }
