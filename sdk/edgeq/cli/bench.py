"""`edgeq bench`: latency, frames per second, memory and cold start; peers and MLPerf scenarios."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.cli.console import Out, failed, verb
from edgeq.cli.doctor import machine
from edgeq.cli.models import check_folder, open_runner
from edgeq.cli.tables import table
from edgeq.errors import DataError, DeviceError

if TYPE_CHECKING:
    from edgeq.report.speed import Contest

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
        results = _with_peers(out, files, vs, counts, seconds, folder)
    else:
        results = _files(out, files, counts, seconds)
        out.document["results"] = results
    out.line(f"{about['cpu']}, {about['cores']} core{'' if about['cores'] == 1 else 's'}")
    show(out, results)
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


def show(out: Out, results: Sequence[dict[str, Any]]) -> None:
    """Print one row for each result, by number of threads."""
    head = ("file", "runs on", "thr", "p50 ms", "p95 ms", "FPS", "RSS MB", "cold ms")
    rows: list[tuple[object, ...]] = []
    for r in results:
        runs_on = f"{r['runtime']} {r['precision']}"
        if r["runtime"] == "edgeq" and r["inputs"] != "float32":
            runs_on += " in/out"
        name = Path(r["file"]).name
        if "error" in r:
            rows.append((name, runs_on, r["threads"], None, None, "failed", "", ""))
            out.warn(f"{runs_on} of {name}: {r['error']}")
            continue
        rows.append((name, runs_on, r["threads"], r["p50_ms"], r["p95_ms"], f"{r['fps']:.1f}",
                     f"{r['peak_rss_mb']:.0f}", f"{r['cold_start_ms']:.0f}"))  # fmt: skip
    out.line(table(head, rows))


def _files(
    out: Out, files: Sequence[str], counts: Sequence[int], seconds: float
) -> list[dict[str, Any]]:
    """Time the files themselves; one that cannot run is an error."""
    from edgeq.report.peers import from_file, measure

    rows = [from_file(_checked(name)) for name in files]
    results = []
    for count in counts:
        with out.progress(f"Timing {', '.join(one.file.name for one in rows)}") as step:
            results += measure(rows, count, seconds, step)
    for one in results:
        if "error" in one:
            raise DeviceError(
                f"{one['file']}: a process must be able to run it, says: {one['error']}"
            )
    return results


def _checked(name: str) -> Path:
    """Open a file once, so that a damaged one is refused with its own sentence."""
    return Path(name) if name.lower().endswith(".tflite") else open_runner(name, threads=1).path


def _with_peers(
    out: Out,
    files: Sequence[str],
    vs: str,
    counts: Sequence[int],
    seconds: float,
    folder: Path | None,
) -> list[dict[str, Any]]:
    """Time every .edgeq file against the peers; fills the document, returns all results."""
    from edgeq.report.peers import PEERS
    from edgeq.report.speed import compare, markdown, ratio
    from edgeq.runtime.program import write_atomic

    wanted = list(dict.fromkeys(vs.split(",")))
    if set(wanted) - set(PEERS):
        raise DataError(f"--vs {vs}: must be one of {', '.join(PEERS)}. Correct it.")
    with _kept(folder) as place:
        with out.progress("Making the peers' models") as step:
            contests = _contests(files, wanted, place, step)
        for one in contests:
            for text in one.peers.left_out:
                out.warn(f"{one.name}: left out {text}")
        with out.progress(f"Timing {', '.join(one.name for one in contests)}") as step:
            document = compare(contests, counts, seconds, step)
        results = [r for one in document["models"].values() for r in one["results"]]
        out.document |= {key: document[key] for key in ("versions", "load", "peak_gmacs")}
        out.document["results"] = results
        out.document["left_out"] = {k: m["left_out"] for k, m in document["models"].items()}
        out.document["layers"] = {k: m["layers"] for k, m in document["models"].items()}
        if folder is not None:
            about = machine()
            text = json.dumps({"machine": about, **document}, indent=1)
            write_atomic(place / "bench.json", text.encode())
            write_atomic(place / "bench.md", markdown(document, about).encode())
            out.note(f"The tables, with every layer's share of the peak, are in {place}/bench.md")
    for name, model in document["models"].items():
        for count in counts:
            quotient = ratio([r for r in model["results"] if r["threads"] == count])
            if quotient is not None:
                out.line(f"{name}, threads {count}: best peer / edgeq = {quotient:.2f}")
    return results


@contextmanager
def _kept(folder: Path | None) -> Iterator[Path]:
    """Yield the folder asked for, or one that goes away."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder
        return
    with tempfile.TemporaryDirectory() as scratch:
        yield Path(scratch)


def _contests(files: Sequence[str], wanted: Sequence[str], place: Path, step: Any) -> list[Contest]:
    """One contest for each .edgeq file, against the float model it was made from.

    Other files given stand in for what would be looked for or made: a float .onnx for the source, a
    quantized one for the int8 model of ONNX Runtime and OpenVINO, .tflite files for LiteRT.
    """
    from edgeq.report.peers import candidates, is_qdq
    from edgeq.report.speed import Contest

    programs = [_checked(name) for name in files if name.lower().endswith(".edgeq")]
    others = [_checked(name) for name in files if not name.lower().endswith(".edgeq")]
    lites = [path for path in others if path.suffix.lower() == ".tflite"]
    floats = [path for path in others if path not in lites and not is_qdq(path)]
    if not programs or (others and len(programs) > 1):
        raise DataError(
            f"--vs: must have one .edgeq file, or several and nothing else, has {len(programs)} and"
            f" {len(others)} others. Name them so."
        )
    found = []
    for at, program in enumerate(programs):
        step(at, len(programs))
        source = floats[0] if floats else _source_of(program)
        peers = candidates(
            program,
            source,
            wanted,
            place / "models",
            qdq=next((path for path in others if is_qdq(path)), None),
            lites=lites or _lites_of(source) if "litert" in wanted else (),
        )
        found.append(Contest(program.stem, program, peers))
    return found


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


def _source_of(path: Path) -> Path:
    from edgeq import zoo
    from edgeq.errors import ZooError
    from edgeq.runtime.program import Program

    origin = (
        Program.from_bytes(path.read_bytes()).meta.get("provenance", {}) if path.is_file() else {}
    )
    name, digest = str(origin.get("source", "")), str(origin.get("source_sha256", ""))
    for model in zoo.list_models():
        if model.sha256 == digest:
            try:
                return zoo.pull(model.name)
            except ZooError:
                break
    beside = path.with_name(Path(name).name) if name else path
    if name and beside.is_file():
        return beside
    raise DataError(
        f"{path}: --vs needs the model it was made from ({name or 'not recorded'}), it is not beside"
        " it and not in the zoo. Give the .onnx file as a further FILE."
    )


def _lites_of(source: Path) -> list[Path]:
    """Fetch the .tflite files of the zoo that are the same network as `source`."""
    from edgeq import zoo
    from edgeq.errors import ZooError

    known = zoo.list_models()
    own = next((m for m in known if m.file == source.name), None)
    found = []
    for model in known:
        if own is not None and model.title == own.title and model.file.endswith(".tflite"):
            with suppress(ZooError):
                found.append(zoo.pull(model.name))
    return found
