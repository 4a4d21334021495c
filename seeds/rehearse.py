"""Rehearse INT8 in the last part of training: round what an INT8 runtime will round.

Activations before and after each non-linearity are rounded to 256 steps between their least and
largest value in the batch, gradients pass straight through (Jacob et al. 2018, 1712.05877, section
3). Ranges that a few outliers stretch cost all others their resolution, so they are pulled in.
"""

from __future__ import annotations

import random
from typing import Any

import torch
from torch import Tensor, nn

SHARE = 0.5  # of the places, chosen anew for every batch: half the cost, and noise all the same
LIMIT = 8.0  # SiLU and hard-swish are flat far below; nothing needs to be far above


class Rehearsal:
    """Rounds inside a network from the moment it is made."""

    def __init__(self, net: nn.Module) -> None:
        self._far: list[Tensor] = []
        self._random = random.Random(0)
        for module in net.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_pre_hook(self._before)
            elif isinstance(module, nn.BatchNorm2d):
                module.register_forward_hook(self._after)

    def far(self) -> Tensor:
        """Return by how much ranges exceed LIMIT, summed over the places of the last batch."""
        total = torch.stack([torch.zeros(()), *self._far]).sum()
        self._far.clear()
        return total

    def _before(self, _: nn.Module, inputs: tuple[Tensor, ...]) -> Tensor | None:
        return self._rounded(inputs[0]) if self._random.random() < SHARE else None

    def _after(self, _: nn.Module, __: tuple[Tensor, ...], out: Tensor) -> Tensor | None:
        if self._random.random() >= SHARE:
            return None
        flat = out.permute(0, 2, 3, 1).reshape(-1)  # a view of channels last
        ends = flat[torch.stack([flat.detach().argmin(), flat.detach().argmax()])]
        self._far.append((ends.abs() - LIMIT).clamp(min=0).sum())
        return self._rounded(out)

    def _rounded(self, x: Tensor) -> Tensor:
        low, high = torch.aminmax(x.detach().permute(0, 2, 3, 1).reshape(-1))
        step = max(float(high - low) / 255, 1e-8)
        rounded: Tensor = _Round.apply(x, step)  # type: ignore[no-untyped-call]
        return rounded


class _Round(torch.autograd.Function):
    """Round to multiples of a step; gradients pass straight through."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, step: float) -> Tensor:
        return (x * (1 / step)).round_().mul_(step)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None
