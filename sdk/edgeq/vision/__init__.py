"""Pictures in, results out: task cards, pre- and post-processing, pipelines, sources, drawing.

Needs numpy, and OpenCV from the first picture on; importing it loads numpy only.
"""

from edgeq.vision.card import Ctc, Db, Input, NanoDet, TaskCard, TopK, Yolox
from edgeq.vision.decode import Box, Class, Item, Line, decode
from edgeq.vision.draw import draw
from edgeq.vision.pipelines import (
    Classifier,
    Detector,
    Pipeline,
    Result,
    Run,
    TextDetector,
    TextReader,
    TextRecognizer,
)
from edgeq.vision.preprocess import Geometry, preprocess
from edgeq.vision.sources import Frame, Skipped, Source, open_source, read_picture

__all__ = [
    "Box",
    "Class",
    "Classifier",
    "Ctc",
    "Db",
    "Detector",
    "Frame",
    "Geometry",
    "Input",
    "Item",
    "Line",
    "NanoDet",
    "Pipeline",
    "Result",
    "Run",
    "Skipped",
    "Source",
    "TaskCard",
    "TextDetector",
    "TextReader",
    "TextRecognizer",
    "TopK",
    "Yolox",
    "decode",
    "draw",
    "open_source",
    "preprocess",
    "read_picture",
]
