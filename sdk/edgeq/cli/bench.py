"""`edgeq bench`: latency, frames per second, memory and cold start; peers and MLPerf scenarios."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeq.cli.console import Out, failed, verb
from edgeq.cli.doctor import machine
from edgeq.cli.models import check_folder, open_runner, require_file
from edgeq.cli.tables import markdown, plural, table
from edgeq.errors import DataError, DeviceError, ModelError

Files = Annotated[
    list[str],
    typer.Argument(
        metavar="FILE", help=".edgeq, .onnx (for ONNX Runtime) or .tflite (for LiteRT)."
    ),
]
Versus = Annotated[
    str | None,
    typer.Option(
        "--vs",
        metavar="PEERS",
        help="Also time the model that FILE was made from: ort,openvino,litert,ncnn.",
    ),
]
Scenario = Annotated[
    str | None,
    typer.Option(
        "--scenario",
        metavar="NAME",
        help="MLPerf LoadGen: singlestream, multistream or offline.",
    ),
]
Threads = Annotated[
    str | None,
    typer.Option("--threads", metavar="N[,N]", help="CPU threads (all; with --vs 1,2)."),
]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0.1, max=3600, metavar="S", help="Time for each file.")
]
Queries = Annotated[
    int | None,
    typer.Option(
        "--queries", min=1, metavar="N", help="Least queries of a scenario (64, 662 or 1)."
    ),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", metavar="DIR", help="Keep bench.md and bench.json, or LoadGen's logs, here."
    ),
]
Most = Annotated[
    list[str] | None,
    typer.Option(
        "--max",
        metavar="KEY=VALUE",
        help="Fail (exit 1) above this, e.g. p50_ms=10; .edgeq files only.",
    ),
]


@verb
def bench(
    out: Out,
    files: Files,
    vs: Versus = None,
    scenario: Scenario = None,
    threads: Threads = None,
    seconds: Seconds = 3.0,
    queries: Queries = None,
    folder: Folder = None,
    most: Most = None,
) -> None:
    """Measure speed and memory; all files take turns in one run."""
    limits = _limits(most or [])
    counts = _threads(threads, [1, 2] if vs else [machine()["cores"] or 1])
    if folder is not None:
        check_folder(folder)
    if scenario is not None:
        if vs or most or len(counts) > 1:
            raise DataError(
                "--scenario: must stand without --vs and --max and with one --threads, stands with"
                " more. Run them apart."
            )
        from edgeq.cli.scenario import run_scenarios

        run_scenarios(out, files, scenario, counts[0], seconds, queries, folder)
        return
    about = machine()
    out.document = {"machine": about, "seconds": seconds}
    if vs:
        from edgeq.cli.versus import with_peers

        results = with_peers(out, files, vs, counts, seconds, folder)
    else:
        results = _files(out, files, counts, seconds)
        out.document["results"] = results
        if folder is not None:
            keep(folder, out.document, markdown(HEAD, _rows(results)))
    out.line(f"{about['cpu']}, {plural(about['cores'], 'core')}")
    out.line(table(HEAD, _rows(results)))
    for one in results:
        if "error" in one:
            out.warn(
                f"{one['runtime']} {one['precision']}, {Path(one['file']).name}: {one['error']}"
            )
    broken = [
        f"{one['file']}: {key} {one[key]:.2f} is above {limit:g}"
        for one in results
        if one["runtime"] == "edgeq"
        for key, limit in limits.items()
        if one[key] > limit
    ]
    if limits:
        out.document["pass"] = not broken
    for text in broken:
        out.line(f"FAIL {text}")
    out.note(
        "RSS: peak of the process. cold: import, load and first run in a fresh one, without numpy."
    )
    if broken:
        failed()


HEAD = ("file", "runs on", "thr", "p50 ms", "p95 ms", "FPS", "RSS MB", "cold ms")


def _rows(results: Sequence[dict[str, Any]]) -> list[tuple[object, ...]]:
    rows: list[tuple[object, ...]] = []
    for r in results:
        integers = " in/out" * (r["runtime"] == "edgeq" and r["inputs"] != "float32")
        first = (
            Path(r["file"]).name,
            f"{r['runtime']} {r['precision']}{integers}",
            r["threads"],
        )
        if "error" in r:
            rows.append((*first, None, None, None, None, None))
        else:
            rows.append((*first, r["p50_ms"], r["p95_ms"], f"{r['fps']:.1f}",
                         f"{r['peak_rss_mb']:.0f}", f"{r['cold_start_ms']:.0f}"))  # fmt: skip
    return rows


def keep(folder: Path, document: dict[str, Any], tables: str) -> None:
    """Write bench.json and bench.md."""
    from edgeq.runtime.program import write_atomic

    write_atomic(folder / "bench.json", (json.dumps(document, indent=1) + "\n").encode())
    write_atomic(folder / "bench.md", (tables + "\n").encode())


def _files(
    out: Out, files: Sequence[str], counts: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Time the files themselves; one that cannot run is an error."""
    from edgeq.report.peers import from_file, measure

    rows = [from_file(checked(name)) for name in files]
    results = []
    for count in counts:
        with out.progress(f"Timing {', '.join(one.file.name for one in rows)}") as step:
            results += measure(rows, count, seconds, step)
    for one in results:
        must_run(one)
    return results


def must_run(result: dict[str, Any]) -> None:
    if "error" in result:
        raise DeviceError(
            f"{result['file']}: a process must be able to run it, says: {result['error']}"
        )


def checked(name: str) -> Path:
    """Open a file once, so that a damaged one is refused with its own sentence."""
    if not name.lower().endswith(".tflite"):
        return open_runner(name, threads=1).path
    from edgeq.report.peers import PACKAGES, PIP, installed

    require_file(Path(name), ModelError)
    if not installed(PACKAGES["litert"]):
        raise DeviceError(f"{name}: {PACKAGES['litert']} must be installed, is not. Run: {PIP}")
    return Path(name)


def _threads(text: str | None, default: list[int]) -> list[int]:
    if text is None:
        return default
    parts = text.split(",")
    if not all(part.isdecimal() and 1 <= int(part) <= 64 for part in parts):
        raise DataError(f"--threads {text}: must be numbers of 1..64 with commas. Correct it.")
    return [int(part) for part in parts]


def _limits(texts: list[str]) -> dict[str, float]:
    known = ("p50_ms", "p95_ms", "peak_rss_mb", "cold_start_ms")
    limits = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            limits[name] = float(value)
        except ValueError:
            limits[name] = -1.0
        if name not in known or limits[name] < 0:
            raise DataError(
                f"--max {text}: must be KEY=VALUE with KEY one of {', '.join(known)}. Correct it."
            )
    return limits
