from edgeq.compiler import compile_graph as compile
from edgeq.errors import CardError as CardError
from edgeq.errors import CompileError as CompileError
from edgeq.errors import DataError as DataError
from edgeq.errors import DeviceError as DeviceError
from edgeq.errors import EdgeqError as EdgeqError
from edgeq.errors import ModelError as ModelError
from edgeq.errors import ProgramError as ProgramError
from edgeq.errors import QuantizeError as QuantizeError
from edgeq.errors import UnsupportedOp as UnsupportedOp
from edgeq.errors import ZooError as ZooError
from edgeq.frontend import read as read
from edgeq.frontend.onnx_writer import save_onnx as save_onnx
from edgeq.graph.ir import Graph as Graph
from edgeq.quantizer import Recipe as Recipe
from edgeq.quantizer import Statistics as Statistics
from edgeq.quantizer import calibrate as calibrate
from edgeq.quantizer import quantize as quantize
from edgeq.report.evaluate import evaluate as evaluate
from edgeq.runtime import Session as Session
from edgeq.runtime import load as load
from edgeq.runtime.program import Program as Program
from edgeq.vision import Classifier as Classifier
from edgeq.vision import Detector as Detector
from edgeq.vision import Pipeline as Pipeline
from edgeq.vision import TaskCard as TaskCard
from edgeq.vision import TextDetector as TextDetector
from edgeq.vision import TextReader as TextReader
from edgeq.vision import TextRecognizer as TextRecognizer
from edgeq.vision import draw as draw
from edgeq.vision import read_picture as read_picture

__version__: str
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
