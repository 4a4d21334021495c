"""What training minimises: boxes assigned to cells as YOLOX does, and CTC."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from edgeq.seeds.networks import STRIDES

NEAR = 2.5  # cells around a box's middle that may find it


def cells(width: int, height: int) -> Tensor:
    """Return column, row and stride of every output row: (cells, 3)."""
    parts = []
    for stride in STRIDES:
        y, x = torch.meshgrid(
            torch.arange(height // stride), torch.arange(width // stride), indexing="ij"
        )
        parts.append(torch.stack([x.flatten(), y.flatten(), torch.full((x.numel(),), stride)], 1))
    return torch.cat(parts).float()


def corners(raw: Tensor, grid: Tensor) -> Tensor:
    """Turn raw x, y, log w, log h (n, cells, 4) into corners in input pixels."""
    middle = (raw[..., :2] + grid[..., :2]) * grid[..., 2:]
    half = raw[..., 2:].clamp(-6, 6).exp() * grid[..., 2:] / 2
    return torch.cat([middle - half, middle + half], -1)


def pair_iou(a: Tensor, b: Tensor) -> Tensor:
    """Return IoU over the last axis of two broadcast arrays of corners."""
    low, high = torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:])
    common = (high - low).clamp(min=0).prod(-1)
    both = (a[..., 2:] - a[..., :2]).prod(-1) + (b[..., 2:] - b[..., :2]).prod(-1) - common
    return common / both.clamp(min=1e-6)


@torch.no_grad()
def assign(out: Tensor, boxes: Tensor, grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the cells that must find each box (SimOTA: Ge et al. 2021, 2107.08430, section 2.3).

    out (n, cells, 5 + classes) logits; boxes (n, g, 5) kind and corners, kind -1 fills up.
    Returns batch index, cell and box index of every chosen pair.
    """
    found = corners(out[..., :4], grid)
    real, kind = boxes[..., 1:], boxes[..., 0].long()
    overlap = pair_iou(real[:, :, None], found[:, None])  # (n, g, cells)
    middle = (grid[:, :2] + 0.5) * grid[:, 2:]
    inside = (
        torch.minimum(middle - real[:, :, None, :2], real[:, :, None, 2:] - middle).amin(-1) > 0
    )
    off = (middle - (real[..., :2] + real[..., 2:])[:, :, None] / 2).abs().amax(-1)
    near = off < NEAR * grid[:, 2]
    usable = (inside | near) & (kind >= 0)[..., None]
    score = (out[..., 5:].sigmoid() * out[..., 4:5].sigmoid()).sqrt().clamp(1e-4, 1 - 1e-4)
    others = -torch.log1p(-score)  # (n, cells, classes)
    pick = kind.clamp(min=0)[..., None].expand(-1, -1, score.shape[1])
    own = score.transpose(1, 2).gather(1, pick)  # (n, g, cells)
    wrong = others.sum(-1)[:, None] + torch.log1p(-own) - own.log()
    cost = wrong - 3 * overlap.clamp(min=1e-6).log() + 1e4 * ~(inside & near) + 1e8 * ~usable
    count = (overlap * usable).topk(10, -1).values.sum(-1).int().clamp(1, 10)
    order = cost.topk(10, -1, largest=False).values
    limit = order.gather(-1, (count - 1).long()[..., None])
    chosen = (cost <= limit) & usable
    best = torch.where(chosen, cost, cost.new_tensor(1e9)).argmin(1, keepdim=True)  # (n, 1, cells)
    only = torch.zeros_like(chosen).scatter_(1, best, True)
    batch, box, cell = torch.nonzero(chosen & only, as_tuple=True)
    return batch, cell, box


def detection_loss(out: Tensor, boxes: Tensor, grid: Tensor) -> tuple[Tensor, dict[str, float]]:
    """Return the loss of one batch and its parts.

    They are overlap, raw box error, objectness, class, and `far`: outputs beyond what any box needs,
    which would cost an INT8 output its resolution (cells without an object learn no box otherwise).
    """
    batch, cell, box = assign(out, boxes, grid)
    count = max(1, len(batch))
    raw, real = out[batch, cell, :4], boxes[batch, box]
    overlap = pair_iou(corners(raw, grid[cell]), real[:, 1:])
    low, high = real[:, 1:3], real[:, 3:5]
    stride = grid[cell][:, 2:]
    wish = torch.cat(
        [
            (low + high) / 2 / stride - grid[cell][:, :2],
            ((high - low) / stride).clamp(min=1e-3).log(),
        ],
        1,
    )
    wanted = torch.zeros_like(out[..., 4])
    wanted[batch, cell] = 1
    kinds = F.one_hot(real[:, 0].long(), out.shape[2] - 5).float() * overlap.detach()[:, None]
    far = [(out[..., :4] - 0.5).abs() - 2.5, out[..., 4:].abs() - 7]
    parts = {
        "iou": 5 * (1 - overlap.square()).sum() / count,
        "raw": F.l1_loss(raw, wish, reduction="sum") / count,
        "obj": F.binary_cross_entropy_with_logits(out[..., 4], wanted, reduction="sum") / count,
        "cls": F.binary_cross_entropy_with_logits(out[batch, cell, 5:], kinds, reduction="sum")
        / count,
    }
    parts["far"] = 0.2 * torch.stack([v.clamp(min=0).square().sum(-1).mean() for v in far]).sum()
    return torch.stack([*parts.values()]).sum(), {
        name: float(part.detach()) for name, part in parts.items()
    }


def reading_loss(out: Tensor, texts: list[list[int]]) -> Tensor:
    """Return the CTC loss of logits (n, labels, steps) and label indices; 0 is the blank."""
    steps = torch.full((len(texts),), out.shape[2])
    lengths = torch.tensor([len(text) for text in texts])
    flat = torch.tensor([index for text in texts for index in text])
    return F.ctc_loss(
        out.permute(2, 0, 1).log_softmax(-1), flat, steps, lengths, zero_infinity=True
    )
