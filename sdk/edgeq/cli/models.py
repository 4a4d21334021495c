"""Find a model by file or zoo name, find its task card, and run it whatever its kind."""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import CardError, DataError, ModelError, ProgramError, ZooError

if TYPE_CHECKING:
    from edgeq.vision import TaskCard
    from edgeq.zoo import ZooModel

Array = NDArray[Any]

CARD_FIELDS = "[card] task, metric; [card.input] height, width, color, resize; [card.decode] kind"


@dataclass(frozen=True, slots=True)
class Model:
    """A model file on this machine, and its task card if one is known."""

    path: Path
    card: TaskCard | None
    card_from: str


@dataclass(frozen=True, slots=True, eq=False)
class Runner:
    """A model ready to run: `run` takes the (1, H, W, 3) tensor and returns named float32 outputs."""

    path: Path
    runtime: str  # edgeq | ort
    precision: str  # int8 | f32
    run: Callable[[Array], Mapping[str, Array]]
    shape: tuple[int, ...]  # of the first input, as `run` takes it
    card: TaskCard | None
    raw: Any  # the Session or the InferenceSession


def zoo_model(name: str) -> ZooModel:
    """Return one zoo model; an unknown name gets a suggestion."""
    from edgeq import zoo

    known = [model.name for model in zoo.list_models()]
    if name not in known:
        near = difflib.get_close_matches(name, known, 1, 0.5)
        hint = f"Did you mean {near[0]}? " if near else ""
        raise ZooError(
            f"zoo: there must be a model of that name, got {name!r}. {hint}See: edgeq zoo list"
        )
    return zoo.info(name)


def is_name(text: str) -> bool:
    """Tell a zoo name from a path."""
    return "/" not in text and "\\" not in text and "." not in text


def find_model(text: str, *, card: Path | None = None, progress: Any = None) -> Model:
    """Find a model by path or by zoo name, and its card.

    The card comes from `card`, from the zoo (by content), or from a .toml of the same name beside it.
    Raises ModelError, ZooError or CardError.
    """
    from edgeq import zoo
    from edgeq.vision import TaskCard

    path = Path(text)
    if not path.exists() and is_name(text):
        zoo_model(text)
        path = zoo.pull(text, progress=progress)
    require_file(path, ModelError)
    if card is not None:
        return Model(path, TaskCard.from_toml(card), str(card))
    if known := zoo.card_for(path):
        return Model(path, known, "zoo")
    beside = path.with_suffix(".toml")
    if beside.is_file():
        return Model(path, TaskCard.from_toml(beside), str(beside))
    return Model(path, None, "")


def require_file(path: Path, kind: type[Exception]) -> None:
    """Refuse what is not a file."""
    if path.is_dir():
        raise kind(f"{path}: must be a file, is a folder. Name the file in it.")
    if not path.exists():
        raise kind(
            f"{path}: must be a file or a zoo name, does not exist. Check the path, or see: edgeq zoo list"
        )


def require_card(model: Model | Runner, what: str) -> TaskCard:
    """Return the card, or say what one must hold."""
    if model.card is None:
        raise CardError(
            f"{model.path}: {what} needs a task card that says how a picture becomes the input; none"
            f" was found. Give --card CARD.toml (or put it beside the model as"
            f" {model.path.with_suffix('.toml').name}) with {CARD_FIELDS}."
        )
    return model.card


def open_runner(text: str, *, card: Path | None = None, threads: int | None = None) -> Runner:
    """Load a model: .edgeq into a Session, .onnx into ONNX Runtime (on `threads` threads)."""
    suffix = Path(text).suffix.lower()
    if suffix == ".edgeq":
        return _open_edgeq(Path(text), card, threads)
    if suffix == ".onnx" or is_name(text):
        return _open_onnx(find_model(text, card=card), threads)
    raise ModelError(f"{text}: must end in .edgeq or .onnx. Name a model file or a zoo model.")


def _open_edgeq(path: Path, card: Path | None, threads: int | None) -> Runner:
    import edgeq
    from edgeq.vision import TaskCard

    require_file(path, ProgramError)
    try:
        session = edgeq.load(path, threads=threads)
    except ProgramError as broken:
        raise ProgramError(f"{path}: {broken}") from None
    own = TaskCard.from_toml(card) if card else None
    if own is None and session.card:
        own = TaskCard.from_dict(session.card)
    shape = tuple(session.inputs[0].shape)
    return Runner(path, "edgeq", "int8", session.run, shape, own, session)


def _open_onnx(model: Model, threads: int | None) -> Runner:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.log_severity_level = 4
    if threads:
        options.intra_op_num_threads = threads
    try:
        session = ort.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])
    except Exception as broken:  # ONNX Runtime has a class per status code, without a common base
        text = str(broken).strip().splitlines()[0]
        why = (
            "does not parse as one"
            if "INVALID_PROTOBUF" in text
            else f"ONNX Runtime says: {text[:200]}"
        )
        raise ModelError(
            f"{model.path}: must be an ONNX model, {why}. Download or export it again."
        ) from None
    names = [one.name for one in session.get_outputs()]
    put = session.get_inputs()[0]
    shape = tuple(d if isinstance(d, int) else 1 for d in put.shape)
    pictures = len(shape) == 4 and shape[1] == 3

    def run(x: Array) -> dict[str, Array]:
        feed = np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if pictures else x
        try:
            return dict(zip(names, session.run(None, {put.name: feed}), strict=True))
        except Exception as broken:
            text = str(broken).strip().splitlines()[0][:200]
            raise ModelError(
                f"{model.path}: must run in ONNX Runtime on {feed.shape}, fails: {text}"
            ) from None

    if pictures:
        shape = (shape[0], *shape[2:], shape[1])
    precision = "int8" if b"DequantizeLinear" in model.path.read_bytes() else "f32"
    card = model.card or _card_inside(session.get_modelmeta().custom_metadata_map)
    return Runner(model.path, "ort", precision, run, shape, card, session)


def _card_inside(metadata: Mapping[str, str]) -> TaskCard | None:
    """Read the card that edgeq writes into its QDQ models."""
    from edgeq.vision import TaskCard

    try:
        return TaskCard.from_dict(json.loads(metadata["edgeq.card"]))
    except (KeyError, ValueError):
        return None


def share_card(runners: list[Runner]) -> list[Runner]:
    """Give files without a card (a QDQ .onnx) the card of the first file that has one."""
    known = next((one.card for one in runners if one.card), None)
    return [one if one.card else replace(one, card=known) for one in runners]


def native_outputs(runner: Runner, x: Array) -> dict[str, Array]:
    """Run a Session once more and return its own integers."""
    outputs: dict[str, Array] = runner.raw.run(x, native=True)
    return outputs


def digest(outputs: Mapping[str, Array]) -> str:
    """Hash native integers: SHA-256 over the outputs in their order, little-endian, row-major."""
    bodies = (
        np.ascontiguousarray(y, y.dtype.newbyteorder("<")).tobytes() for y in outputs.values()
    )
    return hashlib.sha256(b"".join(bodies)).hexdigest()


def check_output(path: Path, endings: tuple[str, ...]) -> None:
    """Refuse, before any long work, a result file that could not be written."""
    if path.suffix.lower() not in endings:
        raise DataError(f"{path}: must end in {' or '.join(endings)}. Rename the output.")
    if path.is_dir():
        raise DataError(f"{path}: must be a file to write, is a folder. Name a file in it.")
    check_folder(path.parent)


def check_folder(folder: Path) -> None:
    """Refuse a folder that can be neither written nor made."""
    there = folder
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        why = "cannot be written" if there.is_dir() else "is a file"
        raise DataError(
            f"{folder}: must be a folder that can be written, {there} {why}. Choose another."
        )
