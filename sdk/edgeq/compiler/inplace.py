"""In place: an elementwise result takes the buffer of an operand that dies there.

Elementwise kernels read an element before they write it, so one address may be both. The two buffers
become one with both lifetimes; no command is added and none changes its work.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgeq.compiler.allocate import Lifetime
from edgeq.compiler.command import Command
from edgeq.compiler.views import View

POINTWISE = ("ELEMENTWISE", "LUT")


def in_place(
    commands: Sequence[Command], lives: Mapping[str, Lifetime], edges: frozenset[str]
) -> tuple[list[Command], dict[str, Lifetime]]:
    """Merge buffers where that is safe; `edges` are the buffers of the graph's inputs and outputs.

    Of two operands the one that nothing else reads is preferred: stripes of a cascade read the other again.
    """
    readers: dict[str, int] = {}
    for c in commands:
        for root in {x.root for x in (*c.ins, *c.addend)}:
            readers[root] = readers.get(root, 0) + 1
    merged: dict[str, str] = {}
    left, done = dict(lives), []
    for at, c in enumerate(commands):
        c = _renamed(c, merged)
        dying = [x for x in c.ins if _fits(c, x, at, left, edges)]
        if dying:
            x = min(dying, key=lambda v: readers[v.root])
            gone = c.out.root
            merged[gone] = x.root
            readers[x.root] += readers.pop(gone, 0)
            left[x.root] = Lifetime(left[x.root].size, left[x.root].first, left.pop(gone).last)
            c = _renamed(c, merged)
        done.append(c)
    return done, left


def _fits(
    c: Command, x: View, at: int, lives: Mapping[str, Lifetime], edges: frozenset[str]
) -> bool:
    """True when the output may lie where `x` does: the same elements of buffers of one size."""
    if c.opcode not in POINTWISE or x.constant or {x.root, c.out.root} & edges:
        return False
    mine, theirs = lives[x.root], lives[c.out.root]
    return (
        mine.last == at == theirs.first
        and mine.size == theirs.size
        and x.dtype == c.out.dtype
        and replace(x, root=c.out.root).same(c.out)
        and sum(v.root == x.root for v in c.ins) == 1
    )


def _renamed(c: Command, names: Mapping[str, str]) -> Command:
    if not ({x.root for x in (*c.ins, *c.addend, c.out)} & names.keys()):
        return c
    ins, addend = (
        tuple(replace(x, root=names.get(x.root, x.root)) for x in views)
        for views in (c.ins, c.addend)
    )
    out = replace(c.out, root=names.get(c.out.root, c.out.root))
    return replace(c, ins=ins, addend=addend, out=out)
