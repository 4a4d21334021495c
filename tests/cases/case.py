"""One row of the op table, and the attributes rows are written with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Case:
    """One op on activations of the given shapes and kinds ("i8", "c8" per channel, "i16"; "k8" a constant)."""

    op: str
    shapes: tuple[tuple[int, ...], ...]
    attrs: Mapping[str, Any] = field(default_factory=dict)
    kinds: tuple[str, ...] = ("i8",)
    out: str = "i8"
    weights: tuple[int, ...] = ()
    bias: bool = True
    unary: str = ""  # a table function fused behind a convolution
    pre: str = "i16"
    add: str = ""  # kind of the other operand of a sum behind a convolution
    note: str = ""
    bits: int = 8  # of a weight

    @property
    def id(self) -> str:
        parts = [
            self.op,
            self.note,
            "x".join(map(str, self.shapes[0])),
            "+".join(self.kinds),
            self.out,
            self.unary and f"{self.unary}-{self.pre}",
            self.add and f"add-{self.add}",
            self.bits == 4 and "w4",
        ]
        return "-".join(p for p in parts if p)


def conv(**over: Any) -> dict[str, Any]:
    return {"strides": (1, 1), "pads": (0, 0, 0, 0), "dilations": (1, 1), "group": 1, **over}


def depthwise(**over: Any) -> dict[str, Any]:
    return {"strides": (1, 1), "pads": (1, 1, 1, 1), "dilations": (1, 1), **over}


def transposed(**over: Any) -> dict[str, Any]:
    return {
        "strides": (2, 2),
        "pads": (0, 0, 0, 0),
        "output_padding": (0, 0),
        "dilations": (1, 1),
        "group": 1,
        **over,
    }


def pool(kernel: int = 3, **over: Any) -> dict[str, Any]:
    return {"kernel": (kernel, kernel), "strides": (1, 1), "pads": (0, 0, 0, 0), **over}


def resize(
    mode: str,
    coordinate: str,
    size: tuple[int, int],
    shape: tuple[int, ...],
    nearest: str = "round_prefer_floor",
) -> dict[str, Any]:
    scales = (size[0] / shape[1], size[1] / shape[2])
    return {
        "mode": mode,
        "coordinate": coordinate,
        "nearest_mode": nearest,
        "scales": scales,
        "size": size,
    }
