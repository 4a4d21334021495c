"""`edgeq run`: pictures, folders or video in; boxes, classes or text out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.cli.console import Out, verb
from edgeq.cli.models import Runner, check_folder, digest, native_outputs, open_runner, require_card
from edgeq.cli.tables import cut, percentile, plural, table
from edgeq.errors import DataError, DeviceError

if TYPE_CHECKING:
    from edgeq.vision import Frame, Item, Result, Source

KEY_OF_TASK = {"detection": "boxes", "classification": "classes", "text_direction": "classes"}
FEW = 3  # pictures: each result gets its own row

FileArg = Annotated[str, typer.Argument(metavar="FILE", help="An .edgeq file (or .onnx).")]
Images = Annotated[list[Path], typer.Argument(metavar="IMAGE", help="Pictures, folders or videos.")]
Save = Annotated[
    Path | None, typer.Option("--save", metavar="DIR", help="Write annotated pictures.")
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=64, metavar="N", help="CPU threads.")
]
Hash = Annotated[
    bool, typer.Option("--hash", help="SHA-256 of the output integers, the same on every machine.")
]
Score = Annotated[
    float | None,
    typer.Option("--score", min=0, max=1, metavar="S", help="Replace the card's threshold."),
]
Card = Annotated[
    Path | None, typer.Option("--card", metavar="TOML", help="Replace the file's task card.")
]


@verb
def run(
    out: Out,
    file: FileArg,
    images: Images,
    save: Save = None,
    threads: Threads = None,
    hashes: Hash = False,
    score: Score = None,
    card: Card = None,
) -> None:
    """Run a model on pictures and show what it finds."""
    from edgeq.vision import Pipeline, open_source

    sources = [open_source(path) for path in images]
    if save is not None:
        check_folder(save)
    runner = open_runner(file, card=card, threads=threads)
    rule = require_card(runner, "run")
    if hashes and runner.runtime != "edgeq":
        raise DeviceError(f"{file}: --hash needs the integers of an .edgeq file. Leave --hash out.")
    pipeline = Pipeline(runner.run, rule)
    total = sum(source.count or 0 for source in sources)
    results, saved = [], set[Path]()
    begin = time.perf_counter()
    with out.progress(f"Running {Path(file).name}") as step:
        for frame in _frames(sources):
            found = pipeline(frame.image, score=score)
            row = _document(frame, found, KEY_OF_TASK.get(rule.task, "lines"))
            if hashes:
                row.update(_hashes(runner, frame))
            if save is not None:
                row["saved"] = str(_save(save, frame, found.items, saved))
            results.append((row, found))
            step(len(results), total)
    seconds = time.perf_counter() - begin
    skipped = [one for source in sources for one in source.skipped]
    if skipped:
        out.warn(
            f"skipped {plural(len(skipped), 'picture')} that cannot be used; the first: {skipped[0].reason}"
        )
    if not results:
        raise DataError(
            f"{images[0]}: must give at least one usable picture, gave none. Check the pictures."
        )
    speed = _speed([found.ms for _, found in results], seconds)
    out.document = {"results": [row for row, _ in results], "skipped": len(skipped), **speed}
    _print(out, results)
    if hashes:
        for row, _ in results:
            for name, digest in row["hashes"].items():
                out.line(f"{digest}  {name}  {Path(row['image']).name}")
    _summary(out, len(results), len(skipped), speed)
    if save is not None:
        out.note(f"Annotated: {save}/ ({plural(len(saved), 'picture')})")


def _frames(sources: list[Source]) -> Iterator[Frame]:
    for source in sources:
        yield from source


def _document(frame: Frame, found: Result, key: str) -> dict[str, Any]:
    items = [rounded(asdict(item)) for item in found.items]
    ms = {name: round(value, 3) for name, value in found.ms.items()}
    height, width = frame.image.shape[:2]
    return {"image": frame.name, "width": width, "height": height, key: items, "ms": ms}


def rounded(value: Any) -> Any:
    """Round every number in a result to 4 places: pixels and scores mean no more."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(item) for item in value]
    return round(float(value), 4) if isinstance(value, float) else value


def _hashes(runner: Runner, frame: Frame) -> dict[str, Any]:
    """Hash the native integers: one digest per output, and one over all of them in order."""
    from edgeq.vision import preprocess

    assert runner.card is not None
    outputs = native_outputs(runner, preprocess(frame.image, runner.card.input)[0])
    return {
        "hash": digest(outputs),
        "hashes": {name: digest({name: y}) for name, y in outputs.items()},
    }


def _save(folder: Path, frame: Frame, items: tuple[Item, ...], saved: set[Path]) -> Path:
    from edgeq.vision import draw

    path, frame_number = Path(frame.name.partition("#")[0]), frame.name.partition("#")[2]
    stem = path.stem + (f"_{int(frame_number):06d}" if frame_number.isdigit() else "")
    ending = ".jpg" if frame_number or path.suffix.lower() in (".jpg", ".jpeg") else ".png"
    target, number = folder / f"{stem}{ending}", 2
    while target in saved or _same(target, path):
        target, number = folder / f"{stem}-{number}{ending}", number + 1
    write_picture(target, draw(frame.image, items))
    saved.add(target)
    return target


def _same(target: Path, source: Path) -> bool:
    return target.exists() and source.exists() and target.samefile(source)


def write_picture(path: Path, image: Any) -> None:
    """Write a picture atomically; the ending decides the format."""
    import cv2

    from edgeq.runtime.program import write_atomic

    good, body = cv2.imencode(path.suffix, image)
    if not good:
        raise DataError(f"{path}: must end in .png or .jpg, OpenCV cannot write it. Rename it.")
    write_atomic(path, body.tobytes())


def _speed(parts: list[dict[str, float]], seconds: float) -> dict[str, Any]:
    """Summarise milliseconds per part: p50 and p95, and pictures per second of pre + run + post."""
    ms = {
        name: {
            "p50": percentile([one[name] for one in parts], 50),
            "p95": percentile([one[name] for one in parts], 95),
        }
        for name in ("pre", "run", "post")
    }
    busy = sum(sum(one.values()) for one in parts) / 1e3
    return {"ms": ms, "fps": len(parts) / max(busy, 1e-9), "seconds": round(seconds, 3)}


def _summary(out: Out, count: int, skipped: int, speed: dict[str, Any]) -> None:
    left = f" ({skipped} skipped)" if skipped else ""
    out.line(f"{plural(count, 'picture')}{left}, {speed['fps']:.1f} per second")
    ms = ", ".join(f"{name} {v['p50']:.2f}/{v['p95']:.2f}" for name, v in speed["ms"].items())
    out.line(f"ms p50/p95: {ms}")


def _print(out: Out, results: list[tuple[dict[str, Any], Result]]) -> None:
    if out.as_json:
        return
    if len(results) <= FEW or out.verbose:
        for row, found in results:
            out.line(f"{row['image']}  {row['width']}x{row['height']}")
            out.line(_table(found.items) or "  nothing found")
            out.line()
        return
    rows = [
        (Path(row["image"]).name, f"{sum(found.ms.values()):.2f}", _short(found.items))
        for row, found in results
    ]
    out.line(table(("picture", "ms", "found"), rows))
    out.line()


def _table(items: tuple[Item, ...]) -> str:
    """List the results; all items of a picture are of one kind."""
    from edgeq.vision import Box, Class, Line

    boxes = [
        (one.label, f"{one.score:.2f}", *(round(v) for v in (one.x0, one.y0, one.x1, one.y1)))
        for one in items
        if isinstance(one, Box)
    ]
    lines = [
        (
            one.text or "(text)",
            f"{one.score:.2f}",
            *(round(min(v)) for v in zip(*one.polygon, strict=True)),
        )
        for one in items
        if isinstance(one, Line)
    ]
    classes = [(one.label, f"{one.score:.3f}") for one in items if isinstance(one, Class)]
    if boxes:
        return table(("label", "score", "x0", "y0", "x1", "y1"), boxes)
    if lines:
        return table(("text", "score", "x", "y"), lines)
    return table(("class", "score"), classes) if classes else ""


def _short(items: tuple[Item, ...]) -> str:
    """List what was found in a few words: `2 person, dog` or the best class."""
    names = [str(getattr(item, "label", "") or getattr(item, "text", "")) for item in items]
    if not names:
        return "nothing"
    kind = type(items[0]).__name__
    if kind == "Class":
        return f"{names[0]} {items[0].score:.2f}"
    if kind == "Line":
        text = " | ".join(name for name in names if name)
        return cut(text, 48) if text else plural(len(names), "line")
    counts = {name: names.count(name) for name in names}
    return cut(", ".join(f"{n} {name}" if n > 1 else name for name, n in counts.items()), 48)
