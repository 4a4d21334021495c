"""edgeq: quantize ONNX models to INT8, compile them, run them bit-exactly everywhere.

`load` and `Session` are the device side and need numpy only. Everything else is the host side and
loads with its first use, so that `import edgeq` stays as light as numpy.
"""

from __future__ import annotations

import importlib
from typing import Any

from edgeq.errors import (
    CardError,
    CompileError,
    DataError,
    DeviceError,
    EdgeqError,
    ModelError,
    ProgramError,
    QuantizeError,
    UnsupportedOp,
    ZooError,
)

try:
    from edgeq.runtime import Session, load
except ImportError as broken:
    raise ImportError(
        f"edgeq: its C runtime must be built, is not ({broken}). Run in the checkout: pip install -e ."
    ) from broken

__version__ = "0.1.0"

# public name: (module, name there)
_LAZY = {
    "Graph": ("edgeq.graph.ir", "Graph"),
    "read": ("edgeq.frontend", "read"),
    "save_onnx": ("edgeq.frontend.onnx_writer", "save_onnx"),
    "Recipe": ("edgeq.quantizer", "Recipe"),
    "Statistics": ("edgeq.quantizer", "Statistics"),
    "calibrate": ("edgeq.quantizer", "calibrate"),
    "quantize": ("edgeq.quantizer", "quantize"),
    "Program": ("edgeq.runtime.program", "Program"),
    "compile": ("edgeq.compiler", "compile_graph"),
    "TaskCard": ("edgeq.vision", "TaskCard"),
    "Pipeline": ("edgeq.vision", "Pipeline"),
    "Classifier": ("edgeq.vision", "Classifier"),
    "Detector": ("edgeq.vision", "Detector"),
    "TextDetector": ("edgeq.vision", "TextDetector"),
    "TextReader": ("edgeq.vision", "TextReader"),
    "TextRecognizer": ("edgeq.vision", "TextRecognizer"),
    "draw": ("edgeq.vision", "draw"),
    "read_picture": ("edgeq.vision", "read_picture"),
    "evaluate": ("edgeq.report.evaluate", "evaluate"),
}

__all__ = [
    "CardError",
    "Classifier",
    "CompileError",
    "DataError",
    "Detector",
    "DeviceError",
    "EdgeqError",
    "Graph",
    "ModelError",
    "Pipeline",
    "Program",
    "ProgramError",
    "QuantizeError",
    "Recipe",
    "Session",
    "Statistics",
    "TaskCard",
    "TextDetector",
    "TextReader",
    "TextRecognizer",
    "UnsupportedOp",
    "ZooError",
    "__version__",
    "calibrate",
    "compile",
    "draw",
    "evaluate",
    "load",
    "quantize",
    "read",
    "read_picture",
    "save_onnx",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'edgeq' has no attribute {name!r}")
    module, attribute = _LAZY[name]
    value = getattr(importlib.import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
