"""`edgeq bench --scenario`: MLPerf LoadGen asks, edgeq answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeq.cli.console import Out
from edgeq.cli.doctor import machine
from edgeq.cli.models import Runner, check_folder, open_runner
from edgeq.cli.tables import table
from edgeq.errors import DataError

SAMPLES, SAMPLE_BYTES = 64, 64_000_000  # at most so many, and so much memory for them


def run_scenarios(
    out: Out,
    files: Sequence[str],
    wanted: str,
    threads: int,
    seconds: float,
    queries: int | None,
    folder: Path | None,
) -> None:
    """Run each scenario on each file; LoadGen's logs stay in `folder`/FILE/SCENARIO."""
    from edgeq.report.loadgen import SCENARIOS, run_scenario

    names = list(dict.fromkeys(wanted.split(",")))
    if set(names) - set(SCENARIOS):
        raise DataError(f"--scenario {wanted}: must be one of {', '.join(SCENARIOS)}. Correct it.")
    if strange := [name for name in files if not name.lower().endswith(".edgeq")]:
        raise DataError(f"--scenario: every FILE must end in .edgeq, {strange[0]} does not.")
    folder = folder or Path("mlperf")
    check_folder(folder)
    results: list[dict[str, Any]] = []
    for name in files:
        runner = open_runner(name, threads=1)
        samples = _samples(runner)
        runner.raw.close()
        for scenario in names:
            with out.progress(f"{scenario} of {runner.path.name}") as step:
                done = run_scenario(
                    runner.path,
                    samples,
                    scenario,
                    threads=threads,
                    seconds=seconds,
                    queries=queries,
                    folder=folder / runner.path.stem / scenario,
                    step=step,
                )
            results.append({"file": str(runner.path), **done})
    out.document = {"machine": machine(), "seconds": seconds, "results": results}
    rows = [
        (Path(r["file"]).name, r["scenario"], r["queries"], r["p50_ms"], r["p90_ms"], r["p99_ms"],
         f"{r['samples_per_second']:.1f}", "VALID" if r["valid"] else "INVALID")
        for r in results
    ]  # fmt: skip
    head = ("file", "scenario", "queries", "p50 ms", "p90 ms", "p99 ms", "samples/s", "LoadGen")
    out.line(f"{machine()['cpu']}, {threads} thread{'' if threads == 1 else 's'}")
    out.line(table(head, rows))
    out.note(f"Latencies of a query (multistream: 8 samples). LoadGen's logs: {folder}/")


def _samples(runner: Runner) -> list[dict[str, Any]]:
    """Inputs from fixed seeds: noise pixels through the card where the file has one."""
    import numpy as np

    inputs = runner.raw.inputs
    size = sum(4 * int(np.prod(spec.shape)) for spec in inputs)
    count = max(8, min(SAMPLES, SAMPLE_BYTES // size))
    if len(inputs) == 1:
        return [{inputs[0].name: _noise(runner, seed)} for seed in range(count)]
    rng = np.random.default_rng(0)
    return [{s.name: rng.random(s.shape, np.float32) for s in inputs} for _ in range(count)]


def _noise(runner: Runner, seed: int) -> Any:
    """Make an input of noise; with a card noise pixels, so that the values are like those of pictures."""
    import numpy as np

    rng = np.random.default_rng(seed)
    if runner.card is not None:
        from edgeq.vision import preprocess

        rule = runner.card.input
        return preprocess(rng.integers(0, 256, (rule.height, rule.width, 3), np.uint8), rule)[0]
    return rng.random(runner.shape, np.float32)
