"""`edgeq demo`: the tour. Two small models of our own find and read what stands on drawn panels.

No network is needed: the pictures are drawn here, and the float models come with the package.
`--model NAME` takes a detector of the zoo and photographs instead.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from edgeq.cli.console import Out, verb
from edgeq.cli.demo_zoo import program, speed_row, tour
from edgeq.cli.doctor import machine
from edgeq.cli.models import Model, Runner, check_folder, find_model, open_runner, require_card
from edgeq.cli.quantize import load_recipe, quantize_model, save
from edgeq.cli.run import write_picture
from edgeq.cli.tables import percentile, plural, size, table
from edgeq.cli.turns import Timing, take_turns

DETECTOR, READER = "panel_detect", "panel_read"
UNSEEN, CALIBRATION = 0, 900_000  # first seeds; training has used those from 1 000 000
CALIBRATE = 48
LOOK_AT = 24  # scenes, of which the one with the most kinds of things is shown
READABLE = ("display", "label_plate")
METRICS = {"ap50": "AP50", "ap": "AP50:95", "exact": "lines read exactly", "cer": "CER"}

ModelName = Annotated[
    str | None,
    typer.Option("--model", metavar="NAME", help="A detector of the zoo, on photographs."),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        envvar="EDGEQ_DEMO_DATA",
        help="With --model: your pictures (COCO photographs are fetched).",
    ),
]
Folder = Annotated[Path, typer.Option("--out", metavar="DIR", help="Where results go.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=64, metavar="N", help="CPU threads (all).")
]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0.1, max=600, metavar="S", help="Time to measure speed.")
]
Scenes = Annotated[
    int, typer.Option("--scenes", min=1, max=5000, metavar="N", help="Unseen scenes to measure.")
]


@dataclass(frozen=True, slots=True)
class _Pair:
    """One model twice: float in ONNX Runtime, INT8 in edgeq."""

    model: Model
    real: Runner
    integer: Runner


@verb
def demo(
    out: Out,
    model: ModelName = None,
    data: Data = None,
    folder: Folder = Path("out"),
    threads: Threads = None,
    seconds: Seconds = 2.0,
    scenes: Scenes = 200,
) -> None:
    """Draw scenes, quantize two small models, find and read what is there."""
    check_folder(folder)
    if model is not None or data is not None:
        tour(out, model or "yolox_nano", data, folder, threads, seconds)
        return
    out.line("edgeq demo: two float models become INT8 programs that look at drawn panels\n")
    unseen = _scenes(out, scenes, UNSEEN)
    calibration = _scenes(out, CALIBRATE, CALIBRATION)
    out.line(f"1 draw       {plural(scenes, 'unseen scene')}, {CALIBRATE} others to calibrate with")
    count = threads or machine()["cores"] or 1
    begin = time.perf_counter()
    pairs = [_pair(out, name, calibration, folder, count) for name in (DETECTOR, READER)]
    took = time.perf_counter() - begin
    out.line(f"2 quantize   {DETECTOR} and {READER}, {took:.1f} s -> {folder}")
    picture = folder / "annotated.png"
    words = _show(out, pairs[0].integer, pairs[1].integer, unseen, picture)
    out.line(f"3 run        {words} -> {picture}")
    results = [_compare(out, pair, unseen, seconds / 2) for pair in pairs]
    out.line(
        f"4 compare    {plural(scenes, 'scene')}, {plural(count, 'thread')}, {machine()['cpu']}\n"
    )
    for name, result in zip((DETECTOR, READER), results, strict=True):
        out.line(_table(name, *result) + "\n")
    out.document = {
        "machine": machine(),
        "scenes": scenes,
        "threads": count,
        "quantize_seconds": round(took, 2),
        "results": [one for result in results for one in result],
        "annotated": str(picture),
    }
    out.line(f"Look at {picture}, then try:")
    for command in (
        f"run {folder}/{DETECTOR}.edgeq YOUR_PICTURE.jpg --save {folder}",
        f"inspect {folder}/{DETECTOR}.edgeq",
        "demo --model yolox_nano   (a real detector and photographs, needs the network)",
        "zoo list                  (more real models)",
    ):
        out.line(f"  {program()} {command}")


def _scenes(out: Out, count: int, seed: int) -> Path:
    """A folder of drawn scenes in the cache; drawn on first use, all of it or nothing."""
    from edgeq import zoo
    from edgeq.seeds.scenes import write_folder

    folder = zoo.cache_dir() / "scenes" / f"{seed}_{count}"
    if (folder / "lines.csv").is_file():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        with out.progress(f"Drawing {plural(count, 'scene')}") as step:
            write_folder(draft, count, seed, progress=step)
        if folder.exists():
            shutil.rmtree(folder)
        draft.rename(folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _pair(out: Out, name: str, data: Path, folder: Path, threads: int) -> _Pair:
    model = find_model(name)
    made = quantize_model(out, model, data=data, samples=CALIBRATE * 4, recipe=load_recipe("int8"))
    path = folder / f"{name}.edgeq"
    save(made, [path], "cpu")
    real = open_runner(str(model.path), threads=threads)
    return _Pair(model, real, open_runner(str(path), threads=threads))


def _show(out: Out, detector: Runner, reader: Runner, data: Path, picture: Path) -> str:
    """Find and read on some scenes; paint the fullest one and say what was read there."""
    from edgeq.report.data import open_data
    from edgeq.vision import Pipeline, draw
    from edgeq.vision.decode import Box, Line

    card = require_card(detector, "the demo")
    find, read = (
        Pipeline(detector.run, card),
        Pipeline(reader.run, require_card(reader, "the demo")),
    )
    best, image, shown = -1, None, list[Any]()
    with out.progress("Looking at scenes") as step:
        samples = open_data(data, card).first(LOOK_AT)
        for number, sample in enumerate(samples, 1):
            items: list[Any] = []
            for box in find(sample.image).items:
                assert isinstance(box, Box)
                items.append(_read(read, sample.image, box) if box.label in READABLE else box)
            kinds = len({getattr(i, "label", "text") for i in items}) * 100 + len(items)
            if kinds > best:
                best, image, shown = kinds, sample.image, items
            step(number, LOOK_AT)
    assert image is not None
    write_picture(picture, draw(image, shown))
    texts = [i.text for i in shown if isinstance(i, Line)]
    boxes = len(shown) - len(texts)
    return f"{plural(boxes, 'thing')} found, read: {', '.join(texts) or 'nothing'}"


def _read(read: Any, image: Any, box: Any) -> Any:
    """Read what stands in a box: a Line in its place."""
    from edgeq.vision.decode import Line

    x0, y0 = max(0, round(box.x0)), max(0, round(box.y0))
    part = np.ascontiguousarray(
        image[y0 : max(round(box.y1), y0 + 2), x0 : max(round(box.x1), x0 + 2)]
    )
    (line,) = read(part).items
    corners = ((box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1))
    return Line(line.text, line.score, corners)


def _compare(
    out: Out, pair: _Pair, data: Path, seconds: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Size, time and accuracy of both, float first."""
    from edgeq.report.evaluate import evaluate

    card = require_card(pair.integer, "the demo")
    shape = (1, card.input.height, card.input.width, 3)
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    timings = [Timing(pair.real, x), Timing(pair.integer, x)]
    with out.progress(f"Timing {pair.model.path.stem}, in turns") as step:
        take_turns(timings, seconds, step)
    made = []
    for one in timings:
        with out.progress(f"Accuracy of {one.runner.path.name}") as step:
            metrics = evaluate(one.runner.run, card, data, progress=step)["metrics"]
        made.append(
            {
                "file": str(one.runner.path),
                "runtime": one.runner.runtime,
                "precision": one.runner.precision,
                "bytes": one.runner.path.stat().st_size,
                "p50_ms": percentile(one.ms, 50),
                "p95_ms": percentile(one.ms, 95),
                "metrics": metrics,
            }
        )
    return made[0], made[1]


def _table(name: str, a: dict[str, Any], b: dict[str, Any]) -> str:
    smaller = f"{a['bytes'] / b['bytes']:.1f}x smaller"
    rows: list[tuple[object, ...]] = [
        ("file size", size(a["bytes"]), size(b["bytes"]), smaller),
        speed_row(a, b),
    ]
    for key, word in METRICS.items():
        if key in a["metrics"]:
            x, y = a["metrics"][key], b["metrics"][key]
            rows.append((word, f"{x:.4f}", f"{y:.4f}", f"{100 * (y - x):+.2f} points"))
    return table((name, "float32, ONNX Runtime", "INT8, edgeq", ""), rows)
