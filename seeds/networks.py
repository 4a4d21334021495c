"""The two tiny networks in PyTorch: panel_detect finds objects, panel_read reads a line."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

STRIDES = (8, 16, 32)


def _conv(inside: int, outside: int, size: int | tuple[int, int] = 3, *, stride: int | tuple[int, int] = 1,
          act: type[nn.Module] | None = nn.SiLU, depthwise: bool = False) -> nn.Sequential:  # fmt: skip
    """Convolution, batch norm, activation; same padding."""
    high, wide = (size, size) if isinstance(size, int) else size
    parts: list[nn.Module] = [
        nn.Conv2d(inside, outside, (high, wide), stride, (high // 2, wide // 2),
                  groups=inside if depthwise else 1, bias=False),
        nn.BatchNorm2d(outside, eps=1e-3, momentum=0.03),
    ]  # fmt: skip
    return nn.Sequential(*parts, *([act()] if act else []))


class Separable(nn.Module):
    """Depthwise, then pointwise; adds its input where the shapes agree."""

    def __init__(self, inside: int, outside: int, size: int | tuple[int, int] = 3, *,
                 stride: int | tuple[int, int] = 1, act: type[nn.Module] = nn.SiLU) -> None:  # fmt: skip
        super().__init__()
        self.depth = _conv(inside, inside, size, stride=stride, act=act, depthwise=True)
        self.point = _conv(inside, outside, 1, act=act)
        self.adds = inside == outside and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.point(self.depth(x))
        return x + y if self.adds else y


class PanelDetect(nn.Module):
    """Anchor-free detector with a decoupled head, after YOLOX (Ge et al. 2021, 2107.08430).

    Input (n, 3, h, w), sides multiples of 32, pixels 0..255 scaled to -1..1 outside. Output
    (n, cells, 5 + classes): x, y, log w, log h on the grid, objectness, class scores; rows of all
    strides after each other. In training mode scores are logits.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            _conv(3, 16, stride=2), Separable(16, 32, stride=2), Separable(32, 32)
        )
        self.c8 = nn.Sequential(Separable(32, 56, stride=2), Separable(56, 56), Separable(56, 56))
        self.c16 = nn.Sequential(
            Separable(56, 96, stride=2), *(Separable(96, 96) for _ in range(3))
        )
        self.c32 = nn.Sequential(
            Separable(96, 128, stride=2), Separable(128, 128, 5), Separable(128, 128, 5)
        )
        width = 64
        self.lateral = nn.ModuleList(_conv(c, width, 1) for c in (56, 96, 128))
        self.down_path = nn.ModuleList(Separable(width, width) for _ in range(2))
        self.up_path = nn.ModuleList(
            _conv(width, width, 3, stride=2, depthwise=True) for _ in range(2)
        )
        self.merge = nn.ModuleList(Separable(width, width) for _ in range(2))
        self.cls = nn.ModuleList(
            nn.Sequential(Separable(width, width), Separable(width, width)) for _ in STRIDES
        )
        self.reg = nn.ModuleList(
            nn.Sequential(Separable(width, width), Separable(width, width)) for _ in STRIDES
        )
        self.cls_out = nn.ModuleList(nn.Conv2d(width, classes, 1) for _ in STRIDES)
        self.reg_out = nn.ModuleList(nn.Conv2d(width, 4, 1) for _ in STRIDES)
        self.obj_out = nn.ModuleList(nn.Conv2d(width, 1, 1) for _ in STRIDES)
        for out in (*self.cls_out, *self.obj_out, *self.reg_out):
            assert isinstance(out, nn.Conv2d)
            assert out.bias is not None
            box = out.out_channels == 4
            nn.init.constant_(out.bias, 0.5 if box else -4.0)
            if box:
                nn.init.normal_(out.weight, std=0.01)

    def forward(self, x: Tensor) -> Tensor:
        a = self.c8(self.stem(x))
        b = self.c16(a)
        c = self.c32(b)
        a, b, c = (lateral(level) for lateral, level in zip(self.lateral, (a, b, c), strict=True))
        b = self.down_path[0](b + F.interpolate(c, scale_factor=2.0, mode="nearest"))
        a = self.down_path[1](a + F.interpolate(b, scale_factor=2.0, mode="nearest"))
        b = self.merge[0](b + self.up_path[0](a))
        c = self.merge[1](c + self.up_path[1](b))
        rows = []
        for i, level in enumerate((a, b, c)):
            kind, place = self.cls[i](level), self.reg[i](level)
            scores = torch.cat([self.obj_out[i](place), self.cls_out[i](kind)], 1)
            if not self.training:
                scores = scores.sigmoid()
            rows.append(torch.cat([self.reg_out[i](place), scores], 1).flatten(2))
        return torch.cat(rows, 2).transpose(1, 2)


class PanelRead(nn.Module):
    """Line reader: convolutions only, one step per 4 columns, for CTC (Graves et al. 2006).

    Input (n, 3, 32, w), pixels scaled to -1..1 outside. Output (n, labels, w / 4) logits.
    """

    def __init__(self, labels: int) -> None:
        super().__init__()
        act = nn.Hardswish
        self.body = nn.Sequential(
            _conv(3, 16, stride=2, act=act),  # 16 high
            Separable(16, 32, act=act),
            Separable(32, 64, stride=2, act=act),  # 8 high
            Separable(64, 64, act=act),
            Separable(64, 64, act=act),
            Separable(64, 96, stride=(2, 1), act=act),  # 4 high
            Separable(96, 96, act=act),
            Separable(96, 96, act=act),
            Separable(96, 128, stride=(2, 1), act=act),  # 2 high
            Separable(128, 128, act=act),
        )
        self.flat = nn.Conv2d(128, 128, (2, 1), bias=False)
        self.flat_norm = nn.Sequential(nn.BatchNorm2d(128, eps=1e-3, momentum=0.03), act())
        self.along = nn.Sequential(*(Separable(128, 128, (1, 7), act=act) for _ in range(2)))
        self.out = nn.Conv2d(128, labels, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.flat_norm(self.flat(self.body(x)))
        out: Tensor = self.out(self.along(y))
        return out.flatten(2)


def parameters(net: nn.Module) -> int:
    """Count the trained numbers."""
    return sum(p.numel() for p in net.parameters())
