"""When every command of an NPU program starts and ends. `run_clock` is compiled (_clock.pyx); `slow_clock`
says the same in plain Python and is what the tests hold it against.

A command starts when its queue is free, when the tokens it waits for are there and, if it moves data
outside, when the external memory is free; of the commands that could start, the earliest does, ties by
core and queue. A SYNC starts when every core has come to its own.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import ProgramError
from edgeq.runtime import isa
from edgeq.runtime.npu._clock import simulate

CAUSES = ("queue", "load", "weights", "exec", "store", "dram", "sync")


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """Per command: start and end in cycles, and what it waited for last (index into CAUSES)."""

    start: NDArray[np.int64]
    finish: NDArray[np.int64]
    cause: NDArray[np.int8]

    @property
    def makespan(self) -> int:
        return int(self.finish.max(initial=0))


@dataclass(frozen=True, slots=True, eq=False)
class Tables:
    """The columns of COMMANDS and TIMING that the clock reads."""

    queue: NDArray[Any]
    core: NDArray[Any]
    wait: NDArray[Any]
    signal: NDArray[Any]
    cycles: NDArray[Any]
    dram: NDArray[Any]
    sync: NDArray[Any]
    cores: int


def tables(commands: bytes, timing: NDArray[Any], cores: int) -> Tables:
    """Unpack a program's command heads and timing rows into dense columns."""
    head = np.frombuffer(commands, isa.COMMAND_DTYPES["END"])
    if not 0 < cores <= isa.MAX_CORES or len(head) != len(timing):
        raise ProgramError("TIMING: the program must be one for an NPU, with a row per command.")
    if len(timing) and (timing["queue"].max() >= len(isa.QUEUES) or timing["core"].max() >= cores):
        raise ProgramError("TIMING: a queue or core does not exist. Compile the model again.")
    return Tables(
        queue=np.ascontiguousarray(timing["queue"]),
        core=np.ascontiguousarray(timing["core"]),
        wait=np.ascontiguousarray(head["wait"], np.uint16),
        signal=np.ascontiguousarray(head["signal"], np.uint16),
        cycles=np.ascontiguousarray(timing["cycles"], np.int64),
        dram=np.ascontiguousarray(timing["dram_cycles"], np.int64),
        sync=np.ascontiguousarray(head["opcode"] == isa.OPCODES["SYNC"].number, np.uint8),
        cores=cores,
    )


def run_clock(t: Tables) -> Timeline:
    """Run the compiled clock. Raises ProgramError when commands wait for tokens that nobody gives."""
    n = len(t.queue)
    start, finish, cause = np.empty(n, np.int64), np.empty(n, np.int64), np.empty(n, np.int8)
    simulate(t.queue, t.core, t.wait, t.signal, t.cycles, t.dram, t.sync, t.cores, start, finish, cause)  # fmt: skip
    return Timeline(start, finish, cause)


def slow_clock(t: Tables) -> Timeline:
    """The same, one command at a time, with a queue of commands and of tokens for each name."""
    lanes = [(core, queue) for core in range(t.cores) for queue in range(len(isa.QUEUES))]
    waiting = {lane: deque[int]() for lane in lanes}
    tokens = {(core, bit): deque[int]() for core in range(t.cores) for bit in range(16)}
    free = dict.fromkeys(lanes, 0)
    for i in range(len(t.queue)):
        waiting[int(t.core[i]), int(t.queue[i])].append(i)
    start, finish, cause = ([0] * len(t.queue) for _ in range(3))
    outside = 0  # when the external memory is free

    def ready(lane: tuple[int, int]) -> tuple[int, int] | None:
        """(time, cause) at which the head of a queue has its tokens, None while one is missing."""
        at, why = free[lane], 0
        for bit in bits(int(t.wait[waiting[lane][0]])):
            if not tokens[lane[0], bit]:
                return None
            if tokens[lane[0], bit][0] > at:
                at, why = tokens[lane[0], bit][0], 1 + bit // len(isa.QUEUES)
        return at, why

    def take(lane: tuple[int, int], at: int, why: int) -> None:
        i = waiting[lane].popleft()
        start[i], finish[i], cause[i] = at, at + int(t.cycles[i]), why
        free[lane] = finish[i]
        for bit in bits(int(t.wait[i])):
            tokens[lane[0], bit].popleft()
        for bit in bits(int(t.signal[i])):
            tokens[lane[0], bit].append(finish[i])

    while any(waiting.values()):
        arrived = [
            ready(lane)
            for lane in lanes
            if lane[1] == isa.QUEUES["EXEC"] and waiting[lane] and t.sync[waiting[lane][0]]
        ]
        there = [a for a in arrived if a is not None]
        together = max(a[0] for a in there) if len(there) == t.cores else None
        best: tuple[int, tuple[int, int], int] | None = None
        for lane in lanes:
            if not waiting[lane] or (when := ready(lane)) is None:
                continue
            (at, why), i = when, waiting[lane][0]
            if t.sync[i]:
                if together is None:
                    continue
                if together > at:
                    at, why = together, CAUSES.index("sync")
            if t.dram[i] and outside > at:
                at, why = outside, CAUSES.index("dram")
            if best is None or at < best[0]:
                best = at, lane, why
        if best is None:
            left = sum(map(len, waiting.values()))
            raise ProgramError(f"COMMANDS: {left} commands wait for tokens that nobody gives.")
        at, lane, why = best
        i = waiting[lane][0]
        if t.sync[i]:
            for core in range(t.cores):
                one = core, isa.QUEUES["EXEC"]
                own = ready(one)
                assert own is not None
                take(one, at, CAUSES.index("sync") if at > own[0] else own[1])
            continue
        if t.dram[i]:
            outside = at + int(t.dram[i])
        take(lane, at, why)
    return Timeline(np.array(start, np.int64), np.array(finish, np.int64), np.array(cause, np.int8))


def bits(mask: int) -> list[int]:
    return [b for b in range(16) if mask >> b & 1]
