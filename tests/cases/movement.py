"""Rows of ops that move integers, and of windows over them: pools, means, resizing."""

from __future__ import annotations

from tests.cases.case import Case, pool, resize


def movement_cases() -> list[Case]:
    x = (1, 5, 6, 19)
    out = [
        Case("Concat", ((1, 4, 4, 3), (1, 4, 4, 5)), {"axis": 3}, ("i8", "i8")),
        Case("Concat", ((1, 4, 4, 3), (1, 2, 4, 3)), {"axis": 1}, ("i16", "i16"), out="i16"),
        Case("Slice", (x,), {"starts": (0, 1, 0, 3), "ends": (1, 5, 6, 11), "steps": (1, 2, 1, 1)}),
        Case(
            "Slice",
            (x,),
            {"starts": (0, 0, 0, 0), "ends": (1, 5, 6, 19), "steps": (1, 1, 1, 2)},
            ("i16",),
            out="i16",
            note="channels",
        ),
        Case(
            "Slice",
            (x,),
            {"starts": (0, 4, 0, 18), "ends": (1, -1, 6, 2), "steps": (1, -2, 1, -3)},
            note="backwards",
        ),
        Case("Reshape", (x,), {"shape": (1, 30, 19)}),
        Case("Reshape", (x,), {"shape": (570,)}, ("i16",), out="i16"),
        Case("Transpose", (x,), {"perm": (0, 3, 1, 2)}),
        Case("Transpose", ((2, 3, 2, 3, 2),), {"perm": (4, 2, 0, 3, 1)}, ("i16",), out="i16"),
        Case(
            "Pad",
            (x,),
            {"pads": ((0, 0), (1, 2), (0, 1), (4, 0)), "mode": "constant", "value": 0.5},
        ),
        Case(
            "Pad",
            (x,),
            {"pads": ((0, 0), (1, 1), (1, 1), (0, 0)), "mode": "constant", "value": 0.0},
            ("c8",),
            out="c8",
        ),
        Case(
            "Pad",
            (x,),
            {"pads": ((0, 0), (-1, 2), (0, -2), (0, 0)), "mode": "constant", "value": 0.0},
            note="crop",
        ),
        Case("Gather", (x,), {"axis": 3, "indices": (18, 0, 0, 7)}),
        Case(
            "Gather",
            (x,),
            {"axis": 1, "indices": (4, 1, 2, 2), "index_shape": (2, 2)},
            ("i16",),
            out="i16",
        ),
        Case("MaxPool", (x,), pool(2, strides=(2, 2), pads=(0, 0, 1, 1)), ("c8",), out="c8"),
        Case("MaxPool", ((1, 13, 13, 32),), pool(5, pads=(2, 2, 2, 2))),
        Case("MaxPool", ((1, 9, 11, 24),), pool(3, strides=(2, 2), pads=(1, 1, 1, 1))),
        Case("MaxPool", (x,), pool(3, pads=(1, 1, 1, 1)), ("i16",), out="i16"),
        Case("AvgPool", (x,), pool(3, pads=(1, 1, 1, 1), count_include_pad=False)),
        Case(
            "AvgPool", (x,), pool(3, pads=(1, 1, 1, 1), count_include_pad=True), ("c8",), out="c8"
        ),
        Case(
            "AvgPool",
            (x,),
            pool(2, strides=(2, 2), pads=(0, 0, 1, 0), count_include_pad=False),
            ("i16",),
            out="i16",
        ),
        Case("ReduceMean", ((9, 2, 3, 19),), {"axes": (1, 2), "keepdims": True}, ("c8",), out="c8"),
        Case("ReduceMean", (x,), {"axes": (1, 2), "keepdims": False}),
        Case("ReduceMean", (x,), {"axes": (1, 2, 3), "keepdims": True}, ("i16",), out="i16"),
        Case("ReduceMean", (x,), {"axes": (3,), "keepdims": False}, note="channels"),
        Case("ReduceMean", ((1, 5, 700, 61),), {"axes": (1, 2), "keepdims": True}, note="long"),
        Case("ReduceMean", ((1, 9, 7, 300),), {"axes": (1, 2), "keepdims": True}, note="wide"),
        Case("ReduceMean", (x,), {"axes": (0, 1, 2, 3), "keepdims": False}, note="scalar"),
    ]
    for c in (16, 40):
        shape = (1, 5, 6, c)
        attrs = resize("nearest", "asymmetric", (10, 12), shape, "floor")
        out.append(Case("Resize", (shape,), attrs, note="blocks"))
    for coordinate in ("half_pixel", "align_corners", "asymmetric", "pytorch_half_pixel"):
        for size in ((10, 12), (7, 3), (1, 1)):
            out.append(
                Case(
                    "Resize",
                    (x,),
                    resize("linear", coordinate, size, x),
                    ("c8",),
                    out="c8",
                    note=f"linear-{coordinate}-{size[0]}",
                )
            )
            out.append(
                Case(
                    "Resize",
                    (x,),
                    resize("nearest", coordinate, size, x, "floor"),
                    note=f"nearest-{coordinate}-{size[0]}",
                )
            )
    return out
