"""`edgeq bench`: latency, frames per second, memory and cold start; peers in the same run."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeq.cli.console import Out, failed, verb
from edgeq.cli.doctor import machine
from edgeq.cli.models import Runner, open_runner
from edgeq.cli.tables import percentile, table
from edgeq.errors import DataError, DeviceError

PEERS = ("ort",)
TURN_S = 0.25  # a runner's turn; all take turns, so that a disturbance meets each of them
WARM_UP = 3

Files = Annotated[
    list[str], typer.Argument(metavar="FILE", help=".edgeq, or .onnx for ONNX Runtime.")
]
Versus = Annotated[
    str | None,
    typer.Option(
        "--vs", metavar="ort", help="Also time the model that FILE was made from in ONNX Runtime."
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=64, metavar="N", help="CPU threads (all).")
]
Seconds = Annotated[
    float, typer.Option("--seconds", min=0.1, max=3600, metavar="S", help="Time for each file.")
]
Most = Annotated[
    list[str] | None,
    typer.Option(
        "--max",
        metavar="KEY=VALUE",
        help="Fail (exit 1) above this, e.g. p50_ms=10; .edgeq files only.",
    ),
]


@dataclass(slots=True)
class Timing:
    """A runner with its input and the milliseconds of its calls."""

    runner: Runner
    x: Any
    ms: list[float] = field(default_factory=list)


@verb
def bench(
    out: Out,
    files: Files,
    vs: Versus = None,
    threads: Threads = None,
    seconds: Seconds = 3.0,
    most: Most = None,
) -> None:
    """Measure speed and memory; several files take turns in one run."""
    limits = _limits(most or [])
    count = threads or machine()["cores"] or 1
    files = _with_peers(files, vs) if vs else files
    runners = [open_runner(name, threads=count) for name in files]
    timings = [Timing(one, random_input(one)) for one in runners]
    with out.progress(f"Timing {', '.join(one.path.name for one in runners)}") as step:
        take_turns(timings, seconds, step)
    results = [_result(one, count) for one in timings]
    broken = [
        f"{one['file']}: {key} {one[key]:.2f} is above {limit:g}"
        for one in results
        if one["runtime"] == "edgeq"
        for key, limit in limits.items()
        if one[key] > limit
    ]
    about = machine()
    out.document = {"machine": about, "seconds": seconds, "results": results}
    if limits:
        out.document["pass"] = not broken
    rows = [
        (Path(r["file"]).name, f"{r['runtime']} {r['precision']}", r["p50_ms"], r["p95_ms"], f"{r['fps']:.1f}",
         f"{r['peak_rss_mb']:.0f}", f"{r['cold_start_ms']:.0f}")
        for r in results
    ]  # fmt: skip
    out.line(f"{about['cpu']}, {count} thread{'' if count == 1 else 's'}")
    out.line(table(("file", "runs on", "p50 ms", "p95 ms", "FPS", "RSS MB", "cold ms"), rows))
    for text in broken:
        out.line(f"FAIL {text}")
    out.note("RSS: peak of a fresh process. cold: import, load and first run in it, without numpy.")
    if broken:
        failed()


def random_input(runner: Runner) -> Any:
    """Make an input of noise; with a card noise pixels, so that the values are those of pictures."""
    import numpy as np

    rng = np.random.default_rng(0)
    if runner.card is not None:
        from edgeq.vision import preprocess

        rule = runner.card.input
        return preprocess(rng.integers(0, 256, (rule.height, rule.width, 3), np.uint8), rule)[0]
    return rng.random(runner.shape, np.float32)


def take_turns(timings: list[Timing], seconds: float, step: Any) -> None:
    """Time all runners in turns until each had its seconds; the first call of a turn warms up."""
    for one in timings:
        for _ in range(WARM_UP):
            one.runner.run(one.x)
    turns = max(1, round(seconds / TURN_S))
    for turn in range(turns):
        for one in timings:
            one.runner.run(one.x)
            end = time.perf_counter() + seconds / turns
            while True:
                begin = time.perf_counter()
                one.runner.run(one.x)
                now = time.perf_counter()
                one.ms.append(1e3 * (now - begin))
                if now >= end:
                    break
        step(turn + 1, turns)


def _result(one: Timing, threads: int) -> dict[str, Any]:
    runner = one.runner
    cold = probe(runner, threads)
    return {
        "file": str(runner.path),
        "runtime": runner.runtime,
        "precision": runner.precision,
        "threads": threads,
        "runs": len(one.ms),
        "p50_ms": percentile(one.ms, 50),
        "p95_ms": percentile(one.ms, 95),
        "fps": 1e3 * len(one.ms) / sum(one.ms),
        "bytes": runner.path.stat().st_size,
        **cold,
    }


_PROBE = """
import json, sys, time
import numpy as np
path, runtime, threads, shape = sys.argv[1], sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4])
x = np.zeros(shape, np.float32)
def rss():
    try:
        with open("/proc/self/status") as status:
            return next(int(r.split()[1]) * 1024 / 1e6 for r in status if r.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource
        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6
for finder in sys.meta_path:  # a development install would look for changed C sources first
    if hasattr(finder, "rebuild_flag"):
        finder.rebuild_flag = False
bare, begin = rss(), time.perf_counter()
if runtime == "edgeq":
    import edgeq
    imported = time.perf_counter()
    session = edgeq.load(path, threads=threads)
    loaded = time.perf_counter()
    session.run(x)
else:
    import onnxruntime
    imported = time.perf_counter()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    put = session.get_inputs()[0]
    loaded = time.perf_counter()
    turn = len(put.shape) == 4 and put.shape[1] == 3
    session.run(None, {put.name: np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if turn else x})
end = time.perf_counter()
print(json.dumps({"peak_rss_mb": round(rss(), 1), "bare_rss_mb": round(bare, 1),
    "import_ms": round(1e3 * (imported - begin), 2), "load_ms": round(1e3 * (loaded - imported), 2),
    "first_run_ms": round(1e3 * (end - loaded), 2), "cold_start_ms": round(1e3 * (end - begin), 2)}))
"""


def probe(runner: Runner, threads: int) -> dict[str, Any]:
    """Measure peak memory and cold start in a fresh process (bare: Python with numpy)."""
    command = [
        sys.executable,
        "-c",
        _PROBE,
        str(runner.path),
        runner.runtime,
        str(threads),
        json.dumps(runner.shape),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceError(f"{runner.path}: a fresh process must be able to run it, failed: {last}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


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


def _with_peers(files: list[str], vs: str) -> list[str]:
    """Put behind each .edgeq file the float model that it was made from, unless .onnx files are given."""
    if set(vs.split(",")) - set(PEERS):
        raise DataError(f"--vs {vs}: must be one of {', '.join(PEERS)}. Correct it.")
    if any(not name.endswith(".edgeq") for name in files):
        return files
    pairs = [(name, str(_source_of(Path(name)))) for name in files]
    return list(dict.fromkeys(name for pair in pairs for name in pair))


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
        f"{path}: --vs ort needs the model it was made from ({name or 'not recorded'}), it is not beside"
        " it and not in the zoo. Give the .onnx file as a further FILE."
    )
