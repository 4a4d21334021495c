"""Compute what does not depend on the inputs: shape arithmetic and constant subexpressions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx.reference import ReferenceEvaluator

from edgeq.errors import ModelError
from edgeq.frontend.onnx_file import _line, tensor_array
from edgeq.graph.ir import Array

MAX_FOLDED = 2**27  # elements; larger than any weight we can place
RANDOM = (
    "RandomNormal",
    "RandomUniform",
    "RandomNormalLike",
    "RandomUniformLike",
    "Multinomial",
    "Bernoulli",
)


def attributes(where: str, node: onnx.NodeProto) -> dict[str, Any]:
    """Return a node's attributes as Python numbers, strings, lists and arrays. Raises ModelError."""
    found: dict[str, Any] = {}
    for a in node.attribute:
        try:
            value = onnx.helper.get_attribute_value(a)
        except Exception as e:
            raise ModelError(
                f"{where}: attribute {a.name}: {_line(e)}. The file is damaged."
            ) from None
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif isinstance(value, onnx.TensorProto):
            value = tensor_array(f"{where}: attribute {a.name}", value)
        elif not isinstance(value, int | float | str | onnx.GraphProto):
            value = [v.decode("utf-8", "replace") if isinstance(v, bytes) else v for v in value]
        found[a.name] = value
    return found


def constant_value(attrs: Mapping[str, Any]) -> Array | None:
    """Return what a Constant node holds."""
    for name, dtype in (("value", None), ("value_float", "float32"), ("value_floats", "float32"),
                        ("value_int", "int64"), ("value_ints", "int64")):  # fmt: skip
        if name in attrs:
            return np.asarray(attrs[name], dtype)
    return None


def fold(where: str, node: onnx.NodeProto, opset: int, ins: Sequence[Array | None]) -> list[Array]:
    """Run one node on constants with the ONNX reference. Raises ModelError when it is huge or fails."""
    size = _result_size(node.op_type, ins)
    if size > MAX_FOLDED:
        raise ModelError(
            f"{where}: a constant must have at most 2^27 elements, got {size}. Re-export the model."
        )
    feeds = {n: x for n, x in zip(node.input, ins, strict=True) if n and x is not None}
    graph = onnx.helper.make_graph(
        [node],
        "fold",
        [onnx.helper.make_tensor_value_info(n, _type(x), x.shape) for n, x in feeds.items()],
        [onnx.ValueInfoProto(name=o) for o in node.output if o],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", opset)])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            results = ReferenceEvaluator(model).run(None, feeds)
    except Exception as e:
        raise ModelError(
            f"{where}: its constant inputs do not fit together: {_line(e)}. Re-export it."
        ) from None
    return [np.asarray(r) for r in results]


def _type(x: Array) -> int:
    return int(onnx.helper.np_dtype_to_tensor_dtype(x.dtype))


def _result_size(op: str, ins: Sequence[Array | None]) -> int:
    """Elements that the op will make, for the ops that can make many from few."""
    first = ins[0] if ins else None
    if first is None:
        return 0
    try:
        if op == "ConstantOfShape":
            return math.prod(int(d) for d in first.reshape(-1))
        if op == "Expand" and len(ins) > 1 and ins[1] is not None:
            return math.prod(int(d) for d in ins[1].reshape(-1)) * max(first.size, 1)
        if op == "Tile" and len(ins) > 1 and ins[1] is not None:
            return first.size * math.prod(int(d) for d in ins[1].reshape(-1))
        if op == "Range" and len(ins) == 3 and all(i is not None for i in ins):
            start, stop, step = (float(np.asarray(i).reshape(-1)[0]) for i in ins)
            return int((stop - start) / step) if step else MAX_FOLDED + 1
        if op in ("Pad", "Resize", "Upsample", "OneHot"):
            wide = [i for i in ins[1:] if i is not None and i.size]
            grow = sum(int(np.abs(i.astype(np.float64)).sum()) for i in wide)
            return first.size * max(1, grow)
    except (ValueError, TypeError, OverflowError):
        return MAX_FOLDED + 1
    return 0
