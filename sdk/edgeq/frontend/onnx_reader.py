"""Read an ONNX model into a Graph: static shapes, constants folded, every op in the graph's own terms.

Each spatial op is written between two Transposes (the graph is channels-last, ONNX is not), and the passes
sink and cancel them. What the file says is never trusted: the errors are ModelError and UnsupportedOp.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from edgeq.errors import ModelError, UnsupportedOp
from edgeq.frontend import onnx_conv, onnx_math, onnx_shape  # noqa: F401  (they register the handlers)
from edgeq.frontend.importing import HANDLERS, Call, Scope, Unsupported
from edgeq.frontend.onnx_file import MAX_ELEMENTS, check_names, initializers, load_model, opset_of
from edgeq.frontend.onnx_fold import RANDOM, attributes, constant_value, fold
from edgeq.graph.ir import Array, Graph, Node, Shape, Value
from edgeq.passes import canonicalise
from edgeq.passes.axes import TO_NCHW
from edgeq.passes.rewrite import Builder, live

Source = str | os.PathLike[str] | bytes | onnx.ModelProto

SPATIAL = (
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Resize", "Upsample",
    "BatchNormalization", "InstanceNormalization", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
FLOAT_INPUTS = (
    onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE, onnx.TensorProto.BFLOAT16,
    onnx.TensorProto.UINT8, onnx.TensorProto.INT8,
)  # fmt: skip


def read_onnx(
    source: Source,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    batch: int = 1,
    canonical: bool = True,
) -> Graph:
    """Read an ONNX model (a path, bytes or a ModelProto) into a Graph.

    `shapes` fixes inputs whose size is open, in ONNX's axis order; an open first axis becomes `batch`.
    A picture input (N,3,H,W) is NHWC in the graph: `meta["input_layout"][name] == "NHWC"`, and
    `meta["onnx_inputs"][name]` is the shape in the file. Outputs keep their names, shapes and axis order.
    With `canonical` the passes have run. Raises ModelError, and UnsupportedOp listing every such node.
    """
    model, where = load_model(source)
    opset = opset_of(where, model)
    nodes = check_names(where, model)
    scope = Scope(Builder(), opset)
    scope.known.update(initializers(where, model))
    made = {o for n in nodes for o in n.output if o}
    scope.builder.reserved |= made | {i.name for i in model.graph.input}
    inputs = _inputs(where, model, scope, shapes or {}, batch)
    _import_all(where, nodes, scope)
    graph = _graph(where, model, scope, inputs)
    with np.errstate(all="ignore"):  # what overflows is refused by name
        return _finite(where, canonicalise(graph) if canonical else graph)


def _inputs(
    where: str,
    model: onnx.ModelProto,
    scope: Scope,
    shapes: Mapping[str, Sequence[int]],
    batch: int,
) -> dict[str, Shape]:
    """Make the graph inputs; return their ONNX shapes."""
    wanted = [i for i in model.graph.input if i.name not in scope.known]
    names = [i.name for i in wanted]
    if len(set(names)) != len(names) or "" in names:
        raise ModelError(f"{where}: input names must differ, got {names}. Re-export it.")
    for name in shapes:
        if name not in names:
            raise ModelError(
                f"{where}: shape for {name!r}: the inputs are {', '.join(names)}. Use one of them."
            )
    if not wanted:
        raise ModelError(f"{where}: a model must have an input, got none. Re-export it.")
    found: dict[str, Shape] = {}
    b = scope.builder
    for info in wanted:
        shape = _input_shape(where, info, shapes.get(info.name), batch)
        found[info.name] = shape
        if _is_picture(model.graph, info.name, shape):
            n, c, h, w = shape
            b.values[info.name] = Value(info.name, (n, h, w, c))
            scope.known[info.name] = b.emit(
                "Transpose", [info.name], {"perm": TO_NCHW}, out=b.fresh(f"{info.name}~nchw")
            )
        else:
            b.values[info.name] = Value(info.name, shape)
            scope.known[info.name] = info.name
    return found


def _input_shape(
    where: str, info: onnx.ValueInfoProto, given: Sequence[int] | None, batch: int
) -> Shape:
    t = info.type.tensor_type
    if not info.type.HasField("tensor_type") or t.elem_type not in FLOAT_INPUTS:
        names = {v: k for k, v in onnx.TensorProto.DataType.items()}
        kind = names.get(t.elem_type, f"type {t.elem_type}") if t.elem_type else "no tensor"
        raise ModelError(
            f"{where}: input {info.name}: it must be a float tensor, got {kind}. Re-export it."
        )
    if not t.HasField("shape") and given is None:
        raise ModelError(
            f"{where}: input {info.name}: its shape must be known, the file has none. "
            f"Pass --shape {info.name}=1,3,640,640."
        )
    dims = [d.dim_value if d.dim_value > 0 else 0 for d in t.shape.dim]
    if given is not None:
        given = [int(d) for d in given]
        fits = not t.HasField("shape") or (
            len(given) == len(dims) and all(d in (0, g) for d, g in zip(dims, given, strict=True))
        )
        if not fits or min(given, default=1) < 1:
            known = [d or "?" for d in dims]
            raise ModelError(
                f"{where}: input {info.name}: the shape must fit {known}, got {given}. Change only open axes."
            )
        dims = given
    elif dims and dims[0] == 0:
        dims[0] = batch
    if 0 in dims:
        known = [d or "?" for d in dims]
        example = ",".join(str(d or 640) for d in dims)
        raise ModelError(
            f"{where}: input {info.name}: every size must be fixed, got {known}. "
            f"Pass --shape {info.name}={example} (shapes={{{info.name!r}: ...}} in Python)."
        )
    if math.prod(dims) > MAX_ELEMENTS:
        raise ModelError(
            f"{where}: input {info.name}: it must have at most 2^31 elements, got {dims}. Use a smaller shape."
        )
    return tuple(dims)


def _is_picture(graph: onnx.GraphProto, name: str, shape: Shape) -> bool:
    """True for (N, 1..4, H, W) unless its readers turn it from NHWC themselves or never see a picture."""
    if len(shape) != 4 or not 1 <= shape[1] <= 4:
        return False
    readers: dict[str, list[onnx.NodeProto]] = {}
    for n in graph.node:
        for i in n.input:
            readers.setdefault(i, []).append(n)
    seen, front, spatial = {name}, [name], False
    while front:
        for n in readers.get(front.pop(), ()):
            if n.op_type == "Transpose":
                perm = next((list(a.ints) for a in n.attribute if a.name == "perm"), [])
                if perm == [0, 3, 1, 2]:
                    return False
                continue
            if n.op_type in SPATIAL:
                spatial = True
                continue
            if n.op_type in ("Reshape", "Flatten", "MatMul", "Gemm", "Shape"):
                continue
            front += [o for o in n.output if o not in seen]
            seen.update(n.output)
    return spatial or shape[3] > 4


def _import_all(where: str, nodes: Sequence[onnx.NodeProto], scope: Scope) -> None:
    """Import node by node; unsupported ones are collected and reported together."""
    refused: list[str] = []
    for k, node in enumerate(nodes):
        label = f"node {node.name or next(o for o in node.output if o)} ({node.op_type})"
        try:
            if any(i and i not in scope.known for i in node.input):
                _known_op(node)  # its inputs come from a refused node
                continue
            _import(f"{where}: {label}", node, scope)
        except Unsupported as e:
            refused.append(f"{label}: {e}")
        except ModelError:
            raise
        except Exception as e:
            text = f"{type(e).__name__}: {e}".splitlines()[0][:160]
            raise ModelError(
                f"{where}: {label} (number {k}): its attributes and inputs must fit together, {text}. Re-export it."
            ) from e
    if refused:
        count = f"{len(refused)} nodes are" if len(refused) > 1 else "1 node is"
        raise UnsupportedOp(
            f"{where}: {count} not supported:\n  "
            + "\n  ".join(refused)
            + "\nReplace them before export."
        )


def _known_op(node: onnx.NodeProto) -> None:
    if node.domain not in ("", "ai.onnx"):
        raise Unsupported(f"operators of {node.domain} are not available")
    if node.op_type not in HANDLERS and node.op_type not in (
        "Shape",
        "Size",
        "Constant",
        "ConstantOfShape",
    ):
        raise Unsupported("this operator is not available")


def _import(where: str, node: onnx.NodeProto, scope: Scope) -> None:
    attrs = attributes(where, node)
    ins = [scope.known[i] if i else None for i in node.input]
    if node.domain in ("", "ai.onnx"):
        if node.op_type == "Constant":
            value = constant_value(attrs)
            if value is None:
                raise Unsupported("a Constant must hold numbers")
            scope.known[node.output[0]] = value
            return
        if node.op_type in ("Shape", "Size"):
            _shape(node, attrs, scope)
            return
        arrays = [i for i in ins if not isinstance(i, str)]
        if ins and len(arrays) == len(ins) and node.op_type not in RANDOM:
            results = fold(where, node, scope.opset, arrays)
            scope.known.update(zip([o for o in node.output if o], results, strict=True))
            return
    _known_op(node)
    if node.op_type not in HANDLERS:
        raise Unsupported("its input must be constant")
    call = Call(scope, node, attrs)
    made = HANDLERS[node.op_type](call)
    outs = [made] if isinstance(made, str) else list(made)
    for name, result in zip(node.output, outs, strict=False):
        if name:
            scope.known[name] = result


def _shape(node: onnx.NodeProto, attrs: Mapping[str, int], scope: Scope) -> None:
    shape = scope.shape(node.input[0])
    if node.op_type == "Size":
        result: Array = np.asarray(math.prod(shape), np.int64)
    else:
        result = np.asarray(shape[attrs.get("start", 0) : attrs.get("end", len(shape))], np.int64)
    scope.known[node.output[0]] = result


def _graph(where: str, model: onnx.ModelProto, scope: Scope, inputs: Mapping[str, Shape]) -> Graph:
    b = scope.builder
    outputs: list[str] = []
    for o in model.graph.output:
        value = scope.known[o.name]
        if not isinstance(value, str):
            raise ModelError(
                f"{where}: output {o.name}: it must depend on an input, it is constant. Remove it."
            )
        if o.name in outputs:
            raise ModelError(
                f"{where}: output {o.name}: names must differ, this one comes twice. Re-export it."
            )
        if o.name in inputs:
            raise ModelError(
                f"{where}: output {o.name}: it must be computed, it is an input. Remove it."
            )
        if value != o.name:
            b.emit("Reshape", [value], {"shape": b.shape(value)}, out=o.name)
        outputs.append(o.name)
    nodes = _distinct(live(b.nodes, outputs))
    used = {i for n in nodes for i in n.inputs if i} | {n.outputs[0] for n in nodes} | set(inputs)
    meta = {
        "onnx_inputs": dict(inputs),
        "input_layout": {n: "NHWC" for n, s in inputs.items() if b.shape(n) != s or _turned(b, n)},
        "onnx_opset": scope.opset,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
    }
    name = model.graph.name or "model"
    return Graph(
        name,
        tuple(nodes),
        {k: v for k, v in b.values.items() if k in used},
        tuple(inputs),
        tuple(outputs),
        meta,
    )


def _distinct(nodes: Sequence[Node]) -> list[Node]:
    """Node names made distinct: the second of a name is called as its output."""
    seen: set[str] = set()
    found = []
    for n in nodes:
        name = n.name if n.name not in seen else n.outputs[0]
        seen.add(name)
        found.append(n if name == n.name else Node(n.op, name, n.inputs, n.outputs, n.attrs))
    return found


def _finite(where: str, graph: Graph) -> Graph:
    """Refuse constants that folding made infinite, such as a BatchNormalization of variance 0."""
    for v in graph.values.values():
        if v.data is not None and not np.isfinite(v.data).all():
            raise ModelError(
                f"{where}: constant {v.name}: every number must be finite after folding, some are not. "
                "Train or export the model again."
            )
    return graph


def _turned(b: Builder, name: str) -> bool:
    """True when the input's first reader is our own Transpose (also for square pictures)."""
    node = b.maker.get(f"{name}~nchw")
    return node is not None and node.inputs == (name,)
