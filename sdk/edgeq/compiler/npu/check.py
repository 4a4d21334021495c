"""The checker of an NPU program: do its tokens order every conflict, in whatever order the queues run?

It reads the bytes of the program alone. Two commands conflict when they touch the same bytes of a
memory and one of them writes; the order of the file is the one that counts. `races` finds every pair
that the tokens leave open, `orders` makes valid orders on purpose to run them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from edgeq.errors import ProgramError
from edgeq.graph.ir import Array
from edgeq.runtime import isa
from edgeq.runtime.npu.timeline import bits
from edgeq.runtime.program import Program

Lane = tuple[int, int]  # core, queue
_NAMES = {op.number: name for name, op in isa.OPCODES.items()}
_SIZES = {number: isa.DTYPE_BYTES[name] for name, number in isa.DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Race:
    """Command `second` may run before `first` is over, though both touch the same bytes."""

    first: int
    second: int
    memory: str

    def __str__(self) -> str:
        return f"command {self.second} does not wait for command {self.first} in {self.memory}"


def races(program: Program) -> list[Race]:
    """Every conflict that the tokens do not order. Raises ProgramError on a deadlock."""
    lanes, heads = _lanes(program), _heads(program)
    clocks = _clocks(program)
    memory, low, high, writes, owner, ids = _accesses(program)
    found = set()
    for k in range(len(owner)):
        j = int(owner[k])
        hit = (memory[:k] == memory[k]) & (low[:k] < high[k]) & (high[:k] > low[k])
        hit &= writes[:k] | writes[k]
        for m in np.flatnonzero(hit):
            i = int(owner[m])
            apart = lanes[i][0] != lanes[j][0] and not _overlap(program, int(ids[m]), int(ids[k]))
            if i != j and clocks[j].get(lanes[i], -1) < i and not apart:
                place = "ARENA" if memory[k] < 0 else f"SRAM of core {memory[k]}"
                found.add((i, j, place))
    assert len(heads) == len(lanes)
    return [Race(*one) for one in sorted(found)]


def missing_weights(program: Program) -> list[int]:
    """Commands whose weights in SRAM are not those that a DMA_WEIGHTS brought last."""
    heads = _heads(program)
    memory, low, high, writes, owner, _ = _accesses(program)
    bad = []
    for j, head in enumerate(heads):
        if _NAMES[int(head["opcode"])] not in ("CONV", "DWCONV") or head["in1"] == isa.NONE16:
            continue
        tensor = program.tensors[int(head["in1"])]
        start = int(tensor["offset"])
        end = start + int(tensor["dims"][0])
        before = writes & (owner < j) & (memory == int(tensor["core"]))
        hit = owner[before & (low < end) & (high > start)]
        source = heads[int(hit.max())] if len(hit) else None
        if (
            source is None
            or _NAMES[int(source["opcode"])] != "DMA_WEIGHTS"
            or source["constants"] != head["constants"]
            or source["out"] != head["in1"]
        ):
            bad.append(j)
    return bad


def orders(program: Program, choose: Callable[[list[Lane]], Lane]) -> Iterator[int]:
    """Commands in an order that the queues and tokens allow; `choose` picks the next queue each time.

    The SYNC of all cores come together, one after the other.
    """
    queues = _Queues(program)
    while any(queues.waiting.values()):
        ready = queues.ready()
        if not ready:
            raise ProgramError("COMMANDS: the queues wait for tokens that nobody gives.")
        lane = choose(ready)
        for one in queues.syncs if queues.at_sync(lane) else [lane]:
            yield queues.take(one)


class _Queues:
    """What waits in each queue, and the tokens between them."""

    def __init__(self, program: Program) -> None:
        self.heads = _heads(program)
        self.waiting: dict[Lane, deque[int]] = {}
        self.tokens: dict[tuple[int, int], int] = {}
        self.syncs = [(core, isa.QUEUES["EXEC"]) for core in range(program.cores)]
        for i, lane in enumerate(_lanes(program)):
            self.waiting.setdefault(lane, deque()).append(i)

    def ready(self) -> list[Lane]:
        """Queues whose next command has its tokens; a SYNC needs those of every core."""
        out = []
        together = all(self.at_sync(one) and self._has(one) for one in self.syncs)
        for lane in sorted(self.waiting):
            if self.waiting[lane] and (together if self.at_sync(lane) else self._has(lane)):
                out.append(lane)
        return out

    def at_sync(self, lane: Lane) -> bool:
        queue = self.waiting.get(lane)
        return queue is not None and len(queue) > 0 and self._opcode(queue[0]) == "SYNC"

    def take(self, lane: Lane) -> int:
        i = self.waiting[lane].popleft()
        for bit in bits(int(self.heads[i]["wait"])):
            self.tokens[lane[0], bit] -= 1
        for bit in bits(int(self.heads[i]["signal"])):
            self.tokens[lane[0], bit] = self.tokens.get((lane[0], bit), 0) + 1
        return i

    def _has(self, lane: Lane) -> bool:
        wait = int(self.heads[self.waiting[lane][0]]["wait"])
        return all(self.tokens.get((lane[0], bit), 0) > 0 for bit in bits(wait))

    def _opcode(self, i: int) -> str:
        return _NAMES[int(self.heads[i]["opcode"])]


def _clocks(program: Program) -> list[dict[Lane, int]]:
    """For every command, the last command of each queue that is over when it is."""
    heads, lanes = _heads(program), _lanes(program)
    known: dict[Lane, dict[Lane, int]] = {}
    given: dict[tuple[int, int], deque[int]] = {}  # commands that gave each token
    clocks: list[dict[Lane, int]] = [{} for _ in lanes]
    group: list[int] = []  # SYNC of all cores, once they are together
    for i in orders(program, lambda ready: ready[0]):
        lane = lanes[i]
        clock = known.setdefault(lane, {})
        for bit in bits(int(heads[i]["wait"])):
            _merge(clock, clocks[given[lane[0], bit].popleft()])
        clock[lane] = i
        clocks[i] = dict(clock)
        for bit in bits(int(heads[i]["signal"])):
            given.setdefault((lane[0], bit), deque()).append(i)
        if _NAMES[int(heads[i]["opcode"])] == "SYNC":
            group.append(i)
            if len(group) == program.cores:
                for one in group:
                    for other in group:
                        _merge(clocks[one], clocks[other])
                    _merge(known[lanes[one]], clocks[one])
                group = []
    return clocks


def _merge(into: dict[Lane, int], other: dict[Lane, int]) -> None:
    for lane, at in other.items():
        into[lane] = max(into.get(lane, -1), at)


def _heads(program: Program) -> Array:
    return np.frombuffer(program.commands, isa.COMMAND_DTYPES["END"])[:-1]


def _lanes(program: Program) -> list[Lane]:
    assert program.timing is not None, "only a program for an NPU has queues"
    return [(int(r["core"]), int(r["queue"])) for r in program.timing[:-1]]


def _accesses(program: Program) -> tuple[Array, ...]:
    """Columns of all accesses: memory (core, or -1 outside), first byte, end, writes?, command, tensor."""
    rows: list[tuple[int, int, int, bool, int, int]] = []
    for i, head in enumerate(_heads(program)):
        if _NAMES[int(head["opcode"])] == "SYNC":
            continue
        for field, write in (("in0", False), ("in1", False), ("out", True)):
            if head[field] == isa.NONE16:
                continue
            tensor = program.tensors[int(head[field])]
            if tensor["region"] == isa.REGIONS["CONSTANTS"]:
                continue
            memory = int(tensor["core"]) if tensor["region"] == isa.REGIONS["SRAM"] else -1
            rows.append((memory, *_bytes(tensor), write, i, int(head[field])))
    table = np.array(rows, np.int64).reshape(-1, 6)
    return table[:, 0], table[:, 1], table[:, 2], table[:, 3].astype(bool), table[:, 4], table[:, 5]


def _overlap(program: Program, a: int, b: int) -> bool:
    """True when two tensors of one memory share an element: cores may write columns side by side."""
    return bool(np.isin(_addresses(program.tensors[a]), _addresses(program.tensors[b])).any())


def _addresses(tensor: Array) -> Array:
    n, size = int(tensor["ndim"]), _SIZES[int(tensor["dtype"])]
    at = np.array([int(tensor["offset"])], np.int64)
    for d, s in zip(tensor["dims"][:n], tensor["strides"][:n], strict=True):
        at = (at[:, None] + np.arange(int(d)) * int(s) * size).reshape(-1)
    return at


def _bytes(tensor: Array) -> tuple[int, int]:
    n, size = int(tensor["ndim"]), _SIZES[int(tensor["dtype"])]
    ends = [(int(d) - 1) * int(s) for d, s in zip(tensor["dims"][:n], tensor["strides"][:n], strict=True)]  # fmt: skip
    low = sum(e for e in ends if e < 0)
    high = sum(e for e in ends if e > 0)
    offset = int(tensor["offset"])
    return offset + low * size, offset + (high + 1) * size
