"""`edgeq demo --model NAME`: a detector of the zoo becomes an INT8 program; both look at photographs."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from edgeq.cli.agreement import Agreement
from edgeq.cli.console import Out
from edgeq.cli.doctor import machine
from edgeq.cli.models import Runner, check_folder, find_model, open_runner, require_card
from edgeq.cli.quantize import load_recipe, quantize_model, save
from edgeq.cli.run import write_picture
from edgeq.cli.samples import report_skipped
from edgeq.cli.tables import percentile, plural, size, table
from edgeq.cli.turns import Timing, take_turns
from edgeq.errors import DataError, ModelError

CALIBRATE = 32
SHOWN_SCORE = 0.4


def tour(
    out: Out, name: str, data: Path | None, folder: Path, threads: int | None, seconds: float
) -> None:
    """Quantize a detector of the zoo, run it on photographs, compare it with the float model."""
    from edgeq import zoo

    check_folder(folder)
    out.line("edgeq demo: a float object detector becomes an INT8 program\n")
    with out.progress(f"Fetching {name}") as step:
        model = find_model(name, progress=step)
    card = require_card(model, "the demo")
    out.line(f"1 model      {name}, {size(model.path.stat().st_size)} of float32, {card.licence}")
    with out.progress("Fetching pictures") as step:
        data = data or zoo.pull_pictures(progress=step)
    begin = time.perf_counter()
    made = quantize_model(out, model, data=data, samples=CALIBRATE, recipe=load_recipe("int8"))
    path = folder / f"{name}.edgeq"
    save(made, [path], "cpu")
    took = time.perf_counter() - begin
    out.line(f"2 quantize   {plural(made.samples, 'picture')} of {data}, {took:.1f} s -> {path}")

    count = threads or machine()["cores"] or 1
    float_, int8 = (
        open_runner(str(model.path), threads=count),
        open_runner(str(path), threads=count),
    )
    look = _look(out, float_, int8, data)
    picture = folder / "annotated.png"
    write_picture(picture, look["picture"])
    out.line(f"3 run        {look['name']}: {look['words']} -> {picture}")

    timings = [Timing(float_, look["x"]), Timing(int8, look["x"])]
    with out.progress("Timing, in turns") as step:
        take_turns(timings, seconds, step)
    accuracy = _accuracy(out, [float_, int8], data)
    results = [_result(one, figures) for one, figures in zip(timings, accuracy, strict=True)]
    out.line(
        f"4 compare    {plural(look['pictures'], 'picture')}, {plural(count, 'thread')}, {machine()['cpu']}\n"
    )
    _print(out, results, look["agreement"])
    out.document = {
        "machine": machine(),
        "data": str(data),
        "threads": count,
        "quantize_seconds": round(took, 2),
        "results": results,
        "agreement": look["agreement"].share,
        "mean_iou": look["agreement"].mean_iou,
        "annotated": str(picture),
        "edgeq": str(path),
    }
    out.line(f"\nLook at {picture}, then try:")
    for command in (
        f"run {path} YOUR_PICTURE.jpg --save {folder}",
        f"inspect {path}",
        f"bench {path} --vs ort",
    ):
        out.line(f"  {program()} {command}")


def program() -> str:
    """How this command is called from here: through the path if its folder is not on PATH."""
    import shutil
    import sys

    beside = Path(sys.executable).parent / "edgeq"
    if shutil.which("edgeq") or not beside.exists():
        return "edgeq"
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def _look(out: Out, float_: Runner, int8: Runner, data: Path) -> dict[str, Any]:
    """Run both on every picture; choose the one with the most kinds of things for the annotated copy."""
    from edgeq.report.data import calibration_data
    from edgeq.vision import Pipeline, draw, preprocess

    card = require_card(int8, "the demo")
    found = calibration_data(data, card, 10**6)
    truth, made = Pipeline(float_.run, card), Pipeline(int8.run, card)
    agreement, best, shown = Agreement(), -1, dict[str, Any]()
    pictures = 0
    with out.progress("Looking at pictures") as step:
        for sample in found:
            items = made(sample.image).items
            agreement.add(truth(sample.image).items, items)
            pictures += 1
            clear: list[Any] = [item for item in items if item.score >= SHOWN_SCORE]
            kinds = len({item.label for item in clear})
            if kinds > best:
                best, shown = (
                    kinds,
                    {"name": Path(sample.id).name, "image": sample.image, "items": clear},
                )
            step(pictures, len(found))
    report_skipped(out, found)
    if not pictures:
        raise DataError(
            f"{data}: must hold at least one usable picture, has none. Check the pictures."
        )
    counts: dict[str, int] = {}
    for item in shown["items"]:
        counts[item.label] = counts.get(item.label, 0) + 1
    words = ", ".join(f"{n} {label}" if n > 1 else label for label, n in counts.items())
    return {
        "name": shown["name"],
        "words": words or "nothing",
        "picture": draw(shown["image"], shown["items"]),
        "x": preprocess(shown["image"], card.input)[0],
        "agreement": agreement,
        "pictures": pictures,
    }


def _accuracy(out: Out, runners: list[Runner], data: Path) -> list[dict[str, float]]:
    """Measure both where the folder has labels."""
    from edgeq.report.data import open_data
    from edgeq.report.evaluate import evaluate

    card = require_card(runners[-1], "the demo")
    try:
        open_data(data, card)
    except (DataError, ModelError):
        return [{} for _ in runners]
    figures = []
    for one in runners:
        with out.progress(f"Accuracy of {one.path.name}") as step:
            figures.append(evaluate(one.run, card, data, progress=step)["metrics"])
    return figures


def _result(one: Timing, metrics: dict[str, float]) -> dict[str, Any]:
    runner = one.runner
    return {
        "file": str(runner.path),
        "runtime": runner.runtime,
        "precision": runner.precision,
        "bytes": runner.path.stat().st_size,
        "p50_ms": percentile(one.ms, 50),
        "p95_ms": percentile(one.ms, 95),
        "metrics": metrics,
    }


def _print(out: Out, results: list[dict[str, Any]], agreement: Agreement) -> None:
    a, b = results
    rows: list[tuple[object, ...]] = [
        (
            "file size",
            size(a["bytes"]),
            size(b["bytes"]),
            f"{a['bytes'] / b['bytes']:.1f}x smaller",
        ),
        speed_row(a, b),
    ]
    names = {"ap50": "AP50", "ap": "AP50:95"}
    for key in a["metrics"]:
        x, y = a["metrics"][key], b["metrics"][key]
        rows.append((names.get(key, key), f"{x:.4f}", f"{y:.4f}", f"{100 * (y - x):+.2f} points"))
    iou = agreement.mean_iou
    rows.append(("same boxes", "", f"{agreement.share:.1%}", f"mean IoU {iou:.3f}" if iou else ""))
    out.line(table(("", "float32, ONNX Runtime", "INT8, edgeq", ""), rows))


def speed_row(a: dict[str, Any], b: dict[str, Any]) -> tuple[object, ...]:
    ratio = a["p50_ms"] / b["p50_ms"]
    words = f"{ratio:.2f}x faster" if ratio >= 1 else f"{1 / ratio:.2f}x slower"
    return ("ms per picture (p50)", f"{a['p50_ms']:.2f}", f"{b['p50_ms']:.2f}", words)
