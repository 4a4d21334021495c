"""Layout: which buffers lie where, in the SRAM of each core and in the memory outside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgeq.compiler.allocate import Lifetime, allocate, lower_bound
from edgeq.compiler.npu.residency import Plan
from edgeq.compiler.npu.schedule import LayerSteps
from edgeq.compiler.npu.tile import align

PREFETCH = 3  # layers that weights may arrive early


@dataclass(frozen=True, slots=True)
class Layout:
    """Where everything lies: SRAM and arena offsets, their sizes, and the least SRAM possible."""

    sram: Mapping[str, int]
    sram_bytes: int  # of the core that needs most
    sram_bound: int
    arena: Mapping[str, int]
    arena_bytes: int
    arena_bound: int
    lives: Mapping[str, Lifetime]
    cores: Mapping[str, int]  # whose SRAM

    def __str__(self) -> str:
        ratio = self.sram_bytes / max(self.sram_bound, 1)
        return (
            f"SRAM {self.sram_bytes} B, bound {self.sram_bound} B ({ratio:.3f}x), {len(self.sram)} buffers; "
            f"arena {self.arena_bytes} B, bound {self.arena_bound} B"
        )


def place_buffers(
    plan: Plan,
    layers: Sequence[LayerSteps],
    room: int,
    *,
    early: int,
) -> Layout:
    """Offsets of maps and buffers; weights come up to `early` layers before their own where that costs nothing."""
    maps = plan.lives
    outside = {name: life for name, life in maps.items() if name not in plan.kept}
    arena, arena_bytes = allocate(outside)
    offsets: dict[str, int] = {}
    everything: dict[str, Lifetime] = dict(outside)
    owner: dict[str, int] = dict.fromkeys(plan.kept, 0)
    most = bound = 0
    for core in sorted({0, *(c for layer in layers for c in layer.cores.values())}):
        lives = {name: maps[name] for name in sorted(plan.kept)} if core == 0 else {}
        lives |= _buffer_lives(lives, layers, core, room, early=early)
        placed, size = allocate(lives)
        offsets |= placed
        everything |= lives
        owner |= dict.fromkeys(lives, core)
        most, bound = max(most, size), max(bound, lower_bound(lives))
    return Layout(offsets, most, bound, arena, arena_bytes, lower_bound(outside), everything, owner)


def _buffer_lives(
    kept: Mapping[str, Lifetime],
    layers: Sequence[LayerSteps],
    core: int,
    room: int,
    *,
    early: int,
) -> dict[str, Lifetime]:
    """Lifetimes of one core's buffers, in layers."""
    used = [0] * (len(layers) + 1)
    for life in kept.values():
        for at in range(life.first, min(life.last + 1, len(used))):
            used[at] += align(life.size)
    for at, layer in enumerate(layers):
        mine = sum(align(size) for n, size in layer.buffers.items() if layer.cores[n] == core)
        for k in range(at, max(at, layer.until) + 1):
            used[k] += mine
    lives = {}
    for at, layer in enumerate(layers):
        for name, size in layer.buffers.items():
            if layer.cores[name] != core:
                continue
            first = at
            while name in layer.weight_buffers and at - first < early:
                if not first or used[first - 1] + align(size) > room:
                    break
                first -= 1
                used[first] += align(size)
            lives[name] = Lifetime(size, first, max(at, layer.until))
    return lives
