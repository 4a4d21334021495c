"""W4A8 beside W8A8 of the same models, interleaved in one process; writes w4a8.json and w4a8.md.

    python tests/bench/w4a8.py [--models NAME ...] [--threads 1 2] [--seconds 3] [--out out/w4a8]

Both are quantized with the command line from the same statistics. `all` has every layer in 4 bits: the
worst case for speed. Ratios of medians and of minima; only those mean something. A second int8 session
of the same file shows the noise. Needs the shared models and data (EDGEQ_SHARED, by default ../shared).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EDGEQ_SHARED", ROOT.parent / "shared"))
sys.path[:0] = [str(ROOT / "sdk"), str(ROOT)]

# name -> data that calibrates it
MODELS = {
    "resnet8": "cifar10_dev/dev.npz",
    "mobilenet_v1_075": "imagenet_dev",
    "mobilenet_v2": "imagenet_dev",
    "yolox_nano": "coco",
    "nanodet_m": "coco",
    "ppocrv3_det_640": "receipts",
}
ALL = 'name = "all"\n[weights]\nbits = 4\nkeep8 = []\n'
KINDS = ("int8", "again", "w4a8", "all")  # `again`: int8 once more


def quantized(name: str, out: Path) -> dict[str, Path]:
    """Quantize by every recipe; files made before are used again."""
    (out / "all.toml").write_text(ALL)
    files = {}
    for kind, recipe in (("int8", "int8"), ("w4a8", "w4a8"), ("all", str(out / "all.toml"))):
        files[kind] = out / f"{name}.{kind}.edgeq"
        if not files[kind].exists():
            subprocess.run(
                [sys.executable, "-m", "edgeq.cli", "quantize", name, "-q", "-o", str(files[kind]),
                 "--recipe", recipe, "--data", str(SHARED / "data" / MODELS[name]),
                 "--stats", str(out / f"{name}.npz")],
                check=True, stdout=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": f"{ROOT / 'sdk'}:{ROOT}",
                     "EDGEQ_ZOO_MIRROR": os.environ.get("EDGEQ_ZOO_MIRROR", str(SHARED))},
            )  # fmt: skip
    return files | {"again": files["int8"]}


def measure(files: dict[str, Path], threads: int, seconds: float) -> dict[str, Any]:
    """Median and least milliseconds of each kind; all of them take turns of three runs."""
    import edgeq

    sessions = {kind: edgeq.load(files[kind], threads=threads) for kind in KINDS}
    times: dict[str, list[float]] = {kind: [] for kind in KINDS}
    x = np.random.default_rng(0).random(sessions["int8"].inputs[0].shape, np.float32)
    for session in sessions.values():
        for _ in range(5):
            session.run(x)
    end, order = time.perf_counter() + seconds, list(KINDS)
    while time.perf_counter() < end:
        order = order[1:] + order[:1]  # nobody always follows the same one
        for kind in order:
            sessions[kind].run(x)  # warms the caches with its own weights
            for _ in range(3):
                begin = time.perf_counter()
                sessions[kind].run(x)
                times[kind].append(1e3 * (time.perf_counter() - begin))
    for session in sessions.values():
        session.close()
    median = {k: statistics.median(v) for k, v in times.items()}
    least = {k: min(v) for k, v in times.items()}
    return {
        "median_ms": median,
        "min_ms": least,
        "ratio_median": {k: median[k] / median["int8"] for k in KINDS},
        "ratio_min": {k: least[k] / least["int8"] for k in KINDS},
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| model | threads | W8A8 ms | W8A8 again | W4A8 | every layer W4A8 | W8A8 file | W4A8 file |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        ratios = (
            f"{row['ratio_median'][kind]:.3f} ({row['ratio_min'][kind]:.3f})" for kind in KINDS[1:]
        )
        sizes = (f"{row['bytes'][kind] / 1e6:.2f} MB" for kind in ("int8", "w4a8"))
        lines.append(
            f"| {row['model']} | {row['threads']} | {row['median_ms']['int8']:.3g} | "
            + " | ".join((*ratios, *sizes)) + " |"
        )  # fmt: skip
    for kind in KINDS[1:]:
        mean = statistics.geometric_mean(row["ratio_median"][kind] for row in rows)
        lines.append(f"\n{kind}: geometric mean of the ratios {mean:.3f}")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, write after each model, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="for each model and threads")
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "w4a8")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in args.models:
        files = quantized(name, args.out)
        sizes = {kind: path.stat().st_size for kind, path in files.items()}
        for threads in args.threads:
            row = measure(files, threads, args.seconds)
            rows.append({"model": name, "threads": threads, "bytes": sizes, **row})
            print(markdown(rows[-1:]).splitlines()[2], file=sys.stderr, flush=True)
        (args.out / "w4a8.json").write_text(json.dumps(rows, indent=1))
        (args.out / "w4a8.md").write_text(markdown(rows))
    print(markdown(rows))


if __name__ == "__main__":
    main()
