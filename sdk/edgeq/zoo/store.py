"""Find, fetch and recognise zoo models; the tables are `models/*.toml`, one file per network."""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

from edgeq.errors import ZooError
from edgeq.vision.card import TaskCard

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_HERE = Path(__file__).parent
_BLOCK = 1 << 18
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class ZooModel:
    """One file that the zoo knows.

    url: the upstream address pinned by commit, None if only a mirror has the file. source: where
    it comes from and what was done to it. card: how to use it, with task, licence and accuracy.
    """

    name: str
    file: str
    bytes: int
    sha256: str
    url: str | None
    title: str
    source: str
    note: str
    card: TaskCard


@lru_cache(maxsize=1)
def _models() -> dict[str, ZooModel]:
    models = {}
    for path in sorted((_HERE / "models").glob("*.toml")):
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        card = TaskCard.from_toml(path, labels_dir=_HERE / "labels")
        about = {"note": "", **table["model"]}
        for entry in table["file"]:
            models[entry["name"]] = ZooModel(**{"url": None, **about, **entry}, card=card)
    return models


def list_models() -> list[ZooModel]:
    """Return every zoo model, by name."""
    return [model for _, model in sorted(_models().items())]


def info(name: str) -> ZooModel:
    """Return one zoo model; raises ZooError for an unknown name."""
    try:
        return _models()[name]
    except KeyError:
        known = ", ".join(sorted(_models()))
        raise ZooError(f"zoo: model must be one of {known}, got {name!r}.") from None


def card_for(model: str | Path) -> TaskCard | None:
    """Return the card of a model file, or of a SHA-256 in hexadecimal; None if the zoo lacks it."""
    if isinstance(model, str) and len(model) == 64 and not os.path.exists(model):
        digest = model.lower()
    else:
        path = Path(model)
        sizes = {known.bytes for known in _models().values()}
        try:
            if path.stat().st_size not in sizes:
                return None
            digest = _sha256(path)
        except OSError as broken:
            raise ZooError(f"{path}: cannot be read, {broken.strerror}. Check the path.") from None
    return next((known.card for known in _models().values() if known.sha256 == digest), None)


def cache_dir() -> Path:
    """Return where pulled models lie: EDGEQ_CACHE, or edgeq under XDG_CACHE_HOME or ~/.cache."""
    if own := os.environ.get("EDGEQ_CACHE"):
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeq"


def pull(name: str, *, progress: Progress | None = None) -> Path:
    """Return the local path of a zoo model, fetched on first use and checked by SHA-256.

    Looked for in the cache, then in the folder EDGEQ_ZOO_MIRROR (any name, any depth), then at the
    upstream address. Raises ZooError if it cannot be had or has the wrong content.
    """
    model = info(name)
    target = cache_dir() / "zoo" / model.file
    try:
        if _holds(target, model):
            return target
        if found := _in_mirror(model):
            with found.open("rb") as file:
                return _store(iter(lambda: file.read(_BLOCK), b""), model, target, progress)
        if model.url:
            return _store(_download(model.url), model, target, progress)
    except (OSError, HTTPException) as broken:
        origin = model.url or target
        raise ZooError(
            f"zoo {name}: cannot be fetched from {origin} ({broken}); go online, or point"
            " EDGEQ_ZOO_MIRROR at a folder that holds the file."
        ) from None
    raise ZooError(
        f"zoo {name}: has no upstream address ({model.source}); point EDGEQ_ZOO_MIRROR at a folder"
        f" that holds {model.file}."
    )


def _in_mirror(model: ZooModel) -> Path | None:
    mirror = os.environ.get("EDGEQ_ZOO_MIRROR")
    if not mirror:
        return None
    for root, folders, names in os.walk(mirror):
        folders.sort()
        for path in (Path(root, name) for name in sorted(names)):
            if _holds(path, model):
                return path
    return None


def _holds(path: Path, model: ZooModel) -> bool:
    """Tell whether the file is that model; the size is compared first, most files end there."""
    try:
        return path.stat().st_size == model.bytes and _sha256(path) == model.sha256
    except OSError:
        return False


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _download(url: str) -> Iterator[bytes]:
    with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:
        while block := answer.read(_BLOCK):
            yield block


def _store(
    blocks: Iterator[bytes], model: ZooModel, target: Path, progress: Progress | None
) -> Path:
    """Write the blocks beside the target, check size and SHA-256, then rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                size += len(block)
                if size > model.bytes:
                    break
                digest.update(block)
                file.write(block)
                if progress:
                    progress(size, model.bytes)
            file.flush()
            os.fsync(file.fileno())
        if size != model.bytes or digest.hexdigest() != model.sha256:
            raise ZooError(
                f"zoo {model.name}: must be {model.bytes} bytes with SHA-256 {model.sha256}, the"
                " file fetched is another one; try again, or use EDGEQ_ZOO_MIRROR."
            )
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target
