"""Rows of arithmetic, table functions, softmax and requantization."""

from __future__ import annotations

from tests.cases.case import Case


def elementwise_cases() -> list[Case]:
    x, out = (1, 5, 6, 19), []
    for op in ("Add", "Sub", "Mul", "Div"):
        for kinds in (("i8", "i8"), ("c8", "i8"), ("i16", "i8"), ("i16", "i16")):
            out.append(Case(op, (x, x), {}, kinds, out="c8" if kinds[0] == "c8" else "i8"))
        out += [
            Case(op, (x, (1, 1, 1, 19)), {}, ("i8", "k8"), note="per-channel-constant"),
            Case(op, (x, (1, 1, 1, 19)), {"clip": (0.0, 3.0)}, ("i8", "i8"), note="gate"),
            Case(op, (x, (1, 5, 6, 1)), {}, ("i8", "i8"), note="mask"),
            Case(op, ((1, 1, 1, 1), x), {}, ("i8", "i8"), note="scalar-left"),
            Case(op, ((7,), (7,)), {}, ("i8", "i8"), out="i16", note="rank1"),
        ]
    for kind in (
        "Relu",
        "Sigmoid",
        "Silu",
        "Tanh",
        "Exp",
        "Reciprocal",
        "Square",
        "Sqrt",
        "Gelu",
        "Mish",
    ):
        out += [
            Case("Unary", (x,), {"kind": kind}, (k,), out=o, note=kind)
            for k in ("i8", "i16")
            for o in ("i8", "c8", "i16")
        ]
    out += [
        *[
            Case(
                op,
                ((1, 5, 6, c), (1, 5, 6, c) if op == "Add" else (1, 1, 1, c)),
                {},
                kinds,
                out=kinds[0],
            )
            for op in ("Add", "Mul")
            for c in (24, 58, 64)
            for kinds in (("i8", "i8"), ("c8", "i8"))
        ],
        Case("Unary", ((1, 5, 6, 80),), {"kind": "Sigmoid"}, ("i16",), out="i16", note="Sigmoid"),
        Case("PRelu", (x,), {}, ("i8",), weights=(19,)),
        Case("PRelu", (x,), {}, ("c8",), weights=(19,), out="c8"),
        Case("Div", (x, ()), {}, ("i8", "i8"), note="by-scalar"),
        Case("Unary", ((),), {"kind": "Square"}, ("i8",), out="i16", note="scalar"),
        Case("Softmax", ((3, 10),), {}),
        Case("Softmax", ((1, 1000),), {}, ("i16",), out="i16"),
        Case("Softmax", ((2, 4, 7),), {}, ("i16",)),
        Case("Requantize", (x,), {}),
        Case("Requantize", (x,), {}, ("c8",), out="i8"),
        Case("Requantize", (x,), {}, ("i16",), out="c8"),
        Case("Requantize", (x,), {}, ("i8",), out="i16"),
    ]
    return out
