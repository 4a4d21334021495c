"""Runners of this process taking turns, for the demo."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from edgeq.cli.models import Runner

TURN_S = 0.25  # a runner's turn; all take turns, so that a disturbance meets each of them
WARM_UP = 3


@dataclass(slots=True)
class Timing:
    """A runner with its input and the milliseconds of its calls."""

    runner: Runner
    x: Any
    ms: list[float] = field(default_factory=list)


def take_turns(timings: list[Timing], seconds: float, step: Any) -> None:
    """Time all runners in turns until each had its seconds; the first call of a turn warms up."""
    for one in timings:
        for _ in range(WARM_UP):
            one.runner.run(one.x)
    turns = max(1, round(seconds / TURN_S))
    for turn in range(turns):
        for one in timings:
            one.runner.run(one.x)
            end = time.perf_counter() + seconds / turns
            while True:
                begin = time.perf_counter()
                one.runner.run(one.x)
                now = time.perf_counter()
                one.ms.append(1e3 * (now - begin))
                if now >= end:
                    break
        step(turn + 1, turns)
