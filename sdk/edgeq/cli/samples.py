"""Calibration samples from pictures (through the card) or from an .npz of input tensors."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeq.cli.console import Out
from edgeq.cli.models import Model, require_card
from edgeq.cli.tables import plural
from edgeq.errors import CardError, DataError

if TYPE_CHECKING:
    from edgeq.graph.ir import Graph
    from edgeq.report.data import Dataset

Array = NDArray[Any]
Sample = dict[str, Array]


@dataclass(slots=True)
class Samples:
    """Float32 inputs of the graph, by name; `used` counts those handed out."""

    where: Path
    count: int
    source: Iterator[Sample]
    used: int = 0

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[Sample]:
        for sample in self.source:
            self.used += 1
            yield sample
        if not self.used:
            raise DataError(
                f"{self.where}: must hold at least one usable picture, {self.count} were tried."
            )


@contextmanager
def open_samples(out: Out, model: Model, graph: Graph, data: Path, count: int) -> Iterator[Samples]:
    """Choose `count` samples, evenly spread; pictures that cannot be read are skipped and reported.

    Raises DataError if none is usable, CardError if pictures come without a card.
    """
    if count < 1:
        raise DataError(f"--samples: must be at least 1, got {count}. Leave it out for 64.")
    arrays = _npz_of_inputs(data, graph)
    if arrays is not None:
        yield _from_arrays(data, arrays, count)
        return
    from edgeq.report.data import calibration_data

    card = require_card(model, "calibration with pictures")
    check_card(model, graph)
    found = calibration_data(data, card, count)
    try:
        yield Samples(data, len(found), _from_pictures(found, graph, card))
    finally:
        report_skipped(out, found)


def report_skipped(out: Out, found: Any) -> None:
    """Warn once about the pictures that could not be used."""
    if found.skipped:
        number = len(found.skipped)
        out.warn(
            f"skipped {plural(number, 'picture')} that cannot be used; the first: {found.skipped[0].reason}"
        )


def check_card(model: Model, graph: Graph) -> None:
    """Refuse a card whose picture does not fit the model's input."""
    card = require_card(model, "this model")
    if len(graph.inputs) != 1:
        names = ", ".join(graph.inputs)
        raise CardError(
            f"{model.path}: a card serves models with one input, this one has {names}. Use .npz data."
        )
    shape = graph.values[graph.inputs[0]].shape
    want = (1, card.input.height, card.input.width, 3)
    if shape != want:
        raise CardError(
            f"{model.path}: the card's input must fit the model, the card says {_by(want)} and the model"
            f" {_by(shape)} (n x height x width x channels). Correct the card, or fix an open shape with --shape."
        )


def _by(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape))


def _from_pictures(found: Dataset, graph: Graph, card: Any) -> Iterator[Sample]:
    from edgeq.vision import preprocess

    name = graph.inputs[0]
    for sample in found:
        yield {name: preprocess(sample.image, card.input)[0]}


def _npz_of_inputs(data: Path, graph: Graph) -> dict[str, Array] | None:
    """Read arrays named like the inputs, one row per sample; None if `data` is something else."""
    if data.suffix.lower() != ".npz" or not data.is_file():
        return None
    try:
        with np.load(data, allow_pickle=False) as file:
            if not set(graph.inputs) <= set(file.files):
                if {"x"} <= set(file.files):
                    return None  # pictures: x uint8 (n, h, w, 3)
                raise DataError(
                    f"{data}: must hold arrays named {', '.join(graph.inputs)} (or pictures named x),"
                    f" has {', '.join(file.files) or 'none'}. Rename them."
                )
            arrays = {name: file[name] for name in graph.inputs}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as broken:
        raise DataError(
            f"{data}: must be an .npz file, cannot be read ({broken}). Save it anew."
        ) from None
    return {name: _as_input(data, graph, name, x) for name, x in arrays.items()}


def _as_input(data: Path, graph: Graph, name: str, x: Array) -> Array:
    """Bring (n, ...) rows to the graph's layout: rows may be as in the ONNX file or channels-last."""
    shape = graph.values[name].shape
    filed = tuple(graph.meta.get("onnx_inputs", {}).get(name, shape))
    if shape[0] != 1 or not len(x):
        raise DataError(
            f"{data}: {name}: needs rows for a batch of 1, got batch {shape[0]}, {len(x)} rows."
        )
    if x.shape[1:] == filed[1:] and graph.meta.get("input_layout", {}).get(name) == "NHWC":
        x = x.transpose(0, 2, 3, 1)
    elif x.shape[1:] != shape[1:]:
        raise DataError(
            f"{data}: {name}: rows must have shape {_by(filed[1:])}, have {_by(x.shape[1:])}. Save them so."
        )
    x = x.astype(np.float32)
    if not np.isfinite(x).all():
        raise DataError(f"{data}: {name}: must be finite numbers, some are not. Correct the data.")
    return x


def _from_arrays(data: Path, arrays: dict[str, Array], count: int) -> Samples:
    total = min(map(len, arrays.values()))
    count = min(count, total)
    rows = [(2 * i + 1) * total // (2 * count) for i in range(count)]
    return Samples(
        data, count, ({name: x[row : row + 1] for name, x in arrays.items()} for row in rows)
    )
