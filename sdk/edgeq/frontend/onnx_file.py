"""Open an ONNX file that nobody vouches for: parse, check names and sizes, load external data."""

from __future__ import annotations

import heapq
import math
import os
from pathlib import Path

import numpy as np
import onnx
import onnx.inliner
from onnx import numpy_helper

from edgeq.errors import ModelError
from edgeq.graph.ir import Array

OPSETS = (9, onnx.defs.onnx_opset_version())
MAX_ELEMENTS = 2**31
MAX_BYTES = 2**31 - 1  # what protobuf can hold


def load_model(
    source: str | os.PathLike[str] | bytes | onnx.ModelProto,
) -> tuple[onnx.ModelProto, str]:
    """Return the parsed model with its external data, and what to call it. Raises ModelError."""
    if isinstance(source, onnx.ModelProto):
        where, model, folder = source.graph.name or "model", source, None
    elif isinstance(source, bytes | bytearray):
        where, model, folder = "model", _parse("model", bytes(source)), None
    else:
        path = Path(source)
        where, folder = path.name, path.parent
        model = _parse(where, _read(path))
    if not model.HasField("graph") or not model.graph.output:
        raise ModelError(
            f"{where}: an ONNX file must hold a graph with outputs, got none. Is it ONNX?"
        )
    _external(where, model, folder)
    if model.functions:
        try:
            model = onnx.inliner.inline_local_functions(model)
        except Exception as e:
            raise ModelError(
                f"{where}: its functions cannot be inlined: {_line(e)}. Export without."
            ) from None
    return model, where


def opset_of(where: str, model: onnx.ModelProto) -> int:
    """Return the version of the default operator set. Raises ModelError outside 9..newest."""
    found = [o.version for o in model.opset_import if o.domain in ("", "ai.onnx")]
    if len(found) != 1:
        raise ModelError(
            f"{where}: one opset of ONNX must be imported, got {len(found)}. Re-export it."
        )
    if not OPSETS[0] <= found[0] <= OPSETS[1]:
        raise ModelError(
            f"{where}: opset must be {OPSETS[0]}..{OPSETS[1]}, got {found[0]}. "
            "Convert it with onnx.version_converter or export again."
        )
    return int(found[0])


def initializers(where: str, model: onnx.ModelProto) -> dict[str, Array]:
    """Return the constants by name. Raises ModelError on wrong sizes and types."""
    found: dict[str, Array] = {}
    for t in model.graph.initializer:
        if t.name in found:
            raise ModelError(
                f"{where}: initializer {t.name}: names must differ, this one comes twice. Re-export."
            )
        found[t.name] = tensor_array(f"{where}: initializer {t.name}", t)
    for s in model.graph.sparse_initializer:
        raise ModelError(
            f"{where}: initializer {s.values.name}: it must be dense, got sparse. Re-export it."
        )
    return found


def tensor_array(where: str, t: onnx.TensorProto) -> Array:
    """Return a TensorProto's array; its data must fill its shape. Raises ModelError."""
    if min(t.dims, default=0) < 0 or math.prod(t.dims) > MAX_ELEMENTS:
        raise ModelError(
            f"{where}: the shape must be 0..2^31 elements, got {list(t.dims)}. The file is damaged."
        )
    try:
        return np.asarray(numpy_helper.to_array(t))
    except Exception as e:
        raise ModelError(
            f"{where}: the data must fill shape {list(t.dims)}: {_line(e)}. The file is damaged."
        ) from None


def check_names(where: str, model: onnx.ModelProto) -> list[onnx.NodeProto]:
    """Return the nodes in topological order; each name defined once, none missing. Raises ModelError."""
    g = model.graph
    _texts(where, g)
    known = {i.name for i in g.input} | {t.name for t in g.initializer} | {""}
    makers: dict[str, str] = {}
    for k, n in enumerate(g.node):
        label = n.name or f"number {k}"
        if not any(n.output):
            raise ModelError(
                f"{where}: node {label} ({n.op_type}): an output is needed, got none. Re-export it."
            )
        for o in n.output:
            if o and (o in makers or o in known):
                raise ModelError(
                    f"{where}: value {o}: one node must make it, two do. The file is damaged."
                )
            if o:
                makers[o] = label
    for n in g.node:
        for i in n.input:
            if i not in known and i not in makers:
                raise ModelError(
                    f"{where}: node {n.name or n.op_type} ({n.op_type}): input {i!r} must exist, nothing makes it. "
                    "The file is damaged."
                )
    for out in g.output:
        if not out.name or (out.name not in known and out.name not in makers):
            raise ModelError(
                f"{where}: output {out.name}: a node must make it, none does. The file is damaged."
            )
    return _ordered(where, list(g.node), known)


def _texts(where: str, g: onnx.GraphProto) -> None:
    """Every name must be text; protobuf hands out bytes that are no UTF-8 as they are."""
    names = [
        g.name,
        *(i.name for i in g.input),
        *(o.name for o in g.output),
        *(t.name for t in g.initializer),
    ]
    for n in g.node:
        names += [n.name, n.op_type, n.domain, *n.input, *n.output, *(a.name for a in n.attribute)]
    for name in names:
        if not isinstance(name, str):
            raise ModelError(f"{where}: name {name!r}: it must be UTF-8 text. The file is damaged.")


def _ordered(where: str, nodes: list[onnx.NodeProto], known: set[str]) -> list[onnx.NodeProto]:
    """Kahn's algorithm, keeping the file's order where it is already topological."""
    done, order = set(known), []
    waiting: dict[str, list[int]] = {}
    missing = []
    ready: list[int] = []
    for k, n in enumerate(nodes):
        needs = {i for i in n.input if i not in known}
        missing.append(len(needs))
        for i in needs:
            waiting.setdefault(i, []).append(k)
        if not needs:
            ready.append(k)
    heapq.heapify(ready)
    while ready:
        k = heapq.heappop(ready)
        order.append(nodes[k])
        for o in nodes[k].output:
            if o and o not in done:
                done.add(o)
                for reader in waiting.get(o, ()):
                    missing[reader] -= 1
                    if missing[reader] == 0:
                        heapq.heappush(ready, reader)
    if len(order) != len(nodes):
        stuck = next(n for k, n in enumerate(nodes) if missing[k])
        raise ModelError(
            f"{where}: node {stuck.name or stuck.op_type} ({stuck.op_type}): the graph must have no cycle, "
            "this node waits for itself. The file is damaged."
        )
    return order


def _read(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ModelError(
                f"{path.name}: a file must be under 2 GB, got {size} bytes. Use external data."
            )
        return path.read_bytes()
    except OSError as e:
        raise ModelError(
            f"{path}: the file must be readable: {e.strerror}. Check the path."
        ) from None


def _parse(where: str, data: bytes) -> onnx.ModelProto:
    if not data:
        raise ModelError(
            f"{where}: an ONNX file must not be empty, got 0 bytes. Download it again."
        )
    try:
        return onnx.load_model_from_string(data)
    except Exception:
        raise ModelError(
            f"{where}: must be an ONNX file, {len(data)} bytes do not parse. "
            "It is cut off or another format; download or export it again."
        ) from None


def _external(where: str, model: onnx.ModelProto, folder: Path | None) -> None:
    outside = [
        t.name for t in model.graph.initializer if t.data_location == onnx.TensorProto.EXTERNAL
    ]
    if not outside:
        return
    if folder is None:
        raise ModelError(
            f"{where}: initializer {outside[0]}: its data is in another file, which bytes cannot name. Pass the path."
        )
    try:
        onnx.load_external_data_for_model(model, str(folder))
    except Exception as e:
        raise ModelError(
            f"{where}: initializer {outside[0]}: its external data must lie beside the model: {_line(e)}. "
            "Copy the data file there."
        ) from None


def _line(e: Exception) -> str:
    """The first line of another library's message, short, without its full stop."""
    text = (str(e).strip() or type(e).__name__).splitlines()[0]
    return text[:160].rstrip(". ")
