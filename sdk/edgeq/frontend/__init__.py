"""Model files in and out. The only package that imports the libraries of file formats."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.graph.ir import Graph


def read(
    path: str | os.PathLike[str] | bytes, *, shapes: Mapping[str, Sequence[int]] | None = None
) -> Graph:
    """Read an ONNX model into a Graph: float, or quantized where the file holds QDQ pairs.

    `shapes` fixes inputs whose size is open, in ONNX's axis order. Raises ModelError and UnsupportedOp.
    """
    from edgeq.frontend.onnx_file import load_model
    from edgeq.frontend.onnx_reader import read_onnx
    from edgeq.frontend.qdq_reader import is_quantized, read_qdq

    quantized = is_quantized(load_model(path)[0])
    return (read_qdq if quantized else read_onnx)(path, shapes=shapes)


__all__ = ["read"]
