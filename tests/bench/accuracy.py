"""Accuracy of float and INT8 side by side for every model we can measure; writes JSON and Markdown.

    python tests/bench/accuracy.py [--models NAME ...] [--out out/accuracy] [--readme README.md]

With --readme it also draws accuracy.png beside this file.

It drives the command line as a user would: `edgeq quantize`, then `edgeq eval` of both files.
Needs the shared models and data (EDGEQ_SHARED, by default ../shared).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EDGEQ_SHARED", ROOT.parent / "shared"))

# model, data that measures it (and calibrates it), metric shown
ROWS = [
    ("yolox_nano", "coco", "ap"),
    ("nanodet_m", "coco", "ap"),
    ("mobilenet_v1_075", "imagenet_dev", "top1"),
    ("mobilenet_v2", "imagenet_dev", "top1"),
    ("resnet8", "cifar10_dev/dev.npz", "top1"),
    ("resnet20", "cifar10_dev/dev.npz", "top1"),
    ("vww_96", "coco", "top1"),
    ("ppocr_cls", "receipts", "top1"),
    ("lprnet", "plates", "exact"),
    ("ppocrv3_det_640", "receipts", "hmean"),
]
NAMES = {"ap": "AP50:95", "top1": "top-1", "exact": "exact", "hmean": "hmean"}


def edgeq(*args: str) -> dict[str, Any]:
    """Run one command with --json and return its document."""
    env = {
        **os.environ,
        "EDGEQ_ZOO_MIRROR": os.environ.get("EDGEQ_ZOO_MIRROR", str(SHARED / "models")),
    }
    command = [sys.executable, "-m", "edgeq.cli", *args, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def measure(name: str, data: str, metric: str, out: Path) -> dict[str, Any]:
    """Quantize one zoo model and evaluate float and INT8 on the same samples."""
    made, folder = out / f"{name}.edgeq", str(SHARED / "data" / data)
    quantized = edgeq("quantize", name, "-o", str(made), "--data", folder)
    evaluated = edgeq("eval", name, str(made), "--data", folder)
    real, integer = (r["metrics"][metric] for r in evaluated["results"])
    return {
        "model": name,
        "data": data.partition("/")[0],
        "metric": metric,
        "samples": evaluated["results"][0]["samples"],
        "float": real,
        "int8": integer,
        "delta": integer - real,
        "bytes": quantized["outputs"][0]["bytes"],
        "seconds": quantized["seconds"],
        "peak_rss_mb": quantized["peak_rss_mb"],
        "float_islands": quantized["float_islands"],
    }


def markdown(rows: list[dict[str, Any]]) -> str:
    """The table of the README."""
    lines = [
        "| model | data (samples) | metric | float32 | INT8 | difference | INT8 file | quantized in |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for r in rows:
        lines.append(
            f"| {r['model']} | {r['data']} ({r['samples']}) | {NAMES[r['metric']]} | {100 * r['float']:.1f} | "
            f"{100 * r['int8']:.1f} | {100 * r['delta']:+.1f} | {r['bytes'] / 1e6:.2f} MB | {r['seconds']:.0f} s |"
        )
    return "\n".join(lines)


def picture(rows: list[dict[str, Any]], path: Path) -> None:
    """Draw float32 and INT8 side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(8, 3.2), dpi=110)
    for shift, key, color, label in (
        (-0.2, "float", "#b8c4d6", "float32"),
        (0.2, "int8", "#1f6feb", "INT8"),
    ):
        spots = [i + shift for i in range(len(rows))]
        axes.bar(spots, [100 * r[key] for r in rows], 0.38, color=color, label=label)
    for i, r in enumerate(rows):
        top = 100 * max(r["float"], r["int8"]) + 1.5
        axes.text(i, top, f"{100 * r['delta']:+.1f}", ha="center", fontsize=8, color="#444444")
    names = [f"{r['model'].replace('_', ' ')}\n{NAMES[r['metric']]}" for r in rows]
    axes.set_xticks(range(len(rows)), names, fontsize=7, rotation=30, ha="right")
    axes.set_ylabel("accuracy, %", fontsize=8)
    axes.tick_params(axis="y", labelsize=8)
    axes.set_ylim(0, 108)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left", bbox_to_anchor=(0, 1.12))
    figure.tight_layout()
    figure.savefig(path, metadata={"Software": None})


def machine() -> dict[str, str]:
    """What the figures were measured on."""
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    packages = {p: version(p) for p in ("edgeq", "numpy", "onnx", "onnxruntime")}
    model = (
        re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
        if Path("/proc/cpuinfo").exists()
        else None
    )
    return {
        "cpu": model[1] if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "commit": commit.stdout.strip(),
        **packages,
    }


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument(
        "--models", nargs="*", default=[r[0] for r in ROWS], choices=[r[0] for r in ROWS]
    )
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "accuracy")
    parser.add_argument(
        "--readme", type=Path, help="replace the table between its accuracy markers"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name, data, metric in ROWS:
        if name in options.models:
            rows.append(measure(name, data, metric, options.out))
            print(markdown(rows).splitlines()[-1], flush=True)
    where = machine()
    text = markdown(rows) + "\n\n" + ", ".join(f"{k} {v}" for k, v in where.items()) + "\n"
    (options.out / "accuracy.json").write_text(
        json.dumps({"machine": where, "rows": rows}, indent=1)
    )
    (options.out / "accuracy.md").write_text(text)
    print(text)
    if options.readme:
        picture(rows, ROOT / "tests" / "bench" / "accuracy.png")
        page = options.readme.read_text()
        start, end = "<!-- accuracy: begin -->\n", "<!-- accuracy: end -->"
        head, _, rest = page.partition(start)
        options.readme.write_text(
            head + start + markdown(rows) + "\n" + end + rest.partition(end)[2]
        )


if __name__ == "__main__":
    main()
