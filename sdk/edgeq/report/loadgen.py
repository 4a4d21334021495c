"""MLPerf-style scenarios through the real LoadGen (PyPI `mlcommons-loadgen`, extra `bench`).

LoadGen asks the queries, takes the times and writes its own logs; what is reported here is read back from
its detail log. A scenario's rules: MLPerf Inference (Reddi et al., 2020), LoadGen's documentation.
"""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from edgeq.errors import DeviceError
from edgeq.runtime import Session

Array = NDArray[Any]
Sample = Mapping[str, Array]
Step = Callable[[int, int], None]  # (done, total)

# scenario -> least queries of a run that LoadGen's early stopping can judge at its percentile
SCENARIOS = {"singlestream": 64, "multistream": 662, "offline": 1}
SAMPLES_PER_QUERY = 8  # of multistream
PIP = 'pip install "edgeq[bench]"'


def run_scenario(
    program: Path,
    samples: Sequence[Sample],
    scenario: str,
    *,
    threads: int,
    seconds: float,
    queries: int | None,
    folder: Path,
    step: Step,
) -> dict[str, Any]:
    """Run one scenario for `seconds` and `queries` at least; LoadGen's logs are in `folder` afterwards.

    singlestream runs one sample on all `threads`; multistream and offline run one sample on each.
    Returns {"valid", "queries", "samples_per_second", "p50_ms", "p90_ms", "p99_ms", ...}: latencies of a
    query; offline has one query and no latencies. Raises DeviceError without LoadGen.
    """
    try:
        import mlperf_loadgen as lg
    except ModuleNotFoundError:
        raise DeviceError(
            f"--scenario: mlcommons-loadgen must be installed, is not. Run: {PIP}"
        ) from None
    least = queries or SCENARIOS[scenario]
    workers = 1 if scenario == "singlestream" else threads
    with _Pool(program, samples, workers, threads // workers) as pool:
        took = pool.rehearse()
        settings = _settings(lg, scenario, seconds, least, took, workers)
        total = max(least * (SAMPLES_PER_QUERY if scenario == "multistream" else 1),
                    round(seconds / took * workers))  # fmt: skip
        _start(lg, pool, settings, folder, lambda done: step(min(done, total), total))
    if pool.broken is not None:
        raise pool.broken
    return {
        "scenario": scenario,
        "threads": threads,
        "workers": workers,
        **read_log(folder / "mlperf_log_detail.txt", scenario),
        "logs": str(folder),
    }


class _Pool:
    """Sessions that take samples off one queue. An exception ends the work, not LoadGen's test."""

    def __init__(
        self, program: Path, samples: Sequence[Sample], workers: int, threads: int
    ) -> None:
        self.samples = samples
        self.sessions = [Session(program, threads=threads) for _ in range(workers)]
        self.executor = ThreadPoolExecutor(workers) if workers > 1 else None
        self.broken: BaseException | None = None
        self.done = 0

    def __enter__(self) -> _Pool:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.executor is not None:
            self.executor.shutdown()
        for session in self.sessions:
            session.close()

    def rehearse(self) -> float:
        """Warm up; return the least seconds of one run with the other workers at rest."""
        times = []
        for session in self.sessions:
            for _ in range(5):
                begin = time.perf_counter()
                session.run(self.samples[0])
                times.append(time.perf_counter() - begin)
        return min(times)

    def work(
        self, ids: Sequence[int], indices: Sequence[int], complete: Callable[[int], None]
    ) -> None:
        """Run the samples of a query and report each as it is done."""
        left = deque(zip(ids, indices, strict=True))

        def take(session: Session) -> None:
            while left:
                try:
                    one, index = left.popleft()
                except IndexError:  # another worker was faster
                    return
                try:
                    if self.broken is None:
                        session.run(self.samples[index])
                except BaseException as error:
                    self.broken = error
                complete(one)

        if self.executor is None:
            take(self.sessions[0])
        else:
            list(self.executor.map(take, self.sessions))
        self.done += len(ids)


def _settings(lg: Any, scenario: str, seconds: float, least: int, took: float, workers: int) -> Any:
    settings = lg.TestSettings()
    settings.scenario = {
        "singlestream": lg.TestScenario.SingleStream,
        "multistream": lg.TestScenario.MultiStream,
        "offline": lg.TestScenario.Offline,
    }[scenario]
    settings.mode = lg.TestMode.PerformanceOnly
    settings.min_duration_ms = round(1e3 * seconds)
    settings.min_query_count = least
    settings.single_stream_expected_latency_ns = max(1, round(1e9 * took))
    settings.multi_stream_samples_per_query = SAMPLES_PER_QUERY
    settings.multi_stream_expected_latency_ns = max(
        1, round(1e9 * took * SAMPLES_PER_QUERY / workers)
    )
    settings.offline_expected_qps = workers / took
    return settings


def _start(lg: Any, pool: _Pool, settings: Any, folder: Path, seen: Callable[[int], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)

    def complete(one: int) -> None:
        lg.QuerySamplesComplete([lg.QuerySampleResponse(one, 0, 0)])

    def issue(ids: Sequence[int], indices: Sequence[int]) -> None:
        try:
            pool.work(ids, indices, complete)
            seen(pool.done)
        except BaseException as error:  # must not reach LoadGen's C++
            pool.broken = error

    logs = lg.LogSettings()
    logs.log_output.outdir = str(folder)
    logs.log_output.copy_summary_to_stdout = False
    logs.enable_trace = False
    system = lg.ConstructFastSUT(issue, lambda: None)
    count = len(pool.samples)
    library = lg.ConstructQSL(count, count, lambda _: None, lambda _: None)
    try:  # no audit file: LoadGen would look for one in the current folder
        lg.StartTestWithLogSettings(system, library, settings, logs, str(folder / "no audit"))
    finally:
        lg.DestroyQSL(library)
        lg.DestroyFastSUT(system)


def read_log(path: Path, scenario: str) -> dict[str, Any]:
    """Read the results of a run from LoadGen's detail log. Raises DeviceError when there are none."""
    found: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith(":::MLLOG"):
            entry = json.loads(line.removeprefix(":::MLLOG"))
            found[entry["key"]] = entry["value"]
    if "result_validity" not in found:
        raise DeviceError(
            f"{path}: LoadGen must have written a result, has not. See its errors there."
        )
    kind = "per_query_latency" if scenario == "multistream" else "latency"
    mean = found[
        "result_mean_query_latency_ns" if scenario == "multistream" else "result_mean_latency_ns"
    ]
    rate = {
        "singlestream": lambda: found["result_qps_with_loadgen_overhead"],
        "multistream": lambda: SAMPLES_PER_QUERY * 1e9 / mean,
        "offline": lambda: found["result_samples_per_second"],
    }[scenario]()
    latencies = {
        f"p{p}_ms": None
        if scenario == "offline"
        else found[f"result_{p}.00_percentile_{kind}_ns"] / 1e6
        for p in (50, 90, 99)
    }
    return {
        "valid": found["result_validity"] == "VALID",
        "queries": int(found["result_query_count"]),
        "samples_per_second": float(rate),
        **latencies,
    }
