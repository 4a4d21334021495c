"""Write a Graph as ONNX (opset 21): float, or quantized with QuantizeLinear/DequantizeLinear pairs.

Inputs and outputs have the names, shapes and axis order of the ONNX model that was read. Inside, pictures
are NCHW; a Transpose is written only where an operator needs another order (see `writing`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import overload

import onnx
from onnx import TensorProto, helper

from edgeq.errors import ModelError
from edgeq.frontend.onnx_write_ops import write_clip, write_op
from edgeq.frontend.writing import NCHW, Writing, plain
from edgeq.graph.ir import Graph, Node
from edgeq.passes.axes import inverse, transposed
from edgeq.runtime.program import write_atomic

OPSET = 21
IR_VERSION = 10  # the first with opset 21; ONNX Runtime 1.18 and newer read it


@overload
def write_onnx(
    graph: Graph,
    *,
    metadata: Mapping[str, str] | None = None,
    outputs: None = None,
    unsigned: bool = True,
) -> onnx.ModelProto: ...


@overload
def write_onnx(
    graph: Graph,
    *,
    metadata: Mapping[str, str] | None = None,
    outputs: Sequence[str],
    unsigned: bool = True,
) -> tuple[onnx.ModelProto, dict[str, str]]: ...


def write_onnx(
    graph: Graph,
    *,
    metadata: Mapping[str, str] | None = None,
    outputs: Sequence[str] | None = None,
    unsigned: bool = True,
) -> onnx.ModelProto | tuple[onnx.ModelProto, dict[str, str]]:
    """Return the graph as an ONNX model, with `metadata` in its metadata_props.

    With `outputs` (names of computed values) these become outputs of the model too, under their own names
    and after the graph's; the result is then (model, layout) where layout[name] says how the model returns
    it, also for the graph's own inputs and outputs: "plain" has the graph's shape, "NCHW" is a picture
    (n,h,w,c) of the graph as (n,c,h,w).

    `unsigned` writes int8 activations as uint8, integer and zero point both 128 higher: the same reals.
    ONNX Runtime on x86-64 turns QDQ convolutions into integer ones reliably only in that form (for int8 it
    needs the session option session.qdqisint8allowed=1). Weights are int8 or int4 in any case.
    Raises ModelError for names that no node makes.
    """
    made = {o for n in graph.nodes for o in n.outputs}
    extra = [
        o for o in dict.fromkeys(outputs or ()) if o not in graph.outputs and o not in graph.inputs
    ]
    for name in extra:
        if name not in made:
            raise ModelError(
                f"value {name!r}: an output must be computed by a node, none makes it. Check the name."
            )
    w = Writing(graph, frozenset(extra), unsigned=unsigned, taken=set(graph.values))
    layout: dict[str, str] = {}
    infos = [_write_input(w, name, layout) for name in graph.inputs]
    for node in graph.nodes:
        _write_node(w, node)
    outs = [_write_output(w, name, layout) for name in (*graph.outputs, *extra)]
    body = helper.make_graph(w.nodes, graph.name, infos, outs, list(w.constants.values()))
    model = helper.make_model(
        body,
        opset_imports=[helper.make_opsetid("", OPSET)],
        producer_name="edgeq",
        ir_version=IR_VERSION,
    )
    helper.set_model_props(model, dict(metadata or {}))
    return model if outputs is None else (model, layout)


def save_onnx(
    graph: Graph,
    path: str | os.PathLike[str],
    *,
    metadata: Mapping[str, str] | None = None,
    unsigned: bool = True,
) -> None:
    """Write the graph to an .onnx file, all of it or nothing. Raises ModelError, OSError."""
    model = write_onnx(graph, metadata=metadata, unsigned=unsigned)
    try:
        body = model.SerializeToString(deterministic=True)
    except ValueError as e:
        raise ModelError(
            f"{path}: an ONNX file must be under 2 GB: {e}. Split the model."
        ) from None
    write_atomic(path, body)


def _write_input(w: Writing, name: str, layout: dict[str, str]) -> onnx.ValueInfoProto:
    v = w.value(name)
    perm = plain(len(v.shape))
    if dict(w.graph.meta.get("input_layout", {})).get(name) == "NHWC":
        perm = NCHW
    layout[name] = "NCHW" if perm == NCHW else "plain"
    w.named.add(name)
    tensor = w.pair(name, perm, name, w.fresh(f"{name}~real")) if v.q is not None else name
    w.made(name, perm, tensor)
    shape = list(transposed(v.shape, inverse(perm)))
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def _write_node(w: Writing, node: Node) -> None:
    out = node.outputs[0]
    count = len(w.nodes)
    perm, tensor = write_op(w, node)
    _label(w, w.nodes[count:], node)
    if "clip" in node.attrs:
        tensor = write_clip(w, tensor, node.attrs["clip"][0], node.attrs["clip"][1], out)
    alias = len(w.nodes) == count or w.nodes[-1].output[0] != tensor
    q = w.value(out).q
    if q is not None and q.dtype != "int32" and node.op != "Transpose":  # accumulators stay real
        tensor = w.pair(out, perm, tensor, w.name_for(out, perm))
        if node.op == "Requantize":
            _label(w, [n for n in w.nodes[count:] if n.op_type == "QuantizeLinear"], node)
    elif not alias:
        tensor = w.name_for(out, perm)
        w.nodes[-1].output[0] = tensor
    w.made(out, perm, tensor)


def _label(w: Writing, made: Sequence[onnx.NodeProto], node: Node) -> None:
    """Give the node's name to the ONNX node that computes: the last one, but for a bias behind MatMul.

    ONNX Runtime wants names to differ; those made up here have a colon.
    """
    product = [n for n in made if n.op_type == "MatMul"] if node.op == "FullyConnected" else []
    if ":" not in node.name and node.name not in w.labels:
        w.labels.add(node.name)
        for n in product or made[-1:]:
            n.name = node.name


def _write_output(w: Writing, name: str, layout: dict[str, str]) -> onnx.ValueInfoProto:
    """Make the value exist under its own name: plain for graph outputs, else plain or NCHW."""
    v = w.value(name)
    perm = plain(len(v.shape))
    if name not in w.graph.outputs:
        own = [p for p, t in w.orders[name].items() if t == name]
        found = own[0] if own else w.order(name)
        perm = found if found == NCHW else perm
    tensor = w.get(name, perm)
    if tensor != name:
        w.named.add(name)
        w.node("Identity", [tensor], name)
    layout[name] = "NCHW" if perm == NCHW else "plain"
    shape = list(transposed(v.shape, inverse(perm)))
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
