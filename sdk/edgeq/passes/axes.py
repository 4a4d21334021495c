"""How an op looks on transposed data: the rules that move a Transpose from an op's inputs to its output.

Convention everywhere: a value x is *held* as (s, perm) when x = Transpose(s, perm), so
x.shape[i] == s.shape[perm[i]].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from edgeq.graph.ir import Shape

Perm = tuple[int, ...]
Attrs = Mapping[str, Any]

ELEMENTWISE = ("Unary", "Add", "Sub", "Mul", "Div", "Requantize")
TO_NHWC: Perm = (0, 2, 3, 1)
TO_NCHW: Perm = (0, 3, 1, 2)


def inverse(perm: Perm) -> Perm:
    return tuple(int(i) for i in np.argsort(perm))


def compose(first: Perm, second: Perm) -> Perm:
    """The one Transpose that does `first` and then `second`."""
    return tuple(first[i] for i in second)


def identity(perm: Perm) -> bool:
    return perm == tuple(range(len(perm)))


def moves_only_ones(shape: Shape, perm: Perm) -> bool:
    """True when Transpose(shape, perm) leaves the elements in place, so that a Reshape does it."""
    kept = [p for p in perm if shape[p] != 1]
    return kept == sorted(kept)


def transposed(shape: Shape, perm: Perm) -> Shape:
    return tuple(shape[p] for p in perm)


def held(op: str, attrs: Attrs, shape: Shape, perm: Perm) -> tuple[dict[str, Any], Perm] | None:
    """Rewrite op(x) for x held as (s, perm): the attrs on s and the perm of the output.

    `shape` is that of s. With several inputs all have the same perm. None: the op needs x itself.
    """
    new = dict(attrs)
    rank = len(perm)
    if op in ELEMENTWISE:
        return new, perm
    if op == "Concat":
        return {**new, "axis": perm[attrs["axis"]]}, perm
    if op == "Slice":
        back = inverse(perm)
        return {**new, **{k: transposed(attrs[k], back) for k in ("starts", "ends", "steps")}}, perm
    if op == "Pad":
        back = inverse(perm)
        return {**new, "pads": tuple(attrs["pads"][i] for i in back)}, perm
    if op in ("Softmax", "FullyConnected", "PRelu"):
        return (new, perm) if perm[-1] == rank - 1 else None
    if op == "Transpose":
        return {}, compose(perm, tuple(attrs["perm"]))
    if op == "ReduceMean":
        axes = tuple(sorted(perm[a] for a in attrs["axes"]))
        if attrs["keepdims"]:
            return {**new, "axes": axes}, perm
        kept = [i for i in range(rank) if i not in axes]
        out = tuple(kept.index(perm[i]) for i in range(rank) if i not in attrs["axes"])
        return {**new, "axes": axes}, out
    if op == "Gather":
        return _gather(new, perm)
    if op == "Reshape":
        x = transposed(shape, perm)
        found = reshape(shape, perm, x, tuple(attrs["shape"]))
        return None if found is None else ({**new, "shape": found[0]}, found[1])
    return None


def _gather(attrs: dict[str, Any], perm: Perm) -> tuple[dict[str, Any], Perm]:
    count = len(attrs.get("index_shape", (1,)))
    axis, at = attrs["axis"], perm[attrs["axis"]]
    index = [(-1, k) for k in range(count)]
    held_axes: list[tuple[int, int]] = []
    for j in range(len(perm)):
        held_axes += index if j == at else [(j, 0)]
    out: list[tuple[int, int]] = []
    for i, p in enumerate(perm):
        out += index if i == axis else [(p, 0)]
    return {**attrs, "axis": at}, tuple(held_axes.index(o) for o in out)


def reshape(shape: Shape, perm: Perm, x: Shape, out: Shape) -> tuple[Shape, Perm] | None:
    """Reshape(Transpose(s, perm), out) as Transpose(Reshape(s, new), new_perm): (new, new_perm) or None.

    Axes of x and out are cut into the smallest segments of equal product; a segment may move as one
    when its axes lie side by side and in order in s. Axes of size 1 go with their right neighbour.
    """
    segments = _segments(x, out)
    if segments is None:
        return None
    order = {axis: k for k, axis in enumerate(a for a in range(len(shape)) if shape[a] != 1)}
    placed: list[tuple[int, list[int]]] = []
    for ins, outs in segments:
        at = [order[perm[i]] for i in ins]
        if at != list(range(at[0], at[0] + len(at))):
            return None
        placed.append((at[0], outs))
    tail: list[int] = []
    axes: list[int] = [i for i in range(len(out)) if all(d == 1 for d in out[: i + 1])]
    taken = set(axes)
    for _, outs in sorted(placed):
        axes += [o for o in outs if o not in taken]
    tail = [i for i in range(len(out)) if i not in axes]
    axes += tail
    return tuple(out[a] for a in axes), inverse(tuple(axes))


def regroup(shape: Shape, perm: Perm, out: Shape) -> Perm | None:
    """Where `reshape` fails: the Transpose of s after which it works and still leaves a perm to sink.

    It puts the axes of each segment side by side and in order. None when that is all of `perm`.
    """
    segments = _segments(transposed(shape, perm), out)
    if segments is None:
        return None
    groups = sorted(([perm[i] for i in ins] for ins, _ in segments), key=min)
    q = tuple(a for a in range(len(shape)) if shape[a] == 1) + tuple(a for g in groups for a in g)
    return (
        None
        if identity(q) or moves_only_ones(transposed(shape, q), compose(inverse(q), perm))
        else q
    )


def _segments(x: Shape, out: Shape) -> list[tuple[list[int], list[int]]] | None:
    """Pair runs of axes of x with runs of axes of out that hold the same elements."""
    ins = [i for i, d in enumerate(x) if d != 1]
    segments: list[tuple[list[int], list[int]]] = []
    j = 0
    k = 0
    while k < len(ins):
        a, b = [ins[k]], [j] if j < len(out) else []
        pa = x[ins[k]]
        pb = out[j] if j < len(out) else 0
        k, j = k + 1, j + 1
        while pa != pb:
            if pb == 0 or (pa < pb and k >= len(ins)) or (pb < pa and j >= len(out)):
                return None
            if pa < pb:
                a.append(ins[k])
                pa *= x[ins[k]]
                k += 1
            else:
                b.append(j)
                pb *= out[j]
                j += 1
        segments.append((a, b))
    if any(d != 1 for d in out[j:]):
        return None
    return segments


def broadcast_rank(shape: Shape, rank: int) -> Shape:
    """The shape with leading ones up to `rank` axes."""
    return (1,) * (rank - len(shape)) + tuple(shape)


def window(pads: Sequence[int]) -> tuple[int, int, int, int]:
    """(top, left, bottom, right) from ONNX's begin-begin-end-end order, which is the same."""
    top, left, bottom, right = (int(p) for p in pads)
    return top, left, bottom, right
