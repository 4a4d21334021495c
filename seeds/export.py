"""Write the trained networks as ONNX: static shapes, batch norm folded, opset 17."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from edgeq.seeds.networks import PanelDetect, PanelRead, Separable
from edgeq.vision.card import TaskCard

OPSET = 17


def write_onnx(net: nn.Module, card: TaskCard, path: Path) -> None:
    """Write one network for pictures of the card's size; the input is (1, 3, h, w) float32."""
    graph = _Graph()
    net = copy.deepcopy(net).eval()
    size = (card.input.height, card.input.width)
    if isinstance(net, PanelDetect):
        out, shape = _detect(graph, net, size)
    else:
        assert isinstance(net, PanelRead)
        out, shape = _read(graph, net, size[1])
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, *size])]
    outputs = [helper.make_tensor_value_info(out, TensorProto.FLOAT, shape)]
    body = helper.make_graph(graph.nodes, path.stem, inputs, outputs, graph.constants)
    model = helper.make_model(
        body, producer_name="edgeq.seeds", opset_imports=[helper.make_opsetid("", OPSET)]
    )
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    part = path.with_suffix(".part")
    onnx.save(model, part)
    part.replace(path)


class _Graph:
    """Nodes and constants so far; values are known by name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, name: str, values: np.ndarray) -> str:
        """Add a constant."""
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name

    def add(self, kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        """Add a node with one output of the same name."""
        self.nodes.append(helper.make_node(kind, inputs, [name], name, **attributes))
        return name

    def conv(self, name: str, x: str, conv: Any) -> str:
        """Add a convolution."""
        weight = self.constant(f"{name}.weight", conv.weight.detach().numpy())
        assert conv.bias is not None
        bias = self.constant(f"{name}.bias", conv.bias.detach().numpy())
        pad = [int(p) for p in conv.padding]
        return self.add("Conv", name, [x, weight, bias], kernel_shape=list(conv.kernel_size),
                        strides=list(conv.stride), pads=[*pad, *pad], group=conv.groups)  # fmt: skip

    def block(self, name: str, x: str, block: Any) -> str:
        """Add convolution, batch norm (folded) and activation."""
        y = self.conv(name, x, fuse_conv_bn_eval(block[0], block[1]))
        return self.act(name, y, block[2]) if len(block) > 2 else y

    def act(self, name: str, x: str, act: nn.Module) -> str:
        """Add SiLU or hard-swish."""
        if isinstance(act, nn.SiLU):
            return self.add("Mul", f"{name}.silu", [x, self.add("Sigmoid", f"{name}.sigmoid", [x])])
        assert isinstance(act, nn.Hardswish)
        return self.add("HardSwish", f"{name}.hardswish", [x])

    def chain(self, name: str, x: str, parts: nn.Module) -> str:
        """Add blocks and separable blocks after each other."""
        if isinstance(parts, Separable):
            y = self.block(
                f"{name}.point", self.block(f"{name}.depth", x, parts.depth), parts.point
            )
            return self.add("Add", f"{name}.add", [x, y]) if parts.adds else y
        assert isinstance(parts, nn.Sequential)
        if isinstance(parts[0], nn.Conv2d):
            return self.block(name, x, parts)
        for i, part in enumerate(parts):
            x = self.chain(f"{name}.{i}", x, part)
        return x

    def twice(self, name: str, x: str) -> str:
        """Double height and width by repetition."""
        scales = self.constant(f"{name}.scales", np.array([1, 1, 2, 2], np.float32))
        return self.add("Resize", name, [x, "", scales], mode="nearest",
                        coordinate_transformation_mode="asymmetric", nearest_mode="floor")  # fmt: skip

    def shaped(self, name: str, x: str, shape: list[int]) -> str:
        """Reshape to a fixed shape."""
        return self.add(
            "Reshape", name, [x, self.constant(f"{name}.shape", np.array(shape, np.int64))]
        )


def _detect(graph: _Graph, net: PanelDetect, size: tuple[int, int]) -> tuple[str, list[int]]:
    a = graph.chain("c8", graph.chain("stem", "image", net.stem), net.c8)
    b = graph.chain("c16", a, net.c16)
    c = graph.chain("c32", b, net.c32)
    a, b, c = (graph.chain(f"lateral.{i}", x, net.lateral[i]) for i, x in enumerate((a, b, c)))
    b = graph.chain(
        "down.0", graph.add("Add", "down.0.sum", [b, graph.twice("down.0.up", c)]), net.down_path[0]
    )
    a = graph.chain(
        "down.1", graph.add("Add", "down.1.sum", [a, graph.twice("down.1.up", b)]), net.down_path[1]
    )
    b = graph.chain(
        "merge.0",
        graph.add("Add", "merge.0.sum", [b, graph.chain("up.0", a, net.up_path[0])]),
        net.merge[0],
    )
    c = graph.chain(
        "merge.1",
        graph.add("Add", "merge.1.sum", [c, graph.chain("up.1", b, net.up_path[1])]),
        net.merge[1],
    )
    rows, total = [], 0
    wide: int = 5 + net.cls_out[0].out_channels  # type: ignore[assignment,operator]
    for i, (x, stride) in enumerate(zip((a, b, c), (8, 16, 32), strict=True)):
        kind = graph.chain(f"cls.{i}", x, net.cls[i])
        place = graph.chain(f"reg.{i}", x, net.reg[i])
        found = graph.add(
            "Sigmoid", f"obj.{i}.score", [graph.conv(f"obj.{i}", place, net.obj_out[i])]
        )
        named = graph.add(
            "Sigmoid", f"cls.{i}.score", [graph.conv(f"cls.{i}.out", kind, net.cls_out[i])]
        )
        box = graph.conv(f"reg.{i}.out", place, net.reg_out[i])
        count = (size[0] // stride) * (size[1] // stride)
        joined = graph.add("Concat", f"level.{i}", [box, found, named], axis=1)
        rows.append(graph.shaped(f"level.{i}.rows", joined, [1, wide, count]))
        total += count
    graph.add("Transpose", "boxes", [graph.add("Concat", "levels", rows, axis=2)], perm=[0, 2, 1])
    return "boxes", [1, total, wide]


def _read(graph: _Graph, net: PanelRead, width: int) -> tuple[str, list[int]]:
    x = graph.chain("body", "image", net.body)
    norm: Any = net.flat_norm
    x = graph.act("flat", graph.conv("flat", x, fuse_conv_bn_eval(net.flat, norm[0])), norm[1])
    x = graph.conv("out", graph.chain("along", x, net.along), net.out)
    shape = [1, net.out.out_channels, width // 4]
    return graph.shaped("text", x, shape), shape
