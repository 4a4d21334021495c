"""Schedule of check mode `vela`: height stripes and cascades, weight staging, place of feature maps."""

from __future__ import annotations

from dataclasses import dataclass, field

from edgeq.compiler.clock import memory
from edgeq.compiler.vela_ops import BRICK, Step, choose_block, op_cycles, traffic
from edgeq.compiler.workload import Network, lifetimes
from edgeq.runtime.target import Target

SPLIT_DEPTH = 16
UNLIMITED = 1 << 30


@dataclass(slots=True)
class _Plan:
    """The network's buffers over time, in bytes."""

    steps: list[Step]
    sizes: dict[str, int]
    live: dict[str, tuple[int, int]]
    spilling: bool
    cascades: list[tuple[int, int, int]] = field(default_factory=list)  # first, last, bytes
    kept: set[str] = field(default_factory=set)  # buffers in SRAM
    weights: dict[int, int] = field(default_factory=dict)  # SRAM bytes of staged weights by step

    def held(self, at: int, without: tuple[str, ...] = ()) -> int:
        """Bytes of kept buffers that live during step `at`."""
        return sum(
            self.sizes[n]
            for n in self.kept
            if n not in without and self.live[n][0] <= at <= self.live[n][1]
        )

    def inside(self, at: int) -> tuple[int, int, int] | None:
        return next((c for c in self.cascades if c[0] <= at <= c[1]), None)

    def usage(self, at: int) -> int:
        """SRAM in use during step `at`, with rolling buffers and staged weights."""
        cascade = self.inside(at)
        return self.held(at) + (cascade[2] if cascade else 0) + self.weights.get(at, 0)


def schedule(steps: list[Step], network: Network, t: Target, *, size: bool) -> int:
    """Decide stripes, cascades, staged weights and memories; returns the most SRAM in use."""
    plan = _plan(steps, network, t)
    limit = t.sram_bytes
    peak = max((plan.usage(at) for at in range(len(steps))), default=0)
    if size or plan.spilling or peak >= limit:
        smallest = size and not plan.spilling
        _cascade(plan, t, 0 if smallest else limit)
        if not plan.spilling:  # what does not fit needs what it needs; the verdict is the caller's
            used = max(plan.usage(at) for at in range(len(steps)))
            limit = used if smallest else max(limit, used)
        _dissolve(plan, t, limit)
        if smallest or not size:
            plan.cascades = [_taller(plan, t, cascade, limit) for cascade in plan.cascades]
    else:
        limit = UNLIMITED
    _stage_weights(plan, t, limit)
    if plan.spilling:
        _place(plan, network, limit)
    return max((plan.usage(at) for at in range(len(steps))), default=0)


def _plan(steps: list[Step], network: Network, t: Target) -> _Plan:
    linear = {
        n
        for s in steps
        for n, flat in zip((*s.layer.inputs, s.layer.output), s.linear, strict=True)
        if flat
    }
    sizes = {
        n: -(-h * w * (c if n in linear else -(-c // BRICK) * BRICK) // 16) * 16
        for n, (h, w, c) in network.buffers.items()
    }
    live = lifetimes(network)
    for step in steps:  # an elementwise result takes the place of an operand that ends there
        if step.work.kind == "elementwise":
            for n in step.layer.inputs:
                out, end = step.layer.output, live[step.layer.output][1]
                if (
                    live[n][1] == step.at < end
                    and sizes[n] == sizes[out]
                    and n not in network.inputs
                ):
                    live[out] = (step.at + 1, end)
                    break
    plan = _Plan(steps, sizes, live, t.dram_writable)
    if not plan.spilling:
        plan.kept = set(live)
    return plan


def _cascade(plan: _Plan, t: Target, peak: int) -> None:
    """Join neighbours into cascades of the smallest stripes where that needs less SRAM than whole maps."""
    readers: dict[str, list[int]] = {}
    for step in plan.steps:
        for n in step.layer.inputs:
            readers.setdefault(n, []).append(step.at)
    stripes = _smallest_stripes(plan.steps)
    at = 0
    while at < len(plan.steps):
        best, best_bytes = at, _whole(plan, at)
        first = plan.steps[at]
        if not _cascadable(first, stripes[at]):
            at, peak = at + 1, peak if plan.spilling else max(peak, best_bytes)
            continue
        buffers, last = 0, at
        inner: set[str] = set()
        while True:
            link = plan.steps[last].layer.output
            if readers.get(link) != [last + 1] or not _cascadable(
                plan.steps[last + 1], stripes[last + 1]
            ):
                break
            if plan.steps[last].linear[-1] or plan.steps[last + 1].layer.inputs[0] != link:
                break
            last += 1
            inner.add(link)
            buffers += _rolling(
                plan.steps[last - 1], plan.steps[last], stripes[last - 1], stripes[last]
            )
            whole = _whole(plan, last)
            if plan.spilling:
                if whole < peak or buffers > peak:
                    break
                best, best_bytes = last, buffers
                continue
            needed = (
                buffers
                + max(plan.held(i, tuple(inner)) for i in range(at, last + 1))
                + _ends(plan, at, last, inner)
            )
            if needed < best_bytes or needed < whole:
                best, best_bytes = last, needed
            if (whole < peak and best_bytes < peak) or needed - plan.sizes[
                plan.steps[last].layer.output
            ] > best_bytes:
                break
        if best > at:
            chosen = range(at, best + 1)
            for i in chosen:
                choose_block(t, plan.steps[i], stripes[i])
                plan.steps[i].cascade = len(plan.cascades)
            _record(plan, at, best)
        peak = peak if plan.spilling else max(peak, best_bytes)
        at = best + 1


def _record(plan: _Plan, first: int, last: int) -> None:
    """Note a cascade: rolling buffers replace the maps inside; its ends live throughout."""
    steps = plan.steps
    rolling = sum(
        _rolling(steps[i - 1], steps[i], steps[i - 1].stripe, steps[i].stripe)
        for i in range(first + 1, last + 1)
    )
    plan.kept -= {steps[i].layer.output for i in range(first, last)}
    for n in (*steps[first].layer.inputs, steps[last].layer.output):
        start, end = plan.live[n]
        plan.live[n] = (
            min(start, first) if n == steps[last].layer.output else start,
            max(end, last),
        )
    plan.cascades.append((first, last, rolling))


def _dissolve(plan: _Plan, t: Target, limit: int) -> None:
    """Take cascades apart whose steps fit one by one after all."""
    if plan.spilling:
        return
    for cascade in list(plan.cascades):
        first, last, _ = cascade
        inner = {plan.steps[i].layer.output for i in range(first, last)}
        plan.kept |= inner
        if max(plan.held(i) for i in range(first, last + 1)) > limit:
            plan.kept -= inner
            continue
        plan.cascades.remove(cascade)
        for step in plan.steps[first : last + 1]:
            step.cascade = -1
            choose_block(t, step, step.work.oh)
    for at, (first, last, _) in enumerate(plan.cascades):
        for step in plan.steps[first : last + 1]:
            step.cascade = at


def _ends(plan: _Plan, first: int, last: int, inner: set[str]) -> int:
    """Maps at the ends of a cascade that its busiest step does not already count."""
    busiest = max(range(first, last + 1), key=lambda i: plan.held(i, tuple(inner)))
    ends = (plan.steps[first].layer.inputs[0], plan.steps[last].layer.output)
    return sum(plan.sizes[n] for n in ends if not plan.live[n][0] <= busiest <= plan.live[n][1])


def _whole(plan: _Plan, at: int) -> int:
    """SRAM that a step needs outside a cascade."""
    layer = plan.steps[at].layer
    if plan.spilling:
        return sum(plan.sizes[n] for n in {*layer.inputs, layer.output})
    return plan.held(at)


def _cascadable(step: Step, rows: int) -> bool:
    kinds = ("conv", "depthwise", "pool_max", "pool_avg", "elementwise")
    return (
        rows < step.work.oh
        and step.work.kind in kinds
        and step.layer.op not in ("Resize", "Transpose", "Softmax")
    )


def _smallest_stripes(steps: list[Step]) -> list[int]:
    """Output rows that the next step's stride asks for."""
    strides = [s.work.sh if s.work.kind != "elementwise" else 1 for s in steps[1:]]
    return [min(rows, s.work.oh) for rows, s in zip([*strides, 1], steps, strict=True)]


def _rolling(producer: Step, consumer: Step, made: int, asked: int) -> int:
    """Bytes of the rolling buffer between two steps of a cascade."""
    need = consumer.stripe_input(asked)
    rows = -(-(made + need) // need) * need
    return rows * producer.work.ow * -(-producer.work.oc // BRICK) * BRICK


def _taller(
    plan: _Plan, t: Target, cascade: tuple[int, int, int], limit: int
) -> tuple[int, int, int]:
    """Raise the stripes of a cascade while everything fits."""
    first, last, rolling = cascade
    steps = plan.steps
    others = max(plan.usage(i) for i in range(first, last + 1)) - rolling
    best: list[int] = []
    for height in range(steps[last].stripe + 1, (steps[last].work.oh + 1) // 2 + 1):
        rows = [height]
        for i in range(last, first, -1):
            rows.append(min(rows[-1] * steps[i].work.sh, steps[i - 1].work.oh))
        rows.reverse()
        parts = range(first + 1, last + 1)
        buffers = sum(
            _rolling(steps[i - 1], steps[i], rows[i - 1 - first], rows[i - first]) for i in parts
        )
        if others + buffers > limit:
            break
        best, rolling = rows, buffers
    for i, height in enumerate(best):
        choose_block(t, steps[first + i], height)
    return (first, last, rolling)


def _stage_weights(plan: _Plan, t: Target, limit: int) -> None:
    """Copy weights to SRAM ahead of use where they are read again or arrive in time."""
    dram = memory(t, "dram")
    slack, spare = 0, 0
    for step in plan.steps:
        cycles = op_cycles(t, step)
        room = limit - plan.usage(step.at)
        cascade = plan.inside(step.at)
        if cascade is not None:
            room = limit - max(plan.usage(i) for i in range(cascade[0], cascade[1] + 1))
        left = cycles
        whole = dram.read_latency + int(step.constant_bytes / dram.bytes_per_cycle)
        wanted = step.refetch > (2 if plan.spilling and cascade is None else 1) or whole <= cycles
        if step.weight_bytes and wanted:
            slices: tuple[int, ...] = (step.work.oc,)
            if cascade is None:
                slices = _slices(t, step, whole, slack, room)
            most = max(b - a for a, b in zip((0, *slices), slices, strict=False))
            need = step.constant_bytes * most // step.work.oc
            if len(slices) > 1 and 2 * need <= room:
                need *= 2
            if need <= room:
                step.buffered, step.slices = True, slices
                places = range(cascade[0], cascade[1] + 1) if cascade else (step.at,)
                for i in places:
                    plan.weights[i] = plan.weights.get(i, 0) + need
                if cascade is None and step.at and need < spare:
                    plan.weights[step.at - 1] = plan.weights.get(step.at - 1, 0) + need
                room -= need
                if len(slices) > 1:
                    left = op_cycles(t, step, depth=slices[-1] - slices[-2])
        slack, spare = left, room


def _slices(t: Target, step: Step, whole: int, slack: int, room: int) -> tuple[int, ...]:
    """Output depths at which parts of the weights end: first what arrives early, then equal parts."""
    total, oc, half = step.constant_bytes, step.work.oc, max(room // 2, 1)
    early = min(total if whole <= slack else int(slack / whole * total), half)
    if early >= total:
        return (oc,)
    deep = step.block.oc
    first = max(SPLIT_DEPTH, oc * early // total // SPLIT_DEPTH * SPLIT_DEPTH)
    part = -(-(oc * op_cycles(t, step, depth=first) // whole) // deep) * deep
    if part // oc * total > half:
        part = half * oc // total
    while True:
        part = part // deep * deep if part > deep else part // SPLIT_DEPTH * SPLIT_DEPTH
        part = max(part, SPLIT_DEPTH)
        if (
            max(min(first, oc), min(part, max(oc - first, 0))) * total // oc <= half
            or first == part == SPLIT_DEPTH
        ):
            return (*range(first, oc, part), oc)
        if part > first:
            part = -(-part // 2 // SPLIT_DEPTH) * SPLIT_DEPTH
        else:
            first = max(-(-first // 2 // SPLIT_DEPTH) * SPLIT_DEPTH, SPLIT_DEPTH)


def _place(plan: _Plan, network: Network, limit: int) -> None:
    """Keep in SRAM the feature maps that are moved most, as far as they fit."""
    moved: dict[str, int] = {}
    for step in plan.steps:
        count = traffic(step)
        for n, elements in zip(
            (*step.layer.inputs, step.layer.output), (*count.inputs, count.output), strict=True
        ):
            moved[n] = moved.get(n, 0) + elements
    edges = {
        *network.inputs,
        *network.outputs,
        *(s.layer.output for s in plan.steps if s.cascade >= 0),
    }
    for n in sorted(set(moved) - edges, key=lambda n: (-moved[n], n)):
        start, end = plan.live[n]
        if all(plan.usage(at) + plan.sizes[n] <= limit for at in range(start, end + 1)):
            plan.kept.add(n)
    for step in plan.steps:
        names = (*step.layer.inputs, step.layer.output)
        inner = [step.cascade >= 0 and _inside(plan, step, n) for n in names]
        step.where = tuple(
            "sram" if n in plan.kept or i else "dram" for n, i in zip(names, inner, strict=True)
        )


def _inside(plan: _Plan, step: Step, name: str) -> bool:
    """True for a map that exists only as a rolling buffer of the step's cascade."""
    first, last, _ = plan.cascades[step.cascade]
    return any(s.layer.output == name for s in plan.steps[first:last])
