"""Read a QDQ ONNX model into a quantized Graph: the file's integers, in the graph's own layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx

from edgeq.errors import ModelError
from edgeq.frontend.onnx_file import load_model
from edgeq.frontend.onnx_reader import Source, _finite, read_onnx
from edgeq.frontend.qdq_attach import attach
from edgeq.frontend.qdq_derive import derive
from edgeq.frontend.qdq_params import check_axis
from edgeq.frontend.qdq_strip import strip
from edgeq.graph.ir import Graph, QParams
from edgeq.graph.verify import verify
from edgeq.passes import canonicalise


def is_quantized(model: onnx.ModelProto) -> bool:
    """True when the model holds QuantizeLinear or DequantizeLinear nodes."""
    return any(n.op_type in ("QuantizeLinear", "DequantizeLinear") for n in model.graph.node)


def read_qdq(source: Source, *, shapes: Mapping[str, Sequence[int]] | None = None) -> Graph:
    """Read a QDQ ONNX model (a path, bytes or a ModelProto) into a quantized Graph.

    Values keep the integers of the file: uint8 is shifted by 128 to int8, weights and biases are recovered
    as they were stored. A value without a pair gets QParams that follow from its neighbours where there are
    such; where an op cannot read what the file gives it, a Requantize node is put before. A file that
    quantizes constants only gives a float Graph.
    `meta["onnx_metadata"]` holds the file's metadata_props. Raises ModelError, one for all values without
    QParams, and UnsupportedOp.
    """
    model, where = load_model(source)
    name = model.graph.name or "model"
    stripped = strip(model, where)
    stripped.model.graph.name = where
    raw = replace(read_onnx(stripped.model, shapes=shapes, canonical=False), name=name)
    said = dict(stripped.said)
    _check_axes(where, raw, said)
    plain = {k: q for k, q in said.items() if k in raw.values and not q.per_channel}
    derive(raw, plain, movements_only=True)
    with np.errstate(all="ignore"):  # what overflows is refused by name
        graph = _finite(where, canonicalise(raw))
    if said:
        graph = attach(where, graph, {**plain, **said}, stripped.stored)
    metadata = {p.key: p.value for p in model.metadata_props}
    return verify(replace(graph, meta={**graph.meta, "onnx_metadata": metadata}))


def _check_axes(where: str, raw: Graph, said: Mapping[str, QParams]) -> None:
    """Scales per channel must fit the tensor in ONNX's axis order, and lie along its channels."""
    for name, q in said.items():
        if not q.per_channel or name not in raw.values:
            continue
        shape = raw.values[name].shape
        if name in raw.meta["onnx_inputs"]:
            shape = tuple(raw.meta["onnx_inputs"][name])
        check_axis(f"{where}: value {name}", q, shape)
        axis = q.axis % len(shape)
        if axis not in (1, len(shape) - 1) and list(shape).count(len(q.scale)) > 1:
            raise ModelError(
                f"{where}: value {name}: scales per channel must lie along its channels, got axis {q.axis} of "
                f"{shape}. Quantize it per tensor."
            )
