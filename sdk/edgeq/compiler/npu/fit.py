"""Fit: the plan with the fewest cycles, or the least SRAM, whose buffers lie in the SRAM together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from edgeq.compiler.npu.hazards import Tokens, declare
from edgeq.compiler.npu.layout import PREFETCH, Layout, place_buffers
from edgeq.compiler.npu.residency import Plan, Planner
from edgeq.compiler.npu.schedule import LayerSteps, Step, layer_steps
from edgeq.compiler.npu.stripes import cascade_steps
from edgeq.errors import CompileError
from edgeq.graph.ir import Array
from edgeq.runtime import isa
from edgeq.runtime.npu.timeline import run_clock, tables

ATTEMPTS = 16  # budgets tried until the buffers fit the SRAM together
EARLY_ATTEMPTS = 8  # of them with weights that come early, which fill whatever room a budget leaves
STEP = 1.08  # from one budget of a cascade to the next
QUICKER = (1.0, 0.93, 0.85, 0.75)  # of the SRAM that `size` takes, until quicker tiles fit it too
CASCADE_SHARES = (1.0, 0.9, 0.75)  # of the SRAM, which weights that arrive early need too
TRADE = 2  # times the cycles that `size` may cost at most
SHARES = (64, 32, 16, 8, 6, 4, 3, 2, 1)  # parts of the SRAM that `size` tries


@dataclass(frozen=True, eq=False)
class Compiled:
    """All stages of one way to run the commands, and the time it takes."""

    cores: int
    plan: Plan
    layout: Layout
    steps: list[Step]

    def mode(self) -> dict[str, int]:
        """What the throughput needs to know: the quickest way for one picture may not be it for many."""
        moved = sum(step.price.dram_bytes for step in self.steps)
        return {"cores": self.cores, "cycles": self.cycles, "dram_bytes": moved}

    @cached_property
    def tokens(self) -> list[Tokens]:
        places = {root: ("sram", at) for root, at in self.layout.sram.items()}
        places |= {root: ("arena", at) for root, at in self.layout.arena.items()}
        return declare(self.steps, places)

    @cached_property
    def cycles(self) -> int:
        rows = np.zeros(len(self.steps), isa.COMMAND_DTYPES["END"])
        rows["opcode"] = [isa.OPCODES[step.command.opcode].number for step in self.steps]
        rows["wait"] = [token.wait for token in self.tokens]
        rows["signal"] = [token.signal for token in self.tokens]
        return run_clock(tables(rows.tobytes(), timing(self.steps)[:-1], self.cores)).makespan


def fit_sram(planner: Planner, optimize: str) -> Compiled:
    """Plan within smaller and smaller budgets (with `size`: larger and larger) until all lies in SRAM."""
    if not planner.target.dram_writable:
        return _fit_inside(planner, size=optimize == "size")
    if optimize == "size":
        most = TRADE * _fit_whole(planner).cycles
        for share in SHARES:
            budget = planner.target.sram_bytes // share
            try:
                made = laid_out(planner, planner.plan(budget, size=True), early=0)
            except CompileError:
                continue
            if made.layout.sram_bytes <= budget:
                quicker = _quicker(planner, made)
                if quicker.cycles <= most:
                    return quicker
    return _fit_outside(planner)


def _fit_outside(planner: Planner) -> Compiled:
    """Maps outside where they do not fit, and cascades where the clock says that they are faster."""
    made = _fit_whole(planner)
    if planner.cores > 1:  # cores meet in the memory outside, layer by layer
        return made
    found, sram = [made], planner.target.sram_bytes
    for share in CASCADE_SHARES:
        plan = planner.saving(made.plan, int(share * sram))
        if plan is not None:
            other = laid_out(planner, plan, early=PREFETCH)
            if other.layout.sram_bytes <= sram:
                found.append(other)
    return min(found, key=lambda one: one.cycles)


def _quicker(planner: Planner, least: Compiled) -> Compiled:
    """The fewest cycles in the SRAM that the smallest tiles take anyway."""
    room, found = least.layout.sram_bytes, [least]
    for keep in (True, False):  # maps that stay take room from tiles
        for share in QUICKER:
            try:
                plan = planner.plan(int(share * room), keep=keep)
            except CompileError:
                continue
            made = laid_out(planner, plan, early=0)
            if made.layout.sram_bytes <= room:
                found.append(made)
                break
    return min(found, key=lambda one: one.cycles)


def _fit_whole(planner: Planner) -> Compiled:
    """Every layer on its own, in smaller and smaller budgets; at last without weights that come early."""
    target, sram = planner.target, planner.target.sram_bytes
    for early, attempts in ((PREFETCH, EARLY_ATTEMPTS), (0, ATTEMPTS)):
        budget = sram
        for _ in range(attempts):
            made = laid_out(planner, planner.plan(budget), early=early)
            over = made.layout.sram_bytes - sram
            if over <= 0:
                return made
            budget -= max(over // 2, sram // 64)
    raise CompileError(
        f"target {target.name}: {made.layout.sram_bound // 1024} KiB are alive at once and do not pack into "
        f"{sram // 1024} KiB. It fits from about sram_kib={-(-made.layout.sram_bytes // 1024)} on."
    )


def _fit_inside(planner: Planner, *, size: bool) -> Compiled:
    """All maps in SRAM: whole where they fit, else in cascades.

    With `size` plans of several budgets are compared: a trade is refused when a tenth less SRAM costs
    more than a fifth more cycles, as where weights are fetched again and again for little.
    """
    sram = planner.target.sram_bytes
    if not size:
        try:
            return _fit_whole(planner)
        except CompileError:
            pass
    plans = _plans(planner)
    order = sorted(plans, key=lambda one: one.cycles * (one.bytes**2 if size else 1))
    for plan in [one for one in order if one.bytes <= sram]:
        made = laid_out(planner, plan, early=0)
        if made.layout.sram_bytes <= sram:
            return made
    least = laid_out(planner, min(plans, key=lambda one: one.bytes), early=0)
    if least.layout.sram_bytes > sram:
        raise planner.too_small(least.layout.sram_bytes)
    return least


def _plans(planner: Planner) -> list[Plan]:
    """Plans of growing budgets, from the least SRAM to whole maps."""
    plans: list[Plan] = []
    budget = planner.runs.least
    while not plans or plans[-1].cascades:
        plan = planner.cascaded(budget)
        if plan is not None:
            plans.append(plan)
        budget = int(budget * STEP) + 1
    return plans


def laid_out(planner: Planner, plan: Plan, *, early: int) -> Compiled:
    """Steps of a plan and the places of its buffers."""
    t, covered, layers = planner.target, plan.covered(), []
    for at, (job, tiling) in enumerate(zip(planner.jobs, plan.tilings, strict=True)):
        run = covered.get(at)
        if run is None:
            made = layer_steps(job.command, at, tiling, plan.kept, t, cores=planner.cores)
        elif run.first == at:
            made = cascade_steps(planner.runs.flow, run, plan.kept, t)
        else:
            made = LayerSteps()  # its steps are among those of the cascade's first layer
        layers.append(made)
    steps = [step for layer in layers for step in layer.steps]
    layout = place_buffers(plan, layers, t.sram_bytes, early=early)
    if not early:  # weights may still come in the time of the layer before, where the peak stays
        filled = place_buffers(plan, layers, layout.sram_bytes, early=1)
        layout = filled if filled.sram_bytes <= layout.sram_bytes else layout
    return Compiled(planner.cores, plan, layout, steps)


def timing(steps: Sequence[Step]) -> Array:
    """One row per command, and one for END."""
    table = np.zeros(len(steps) + 1, isa.TIMING_DTYPE)
    for row, step in zip(table, steps, strict=False):
        row["queue"], row["core"], row["layer"] = isa.QUEUES[step.queue], step.core, step.layer
        for key in ("cycles", "dram_cycles", "dram_bytes", "sram_bytes", "vector", "macs"):
            row[key] = getattr(step.price, key)
    table[-1]["queue"] = isa.QUEUES["EXEC"]
    table[-1]["layer"] = steps[-1].layer if steps else 0
    return table
