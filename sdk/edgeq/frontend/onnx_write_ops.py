"""Each graph op as ONNX operators. Every function returns the order and the tensor of the real result."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgeq.errors import ModelError
from edgeq.frontend.writing import NCHW, Writing, plain
from edgeq.graph.ir import Node
from edgeq.passes.axes import Perm, compose, held, inverse, regroup, transposed

Result = tuple[Perm, str]
WriteOp = Callable[[Writing, Node], Result]

ALIKE = {
    "Relu": "Relu", "Sigmoid": "Sigmoid", "HardSwish": "HardSwish", "Tanh": "Tanh", "Exp": "Exp", "Log": "Log",
    "Sqrt": "Sqrt", "Reciprocal": "Reciprocal", "Abs": "Abs", "Neg": "Neg", "Mish": "Mish",
    "Softplus": "Softplus", "Erf": "Erf", "Identity": "Identity",
}  # fmt: skip
WITH_ATTRS = {"HardSigmoid": ("alpha", "beta"), "LeakyRelu": ("alpha",), "Elu": ("alpha",)}


def write_op(w: Writing, node: Node) -> Result:
    """Write one node. Raises ModelError for an op that ONNX has no word for."""
    writer = WRITERS.get(node.op)
    if writer is None:
        raise ModelError(
            f"node {node.name} ({node.op}): ONNX has no such operator. Run the passes first."
        )
    return writer(w, node)


def _conv(w: Writing, node: Node) -> Result:
    data = w.value(node.inputs[1]).data
    assert data is not None
    a = node.attrs
    group = 1
    if node.op == "DepthwiseConv":
        group = data.shape[2]
        onnx_w, axis = data.transpose(2, 0, 1)[:, None], 0
    elif node.op == "Conv":
        group = a["group"]
        onnx_w, axis = data.transpose(0, 3, 1, 2), 0
    else:
        group = a["group"]
        oc, kh, kw, icg = data.shape
        parts = data.reshape(group, oc // group, kh, kw, icg).transpose(0, 4, 1, 2, 3)
        onnx_w, axis = parts.reshape(group * icg, oc // group, kh, kw), 1
    ins = [w.get(node.inputs[0], NCHW), _conv_weight(w, node, onnx_w, axis, group)]
    if node.inputs[2]:
        bias = w.value(node.inputs[2]).data
        assert bias is not None
        ins.append(w.weight(node.inputs[2], bias, 0))
    attrs: dict[str, Any] = {
        "kernel_shape": list(onnx_w.shape[2:]),
        "strides": list(a["strides"]),
        "pads": list(a["pads"]),
        "dilations": list(a["dilations"]),
        "group": group,
    }
    if node.op == "ConvTranspose":
        attrs["output_padding"] = list(a["output_padding"])
    op = "ConvTranspose" if node.op == "ConvTranspose" else "Conv"
    return NCHW, w.part(op, ins, node.outputs[0], **attrs)


def _conv_weight(w: Writing, node: Node, data: Any, axis: int, group: int) -> str:
    q = w.value(node.inputs[1]).q
    if q is not None and q.per_channel and axis == 1 and group > 1:
        # ONNX cannot say a scale per output channel of a grouped ConvTranspose: its reals instead
        raw = w.value(node.inputs[1]).data
        assert raw is not None
        reals = raw.astype(np.float32) * q.scale.reshape(-1, 1, 1, 1)
        oc, kh, kw, icg = raw.shape
        parts = reals.reshape(group, oc // group, kh, kw, icg).transpose(0, 4, 1, 2, 3)
        return w.init(
            node.inputs[1], np.ascontiguousarray(parts.reshape(group * icg, oc // group, kh, kw))
        )
    return w.weight(node.inputs[1], data, axis)


def _pool(w: Writing, node: Node) -> Result:
    a = node.attrs
    attrs = {
        "kernel_shape": list(a["kernel"]),
        "strides": list(a["strides"]),
        "pads": list(a["pads"]),
    }
    x = [w.get(node.inputs[0], NCHW)]
    if node.op == "MaxPool":
        dilations = list(a.get("dilations", (1, 1)))
        return NCHW, w.part("MaxPool", x, node.outputs[0], **attrs, dilations=dilations)
    count = int(a["count_include_pad"])
    return NCHW, w.part("AveragePool", x, node.outputs[0], **attrs, count_include_pad=count)


def _resize(w: Writing, node: Node) -> Result:
    a, out = node.attrs, node.outputs[0]
    _, h, wide, _ = w.value(node.inputs[0]).shape
    x, roi = w.get(node.inputs[0], NCHW), ""
    by_scale = all(
        math.floor(np.float32(d) * np.float32(s)) == o
        for d, s, o in zip((h, wide), a["scales"], a["size"], strict=True)
    )
    if by_scale:
        ins = [x, roi, w.init(f"{out}~scales", [1, 1, *a["scales"]], "float32")]
    else:
        n, _, _, c = w.value(node.inputs[0]).shape
        ins = [x, roi, "", w.init(f"{out}~sizes", [n, c, *a["size"]], "int64")]
    attrs = {"mode": a["mode"], "coordinate_transformation_mode": a["coordinate"]}
    if a["mode"] == "nearest":
        attrs["nearest_mode"] = a["nearest_mode"]
    return NCHW, w.part("Resize", ins, out, **attrs)


def _fully_connected(w: Writing, node: Node) -> Result:
    x, weight, bias = node.inputs
    data = w.value(weight).data
    assert data is not None
    perm = w.order(x)
    if perm[-1] != len(perm) - 1:
        perm = plain(len(perm))
    ins = [w.get(x, perm)]
    offset = []
    if bias:
        b = w.value(bias).data
        assert b is not None
        offset = [w.weight(bias, b, 0)]
    if len(perm) == 2:
        return perm, w.part(
            "Gemm", [*ins, w.weight(weight, data, 0), *offset], node.outputs[0], transB=1
        )
    y = w.part("MatMul", [*ins, w.weight(weight, data.T, 1)], node.outputs[0])
    return perm, (w.part("Add", [y, *offset], node.outputs[0]) if offset else y)


def _matmul(w: Writing, node: Node) -> Result:
    ins = [w.get(i, plain(len(w.value(i).shape))) for i in node.inputs]
    return plain(len(w.value(node.outputs[0]).shape)), w.part("MatMul", ins, node.outputs[0])


def _common(w: Writing, names: Sequence[str], rank: int) -> Perm:
    """The order that most of the computed operands are in; the first one on a tie."""
    votes: dict[Perm, int] = {}
    for i in names:
        v = w.value(i)
        if v.data is None and len(v.shape) == rank:
            votes[w.order(i)] = votes.get(w.order(i), 0) + math.prod(v.shape)
    return max(votes, key=lambda p: votes[p]) if votes else plain(rank)


def _binary(w: Writing, node: Node) -> Result:
    rank = len(w.value(node.outputs[0]).shape)
    perm = _common(w, node.inputs, rank)
    if any(w.value(i).data is None and len(w.value(i).shape) != rank for i in node.inputs):
        perm = plain(rank)
    ins = []
    for i in node.inputs:
        v = w.value(i)
        scalar = v.data is not None and v.data.ndim == 0
        ins.append(
            w.get(
                i,
                plain(len(v.shape))
                if scalar or (v.data is None and len(v.shape) != rank)
                else perm,
            )
        )
    return perm, w.part(node.op, ins, node.outputs[0])


def _unary(w: Writing, node: Node) -> Result:
    perm = w.order(node.inputs[0])
    x, out, a = w.get(node.inputs[0], perm), node.outputs[0], node.attrs
    kind = a["kind"]
    if kind in ALIKE:
        return perm, w.part(ALIKE[kind], [x], out)
    if kind in WITH_ATTRS:
        return perm, w.part(kind, [x], out, **{k: float(a[k]) for k in WITH_ATTRS[kind]})
    if kind == "Clip":
        return perm, write_clip(w, x, a["lo"], a["hi"], out)
    if kind in ("Gelu", "GeluTanh"):
        return perm, w.part("Gelu", [x], out, approximate="tanh" if kind == "GeluTanh" else "none")
    if kind == "Silu":
        return perm, w.part("Mul", [x, w.part("Sigmoid", [x], out)], out)
    if kind == "Square":
        return perm, w.part("Mul", [x, x], out)
    if kind == "Pow":
        return perm, w.part("Pow", [x, w.init(f"{out}~exponent", a["exponent"], "float32")], out)
    raise ModelError(f"node {node.name} (Unary): kind {kind} has no ONNX operator. Report this.")


def write_clip(w: Writing, x: str, lo: float, hi: float, base: str) -> str:
    """Relu or Clip."""
    if (lo, hi) == (0.0, math.inf):
        return w.part("Relu", [x], base)
    ends = [
        "" if math.isinf(v) else w.init(f"{base}~{n}", v, "float32")
        for n, v in (("lo", lo), ("hi", hi))
    ]
    return w.part("Clip", [x, *ends], base)


def _prelu(w: Writing, node: Node) -> Result:
    perm = w.order(node.inputs[0])
    slope = w.value(node.inputs[1])
    assert slope.data is not None
    side = [1] * len(perm)
    side[perm[-1]] = slope.data.size
    s = w.init(node.inputs[1], slope.data.reshape(side), "float32")
    return perm, w.part("PRelu", [w.get(node.inputs[0], perm), s], node.outputs[0])


def _softmax(w: Writing, node: Node) -> Result:
    perm = w.order(node.inputs[0])
    return perm, w.part("Softmax", [w.get(node.inputs[0], perm)], node.outputs[0], axis=perm[-1])


def _requantize(w: Writing, node: Node) -> Result:
    perm = w.order(node.inputs[0])
    return perm, w.get(node.inputs[0], perm)


def _transpose(w: Writing, node: Node) -> Result:
    """No operator: the same tensor, seen in another order."""
    have = w.order(node.inputs[0])
    return compose(have, tuple(node.attrs["perm"])), w.get(node.inputs[0], have)


def _movement(w: Writing, node: Node) -> Result:
    """Concat, Slice, Pad, Gather, Reshape and ReduceMean in the order that their inputs have."""
    out = node.outputs[0]
    x = node.inputs[0]
    rank = len(w.value(x).shape)
    perm = _common(w, node.inputs, rank)
    found = held(node.op, node.attrs, transposed(w.value(x).shape, inverse(perm)), perm)
    if found is None and node.op == "Reshape":
        between = regroup(
            transposed(w.value(x).shape, inverse(perm)), perm, tuple(node.attrs["shape"])
        )
        perm = plain(rank) if between is None else compose(inverse(between), perm)
        found = held(node.op, node.attrs, transposed(w.value(x).shape, inverse(perm)), perm)
    assert found is not None
    a, after = found
    ins = [w.get(i, perm) for i in node.inputs]
    if node.op == "Concat":
        return after, w.part("Concat", ins, out, axis=a["axis"])
    if node.op == "Reshape":
        return after, w.part("Reshape", [*ins, w.init(f"{out}~shape", a["shape"], "int64")], out)
    if node.op == "Slice":
        axes = [
            i
            for i, d in enumerate(transposed(w.value(x).shape, inverse(perm)))
            if (a["starts"][i], a["ends"][i], a["steps"][i]) != (0, d, 1)
        ] or [0]
        ends = [-(2**31) if a["steps"][i] < 0 and a["ends"][i] < 0 else a["ends"][i] for i in axes]
        rows = {
            "starts": [a["starts"][i] for i in axes],
            "ends": ends,
            "axes": axes,
            "steps": [a["steps"][i] for i in axes],
        }
        return after, w.part(
            "Slice", [*ins, *(w.init(f"{out}~{k}", v, "int64") for k, v in rows.items())], out
        )
    if node.op == "Pad":
        pads = [p[0] for p in a["pads"]] + [p[1] for p in a["pads"]]
        value = w.init(f"{out}~value", a["value"], "float32")
        return after, w.part(
            "Pad", [*ins, w.init(f"{out}~pads", pads, "int64"), value], out, mode="constant"
        )
    if node.op == "Gather":
        indices = np.asarray(a["indices"], np.int64).reshape(
            a.get("index_shape", (len(a["indices"]),))
        )
        return after, w.part(
            "Gather", [*ins, w.init(f"{out}~indices", indices)], out, axis=a["axis"]
        )
    axes_in = w.init(f"{out}~axes", a["axes"], "int64")
    return after, w.part("ReduceMean", [*ins, axes_in], out, keepdims=int(a["keepdims"]))


WRITERS: dict[str, WriteOp] = {
    "Conv": _conv, "DepthwiseConv": _conv, "ConvTranspose": _conv, "MaxPool": _pool, "AvgPool": _pool,
    "Resize": _resize, "FullyConnected": _fully_connected, "MatMul": _matmul, "Add": _binary, "Sub": _binary,
    "Mul": _binary, "Div": _binary, "Unary": _unary, "PRelu": _prelu, "Softmax": _softmax,
    "Requantize": _requantize, "Transpose": _transpose, "Concat": _movement, "Slice": _movement,
    "Pad": _movement, "Gather": _movement, "Reshape": _movement, "ReduceMean": _movement,
}  # fmt: skip
