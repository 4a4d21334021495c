"""The table of cases per op. One table drives the integer law, the interpreter, C and every SIMD variant.

A new row goes to the file of its kind: products.py, elementwise.py or movement.py; a new field of `Case`
to case.py, and what it does to the graph to graphs.py. Ids are unique: `note` tells rows apart.
"""

from __future__ import annotations

from collections import Counter

from tests.cases.case import Case, conv, depthwise
from tests.cases.elementwise import elementwise_cases
from tests.cases.graphs import build
from tests.cases.movement import movement_cases
from tests.cases.products import product_cases, sum_cases, w4_cases

__all__ = ["CASES", "Case", "build", "conv", "depthwise"]

CASES = product_cases() + sum_cases() + w4_cases() + elementwise_cases() + movement_cases()
TWICE = [name for name, n in Counter(c.id for c in CASES).items() if n > 1]
assert not TWICE, (
    f"rows must have an id of their own, these share one: {TWICE}. Give them a `note`."
)
