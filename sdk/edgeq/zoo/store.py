"""Find, fetch and recognise zoo models and pictures; the tables are `models/` and `pictures/*.toml`."""

from __future__ import annotations

import hashlib
import os
import tempfile
import tomllib
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from pathlib import Path

from edgeq.errors import ZooError
from edgeq.vision.card import TaskCard

Progress = Callable[[int, int], None]  # bytes so far, bytes in all

_HERE = Path(__file__).parent
_SEEDS = _HERE.parent / "seeds"  # our own models come with the package
_BLOCK = 1 << 18
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class ZooFile:
    """A file known by its content. url: the upstream address pinned by commit, or None."""

    name: str
    file: str
    bytes: int
    sha256: str
    url: str | None


@dataclass(frozen=True, slots=True)
class ZooModel(ZooFile):
    """One model file that the zoo knows.

    source: where it comes from and what was done to it. card: how to use it, with task, licence
    and accuracy.
    """

    title: str
    source: str
    note: str
    card: TaskCard

    @property
    def packaged(self) -> bool:
        """True for our own models, which lie in the package."""
        return (_SEEDS / self.file).is_file()


@dataclass(frozen=True, slots=True)
class ZooPicture(ZooFile):
    """One photograph for calibration and demos. credit: where its author published it."""

    licence: str
    credit: str


@lru_cache(maxsize=1)
def _models() -> dict[str, ZooModel]:
    models = {}
    for path in [*sorted((_HERE / "models").glob("*.toml")), *sorted(_SEEDS.glob("*.toml"))]:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        card = TaskCard.from_toml(path, labels_dir=_HERE / "labels")
        about = {"note": "", **table["model"]}
        for entry in table["file"]:
            models[entry["name"]] = ZooModel(**{"url": None, **about, **entry}, card=card)
    return models


def list_pictures(name: str = "coco_sample") -> list[ZooPicture]:
    """Return the photographs of a set; raises ZooError for an unknown name."""
    path = _HERE / "pictures" / f"{name}.toml"
    known = sorted(p.stem for p in path.parent.glob("*.toml"))
    if name not in known:
        raise ZooError(f"zoo: pictures must be one of {', '.join(known)}, got {name!r}.")
    return [ZooPicture(**row) for row in tomllib.loads(path.read_text(encoding="utf-8"))["file"]]


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

    Our own models lie in the package. Others are looked for in the cache, then in the folder EDGEQ_ZOO_MIRROR (any name, any depth), then at the
    upstream address. Raises ZooError if it cannot be had or has the wrong content.
    """
    model = info(name)
    if _holds(_SEEDS / model.file, model):
        return _SEEDS / model.file
    try:
        return _fetch(model, cache_dir() / "zoo" / model.file, _Mirror(), progress)
    except _NoAddress:
        raise ZooError(
            f"zoo {name}: has no upstream address ({model.source}); point EDGEQ_ZOO_MIRROR at a"
            f" folder that holds {model.file}."
        ) from None


def pull_pictures(name: str = "coco_sample", *, progress: Progress | None = None) -> Path:
    """Return a folder with the photographs of a set; fetched and checked like models.

    `progress` counts pictures. Raises ZooError if one cannot be had.
    """
    pictures, mirror = list_pictures(name), _Mirror()
    folder = cache_dir() / "zoo" / name
    for at, picture in enumerate(pictures, 1):
        _fetch(picture, folder / picture.file, mirror, None)
        if progress:
            progress(at, len(pictures))
    return folder


class _NoAddress(Exception):
    """The file is neither cached nor mirrored and has no upstream address."""


class _Mirror:
    """The files below EDGEQ_ZOO_MIRROR by size; walked once, when first asked."""

    def __init__(self) -> None:
        self._by_size: dict[int, list[Path]] | None = None

    def find(self, wanted: ZooFile) -> Path | None:
        """Return a file with the wanted content."""
        if self._by_size is None:
            self._by_size = {}
            for root, folders, names in os.walk(os.environ.get("EDGEQ_ZOO_MIRROR", "")):
                folders.sort()
                for path in (Path(root, name) for name in sorted(names)):
                    with suppress(OSError):
                        self._by_size.setdefault(path.stat().st_size, []).append(path)
        return next((p for p in self._by_size.get(wanted.bytes, ()) if _holds(p, wanted)), None)


def _fetch(wanted: ZooFile, target: Path, mirror: _Mirror, progress: Progress | None) -> Path:
    try:
        if _holds(target, wanted):
            return target
        if found := mirror.find(wanted):
            with found.open("rb") as file:
                return _store(iter(lambda: file.read(_BLOCK), b""), wanted, target, progress)
        if wanted.url:
            return _store(_download(wanted.url), wanted, target, progress)
    except (OSError, HTTPException) as broken:
        origin = wanted.url or target
        raise ZooError(
            f"zoo {wanted.name}: cannot be fetched from {origin} ({broken}); go online, or point"
            " EDGEQ_ZOO_MIRROR at a folder that holds the file."
        ) from None
    raise _NoAddress


def _holds(path: Path, wanted: ZooFile) -> bool:
    """Tell whether the file is that one; the size is compared first, most files end there."""
    try:
        return path.stat().st_size == wanted.bytes and _sha256(path) == wanted.sha256
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
    blocks: Iterator[bytes], wanted: ZooFile, target: Path, progress: Progress | None
) -> Path:
    """Write the blocks beside the target, check size and SHA-256, then rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    digest, size = hashlib.sha256(), 0
    try:
        with os.fdopen(handle, "wb") as file:
            for block in blocks:
                size += len(block)
                if size > wanted.bytes:
                    break
                digest.update(block)
                file.write(block)
                if progress:
                    progress(size, wanted.bytes)
            file.flush()
            os.fsync(file.fileno())
        if size != wanted.bytes or digest.hexdigest() != wanted.sha256:
            raise ZooError(
                f"zoo {wanted.name}: must be {wanted.bytes} bytes with SHA-256 {wanted.sha256}, the"
                " file fetched is another one; try again, or use EDGEQ_ZOO_MIRROR."
            )
        os.replace(name, target)
    finally:
        Path(name).unlink(missing_ok=True)
    return target
