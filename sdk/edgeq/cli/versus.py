"""`edgeq bench --vs`: a program beside other runtimes with the model it was made from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.cli.bench import checked, keep, must_run
from edgeq.cli.console import Out
from edgeq.cli.doctor import machine
from edgeq.errors import DataError

if TYPE_CHECKING:
    from edgeq.report.speed import Contest


def with_peers(
    out: Out,
    files: Sequence[str],
    vs: str,
    counts: Sequence[int],
    seconds: float,
    folder: Path | None,
) -> list[dict[str, Any]]:
    """Time every .edgeq file against the peers; fills the document, returns all results."""
    from edgeq.report.peers import PEERS
    from edgeq.report.speed import compare, duel
    from edgeq.report.speed import markdown as report

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
        for one in results:
            if one["runtime"] == "edgeq":
                must_run(one)
        if folder is not None:
            about = machine()
            keep(place, {"machine": about, **document}, report(document, about))
            out.note(f"The tables, with every layer's share of the peak, are in {place}/bench.md")
    for name, model in document["models"].items():
        for count in counts:
            pair = duel([r for r in model["results"] if r["threads"] == count])
            if pair is not None:
                out.line(f"{name}, threads {count}: best peer / edgeq = {pair.ratio:.2f}")
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

    programs = [checked(name) for name in files if name.lower().endswith(".edgeq")]
    others = [checked(name) for name in files if not name.lower().endswith(".edgeq")]
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
