"""`edgeq eval`: accuracy of several files side by side on a labelled folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeq.cli.console import Out, failed, verb
from edgeq.cli.models import Runner, open_runner, require_card, share_card
from edgeq.cli.tables import markdown, plural, size, table
from edgeq.errors import DataError

Files = Annotated[list[str], typer.Argument(metavar="FILE", help=".edgeq, .onnx or zoo names.")]
Data = Annotated[Path, typer.Option("--data", metavar="DIR|NPZ", help="Labelled pictures.")]
Limit = Annotated[
    int | None, typer.Option("--limit", min=1, metavar="N", help="Only the first N samples.")
]
Least = Annotated[
    list[str] | None,
    typer.Option(
        "--min", metavar="METRIC=VALUE", help="Fail (exit 1) below this; may be repeated."
    ),
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the table for a README.")]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=64, metavar="N", help="CPU threads.")
]
Card = Annotated[
    Path | None, typer.Option("--card", metavar="TOML", help="Task card for all files.")
]


@verb
def evaluate(
    out: Out,
    files: Files,
    data: Data,
    limit: Limit = None,
    least: Least = None,
    as_markdown: Markdown = False,
    threads: Threads = None,
    card: Card = None,
) -> None:
    """Measure accuracy on labelled pictures; several files side by side."""
    limits = _limits(least or [])
    runners = share_card([open_runner(name, card=card, threads=threads) for name in files])
    results = []
    for runner in runners:
        results.append(_measure(out, runner, data, limit))
    skipped = max_of(results, "skipped")
    if skipped:
        out.warn(f"skipped {plural(skipped, 'picture')} that cannot be used.")
    broken = _below(results, limits)
    out.document = {"data": str(data), "results": results}
    if limits:
        out.document["pass"] = not broken
    _print(out, results, as_markdown)
    for text in broken:
        out.line(f"FAIL {text}")
    if broken:
        failed()


def max_of(results: list[dict[str, Any]], key: str) -> int:
    """Return the largest count under `key`."""
    return max(int(one[key]) for one in results)


def _measure(out: Out, runner: Runner, data: Path, limit: int | None) -> dict[str, Any]:
    from edgeq.report.evaluate import evaluate as measure

    rule = require_card(runner, "eval")
    with out.progress(f"Evaluating {runner.path.name}") as step:
        found = measure(runner.run, rule, data, limit=limit, progress=step)
    about = {"file": str(runner.path), "runtime": runner.runtime, "precision": runner.precision}
    return {**about, "bytes": runner.path.stat().st_size, **found}


def _limits(texts: list[str]) -> dict[str, float]:
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            raise DataError(
                f"--min {text}: must look like METRIC=VALUE, e.g. ap50=0.45. Correct it."
            ) from None
    return limits


def _below(results: list[dict[str, Any]], limits: dict[str, float]) -> list[str]:
    """Name every figure under its limit; an accuracy of `cer` is better when smaller."""
    broken = []
    for name, least in limits.items():
        for one in results:
            if name not in one["metrics"]:
                known = ", ".join(one["metrics"])
                raise DataError(
                    f"--min {name}: must be a metric of this task ({known}). Correct it."
                )
            value = one["metrics"][name]
            if value > least if name == "cer" else value < least:
                word = "above" if name == "cer" else "below"
                broken.append(f"{one['file']}: {name} {value:.4f} is {word} {least:g}")
    return broken


def _print(out: Out, results: list[dict[str, Any]], as_markdown: bool) -> None:
    names = list(results[0]["metrics"])
    rows = [
        (
            Path(one["file"]).name,
            f"{one['runtime']} {one['precision']}",
            size(one["bytes"]),
            one["samples"],
            *(f"{one['metrics'][name]:.4f}" for name in names),
        )
        for one in results
    ]
    head = ("file", "runs on", "size", "samples", *names)
    out.line(markdown(head, rows) if as_markdown else table(head, rows))
    if len(results) > 1 and not as_markdown:
        first, rest = results[0]["metrics"], results[1:]
        for one in rest:
            change = ", ".join(f"{n} {100 * (one['metrics'][n] - first[n]):+.2f}" for n in names)
            out.note(
                f"{Path(one['file']).name} against {Path(results[0]['file']).name}: {change} points"
            )
