"""edgeq beside its peers as one document: results, the share of the machine's peak, tables."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from edgeq.report.peers import PACKAGES, Peers, installed, measure
from edgeq.runtime import Session

Step = Callable[[int, int], None]  # (done, total)


@dataclass(frozen=True, slots=True)
class Contest:
    """One network: its name, its program and who runs against it."""

    name: str
    program: Path
    peers: Peers


def compare(
    contests: Sequence[Contest],
    threads: Sequence[int],
    seconds: float,
    step: Step,
) -> dict[str, Any]:
    """Time every contest for each number of threads, `seconds` for each runtime.

    Returns {"versions", "load", "peak_gmacs", "models": {name: {"results", "left_out", "layers"}}}.
    """
    peak = peak_gmacs()
    document: dict[str, Any] = {
        "versions": {name: installed(package) for name, package in PACKAGES.items()},
        "load": os.getloadavg()[0],
        "peak_gmacs": peak,
        "models": {},
    }
    rounds = [(contest, count) for contest in contests for count in threads]
    for at, (contest, count) in enumerate(rounds):
        entry = document["models"].setdefault(
            contest.name, {"results": [], "left_out": contest.peers.left_out}
        )
        entry["results"] += measure(
            contest.peers.rows, count, seconds, partial(_of_round, step, at, len(rounds))
        )
    for contest in contests:
        document["models"][contest.name]["layers"] = layers(contest.program, peak)
    return document


def _of_round(step: Step, at: int, rounds: int, done: int, total: int) -> None:
    step(at * total + done, rounds * total)


def layers(program: Path, peak: float) -> list[dict[str, Any]]:
    """Return the least time of each command on one thread, its GMAC/s, and its share of the peak."""
    with Session(program, threads=1) as session:
        best = session.profile(runs=5)
        for _ in range(10):
            for old, new in zip(best, session.profile(runs=3), strict=True):
                old["ms"] = min(old["ms"], new["ms"])
    rows = []
    for row in best:
        rate = row["macs"] / row["ms"] / 1e6 if row["ms"] else 0.0
        if row["opcode"] != "END":
            rows.append({"node": row["node"], "opcode": row["opcode"], "ms": row["ms"], "gmacs": rate,
                         "peak_share": rate / peak if peak else None})  # fmt: skip
    return rows


def peak_gmacs() -> float:
    """Measure one core's VPDPBUSD in GMAC/s; 0 without a C compiler or AVX-512 VNNI."""
    with tempfile.TemporaryDirectory() as folder:
        source, binary = Path(folder) / "peak.c", Path(folder) / "peak"
        source.write_text(_PEAK)
        try:
            command = ["cc", "-O2", "-mavx512vnni", "-mavx512f", str(source), "-o", str(binary)]
            subprocess.run(command, check=True, capture_output=True)
            done = subprocess.run([str(binary)], check=True, capture_output=True, text=True)
            return float(done.stdout)
        except (OSError, subprocess.CalledProcessError, ValueError):
            return 0.0


_PEAK = """
#include <immintrin.h>
#include <stdio.h>
#include <time.h>
int main(void) {
  double best = 0;
  for (int r = 0; r < 40; r++) {
    __m512i a[16], b = _mm512_set1_epi8((char)(r + 1));
#pragma GCC unroll 16
    for (int i = 0; i < 16; i++) a[i] = _mm512_set1_epi32(r + i);
    struct timespec s, e;
    clock_gettime(CLOCK_MONOTONIC, &s);
    for (int k = 0; k < 500000; k++)
#pragma GCC unroll 16
      for (int i = 0; i < 16; i++)
        __asm__ volatile("vpdpbusd %1, %1, %0" : "+v"(a[i]) : "v"(b));
    clock_gettime(CLOCK_MONOTONIC, &e);
    double t = (double)(e.tv_sec - s.tv_sec) + 1e-9 * (double)(e.tv_nsec - s.tv_nsec);
    double rate = 16.0 * 500000 * 64 / t / 1e9;
    if (rate > best) best = rate;
  }
  printf("%f", best);
}
"""


@dataclass(frozen=True, slots=True)
class Duel:
    """A result of edgeq, the peer that comes closest to it or ahead, and peer time / edgeq time."""

    ours: dict[str, Any]
    peer: dict[str, Any]
    ratio: float


def duel(results: Sequence[dict[str, Any]]) -> Duel | None:
    """Pick the least ratio of results with one number of threads.

    Equal work meets equal work: a peer with integers in and out meets edgeq timed so, where it was.
    """
    ours = [r for r in results if r["runtime"] == "edgeq" and "error" not in r]
    peers = [r for r in results if r["runtime"] != "edgeq" and "error" not in r]
    if not ours or not peers:
        return None
    pairs = [(next((o for o in ours if o["inputs"] == p["inputs"]), ours[0]), p) for p in peers]
    return min(
        (Duel(one, peer, peer["p50_ms"] / one["p50_ms"]) for one, peer in pairs),
        key=lambda pair: pair.ratio,
    )


def markdown(document: dict[str, Any], machine: dict[str, Any]) -> str:
    """Write the tables for a README: one per number of threads, then what was left out, then the layers."""
    versions = ", ".join(f"{k} {v}" for k, v in document["versions"].items() if v)
    out = [
        f"{machine['cpu']}, {machine['cores']} cores, load {document['load']:.1f}; {versions};"
        f" VPDPBUSD peak {document['peak_gmacs']:.0f} GMAC/s.",
        "",
        "Median milliseconds (quartiles). Peers with integers in and out (native) meet edgeq timed so.",
        "",
    ]
    models = document["models"]
    threads = dict.fromkeys(r["threads"] for m in models.values() for r in m["results"])
    for count in threads:
        out += [
            f"| {count} thread{'s' * (count > 1)} | edgeq | best peer | ratio | all others |",
            "|---|---|---|---|---|",
        ]
        ratios = []
        for name, model in models.items():
            rows = [r for r in model["results"] if r["threads"] == count]
            pair = duel(rows)
            if pair is None:
                out.append(f"| {name} | {'; '.join(_cell(r) for r in rows)} | | | |")
                continue
            ratios.append(pair.ratio)
            others = "; ".join(_cell(r) for r in rows if r is not pair.ours and r is not pair.peer)
            cells = [name, _cell(pair.ours), _cell(pair.peer), f"{pair.ratio:.2f}", others]
            out.append(f"| {' | '.join(cells)} |")
        if ratios:
            out.append(f"| geometric mean | | | {statistics.geometric_mean(ratios):.2f} | |")
        out.append("")
    out += [f"{name}: {text}\n" for name, model in models.items() for text in model["left_out"]]
    for name, model in models.items():
        out += [
            f"### {name}, 1 thread",
            "",
            "| layer | ms | GMAC/s | of the peak |",
            "|---|---|---|---|",
        ]
        out += [
            f"| {r['node']} ({r['opcode']}) | {r['ms']:.4f} | {r['gmacs']:.1f} | "
            + (f"{r['peak_share']:.0%} |" if r["peak_share"] else "|")
            for r in model["layers"]
        ]  # fmt: skip
        out.append("")
    return "\n".join(out)


def _cell(r: dict[str, Any]) -> str:
    what = f"{r['runtime']} {r['precision']}" + " native" * (r["inputs"] != "float32")
    if "error" in r:
        return f"{what} failed: {r['error'][:60]}"
    low, high = r["quartiles_ms"]
    return f"{what} {r['p50_ms']:.3g} ({low:.3g}-{high:.3g})"
