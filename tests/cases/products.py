"""Rows of the products: convolutions, fully connected, matrices."""

from __future__ import annotations

from dataclasses import replace

from tests.cases.case import Case, conv, depthwise, transposed


def product_cases() -> list[Case]:
    out = []
    for ic in (1, 3, 4, 15, 16, 17, 33, 64):
        for oc in (1, 8, 16, 17, 40):
            out.append(
                Case("Conv", ((1, 5, 7, ic),), conv(), weights=(oc, 1, 1, ic), note=f"1x1-oc{oc}")
            )
    same = (1, 1, 1, 1)
    for oc in (1, 2, 3, 4, 5, 8, 24, 40):
        out += [
            Case(
                "Conv",
                ((1, 9, 21, 3),),
                conv(strides=(2, 2), pads=same),
                weights=(oc, 3, 3, 3),
                note=f"few-oc{oc}",
            ),
            Case("Conv", ((1, 3, 37, 24),), conv(), weights=(oc, 1, 1, 24), note=f"few-oc{oc}"),
        ]
    out += [
        Case(
            "Conv",
            ((1, 9, 8, 3),),
            conv(strides=(2, 2), pads=(0, 0, 1, 1)),
            weights=(24, 3, 3, 3),
            note="first",
        ),
        Case("Conv", ((1, 9, 8, 5),), conv(pads=same), weights=(7, 3, 3, 5), note="same"),
        Case("Conv", ((2, 6, 6, 8),), conv(pads=same), weights=(16, 3, 3, 8), note="batch"),
        Case(
            "Conv",
            ((1, 9, 9, 8),),
            conv(pads=(2, 2, 2, 2), dilations=(2, 2)),
            weights=(16, 3, 3, 8),
            note="dilated",
        ),
        Case(
            "Conv",
            ((1, 9, 9, 8),),
            conv(pads=(0, 3, 1, 0), strides=(3, 2)),
            weights=(9, 2, 5, 8),
            note="odd",
        ),
        Case(
            "Conv", ((1, 6, 5, 12),), conv(pads=same, group=3), weights=(18, 3, 3, 4), note="group3"
        ),
        Case(
            "Conv",
            ((1, 6, 5, 6),),
            conv(pads=same, group=6),
            weights=(12, 3, 3, 1),
            note="multiplier2",
        ),
        Case("Conv", ((1, 1, 30, 40),), conv(), weights=(33, 1, 1, 40), note="row"),
        Case("Conv", ((1, 40, 40, 16),), conv(pads=same), weights=(32, 3, 3, 16), note="large"),
        Case("Conv", ((1, 14, 14, 96),), conv(), weights=(128, 1, 1, 96), note="pointwise"),
        Case("Conv", ((1, 8, 8, 16),), conv(clip=(0.0, 6.0)), weights=(16, 1, 1, 16), note="relu6"),
        Case(
            "Conv",
            ((1, 8, 8, 16),),
            conv(clip=(0.0, float("inf"))),
            weights=(16, 1, 1, 16),
            out="c8",
            note="relu",
        ),
        Case("Conv", ((1, 8, 8, 16),), conv(), weights=(20, 1, 1, 16), out="i16", note="wide"),
        Case("Conv", ((1, 8, 8, 16),), conv(), weights=(20, 1, 1, 16), bias=False, note="nobias"),
    ]
    for oc in (7, 16, 26, 32, 58):  # tiles and blocks of pixels, whole and not
        for unary in ("", "Silu"):
            out.append(
                Case(
                    "Conv",
                    ((2, 9, 23, 72),),
                    conv(),
                    weights=(oc, 1, 1, 72),
                    unary=unary,
                    pre="acc",
                    note=f"points-oc{oc}",
                )
            )
    for unary in ("Silu", "LeakyRelu", "Sigmoid", "HardSwish"):
        for pre in ("i8", "i16", "acc"):
            for kind in ("i8", "c8", "i16"):
                out.append(
                    Case(
                        "Conv",
                        ((1, 6, 7, 16),),
                        conv(pads=same),
                        weights=(19, 3, 3, 16),
                        unary=unary,
                        pre=pre,
                        out=kind,
                    )
                )
    for c in (1, 7, 16, 17, 48):
        for kind in ("i8", "c8"):
            out.append(
                Case("DepthwiseConv", ((1, 7, 9, c),), depthwise(), (kind,), weights=(3, 3, c))
            )
    for c, size, stride in ((8, 3, 2), (24, 3, 2), (32, 5, 2), (58, 3, 1), (112, 3, 1), (64, 5, 1)):
        window = depthwise(strides=(stride, stride), pads=(size // 2,) * 4)
        for unary in ("", "Silu") if size == 3 else ("",):
            out.append(
                Case(
                    "DepthwiseConv",
                    ((1, 7, 13, c),),
                    window,
                    ("c8",),
                    out="i8" if unary else "c8",
                    weights=(size, size, c),
                    unary=unary,
                    note=f"{size}x{size}s{stride}",
                )
            )
    out += [
        Case(
            "DepthwiseConv",
            ((1, 8, 8, 24),),
            depthwise(strides=(2, 2), pads=(0, 0, 1, 1)),
            ("c8",),
            weights=(3, 3, 24),
            note="stride2",
        ),
        Case(
            "DepthwiseConv",
            ((1, 11, 10, 40),),
            depthwise(pads=(2, 2, 2, 2)),
            ("c8",),
            out="c8",
            weights=(5, 5, 40),
            note="5x5",
        ),
        Case(
            "DepthwiseConv",
            ((1, 11, 10, 16),),
            depthwise(pads=(2, 2, 2, 2), dilations=(2, 2)),
            weights=(3, 3, 16),
            note="dilated",
        ),
        Case(
            "DepthwiseConv",
            ((2, 6, 5, 20),),
            depthwise(clip=(0.0, 6.0)),
            ("c8",),
            weights=(3, 3, 20),
            note="relu6",
        ),
        Case(
            "DepthwiseConv",
            ((1, 6, 5, 20),),
            depthwise(),
            ("c8",),
            weights=(3, 3, 20),
            unary="Silu",
            out="c8",
        ),
        Case(
            "DepthwiseConv",
            ((1, 6, 5, 20),),
            depthwise(pads=(0, 0, 0, 0)),
            ("c8",),
            weights=(1, 1, 20),
            note="1x1",
        ),
        Case(
            "DepthwiseConv",
            ((1, 2, 2, 20),),
            depthwise(pads=(3, 3, 3, 3)),
            ("c8",),
            weights=(7, 7, 20),
            note="mostly-padding",
        ),
        Case("ConvTranspose", ((1, 4, 5, 8),), transposed(), weights=(6, 2, 2, 8), note="2x2s2"),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(pads=(1, 1, 1, 1), output_padding=(1, 1)),
            weights=(6, 3, 3, 8),
            note="3x3s2",
        ),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(strides=(1, 1), pads=(1, 0, 0, 1)),
            weights=(6, 3, 3, 8),
            note="s1",
        ),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(strides=(3, 2)),
            weights=(6, 2, 5, 8),
            note="gaps",
        ),
        Case(
            "ConvTranspose",
            ((1, 4, 5, 8),),
            transposed(dilations=(2, 3), group=2),
            weights=(6, 3, 2, 4),
            note="dilated",
        ),
        Case("FullyConnected", ((1, 70),), {}, weights=(11, 70)),
        Case(
            "FullyConnected", ((5, 64),), {"clip": (0.0, float("inf"))}, weights=(48, 64), out="i16"
        ),
        Case("FullyConnected", ((2, 3, 20),), {}, weights=(7, 20), unary="Tanh"),
        Case("MatMul", ((2, 3, 5, 7), (2, 3, 7, 4)), {}, ("i8", "i8")),
        Case(
            "MatMul", ((2, 1, 5, 33), (1, 3, 33, 18)), {}, ("i8", "i8"), out="i16", note="broadcast"
        ),
    ]
    return out


def sum_cases() -> list[Case]:
    """A sum behind convolutions: whole and split channels, groups, tables, strides, bounds; kept apart where it must."""
    kinds = ("Conv", "DepthwiseConv")
    many = [c for c in product_cases() if c.op in kinds and c.weights[0] != 1 and c.out != "i16"]
    few = [c for c in many if not c.note.startswith("1x1") or c.shapes[0][3] == 17]
    plain = [c for c in few if not c.unary or (c.unary in ("Silu", "Tanh") and c.pre != "i16")]
    return [replace(c, add="c8" if c.out == "c8" else "i8") for c in plain] + [
        Case("Conv", ((1, 1, 5, 40),), conv(), weights=(260, 1, 1, 40), add="i8", note="channels"),
        Case("Conv", ((2, 20, 20, 8),), conv(clip=(0.0, 6.0)), weights=(64, 1, 1, 8), add="c8"),
        Case("DepthwiseConv", ((2, 33, 40, 24),), depthwise(), weights=(3, 3, 24), add="i8"),
        Case("Conv", ((1, 6, 6, 8),), conv(), weights=(16, 1, 1, 8), add="i16", note="apart"),
    ]


def w4_cases() -> list[Case]:
    """4-bit weights through every shape of weights: panels, groups, taps, odd and padded channels."""
    kinds = ("Conv", "DepthwiseConv", "ConvTranspose", "FullyConnected")
    few = [
        c for c in product_cases() if c.op in kinds and (c.weights[0] != 1 or c.weights[-1] != 1)
    ]
    plain = [c for c in few if not c.unary or (c.unary == "Silu" and c.out == "i8")]
    return [replace(c, bits=4) for c in plain]
