"""edgeq beside ONNX Runtime, OpenVINO, LiteRT and ncnn: the same models, interleaved in one run.

    pip install 'edgeq[peers]'
    python tests/bench/peers.py [--models NAME ...] [--threads 1 2] [--seconds 2] [--out out/peers]

Every runtime sits in a process of its own; all take short turns, so that a disturbance meets each of
them. Writes peers.json and peers.md: medians and spread, and for edgeq the share of this machine's
measured vpdpbusd peak per layer. Needs the shared models (EDGEQ_SHARED, by default ../shared).

Each peer runs its float model and an int8 one at its best setting: ONNX Runtime and OpenVINO a QDQ model
that ONNX Runtime's quantizer makes from noise (speed does not depend on the values), LiteRT the .tflite
files that exist, ncnn a NAME.ncnn.param beside the model if there is one (its converter is no package).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EDGEQ_SHARED", ROOT.parent / "shared"))
PACKAGES = ("onnxruntime", "openvino", "ai-edge-litert", "ncnn", "numpy")
RUNTIMES = Path(__file__).with_name("runtimes.py")
TURN_S = 0.2

# name -> model under shared/models, data that calibrates it
MODELS = {
    "yolox_nano": ("yolox_nano/yolox_nano.onnx", "coco"),
    "nanodet_m": ("nanodet_m/nanodet_m.onnx", "coco"),
    "ppocrv3_det": ("ppocrv3_det/ppocrv3_det_640.onnx", "receipts"),
    "mobilenet_v1_075": ("mobilenet_v1_075/mobilenet_v1_0.75_224.onnx", "imagenet_dev"),
    "mobilenet_v2": ("mobilenet_v2/mobilenet_v2_1.0_224_dequantized.onnx", "imagenet_dev"),
    "resnet8": ("resnet8_cifar/resnet8.onnx", "cifar10_dev/dev.npz"),
    "vww_96": ("vww_96/vww_96.onnx", "coco"),
}


class Child:
    """A runtime with a model loaded, in its own process."""

    def __init__(self, runtime: str, precision: str, path: str, threads: int) -> None:
        self.runtime, self.precision, self.times = runtime, precision, []  # type: str, str, list[float]
        self.process = subprocess.Popen(
            [sys.executable, str(RUNTIMES), runtime, path, str(threads)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        answer = self.process.stdout.readline() if self.process.stdout else ""
        self.error = json.loads(answer or '{"error": "it ended"}').get("error", "")

    def turn(self, seconds: float) -> None:
        assert self.process.stdin and self.process.stdout
        print(seconds, file=self.process.stdin, flush=True)
        self.times += json.loads(self.process.stdout.readline())

    def close(self) -> None:
        if self.process.stdin:
            self.process.stdin.close()
        self.process.wait()

    def row(self) -> dict[str, Any]:
        row: dict[str, Any] = {"runtime": self.runtime, "precision": self.precision}
        if self.error:
            return row | {"error": self.error}
        low, middle, high = (
            statistics.quantiles(self.times, n=4) if len(self.times) > 1 else self.times * 3
        )
        return row | {"runs": len(self.times), "median_ms": middle, "quartiles_ms": [low, high],
                      "min_ms": min(self.times)}  # fmt: skip


def int8_onnx(source: Path, folder: Path) -> Path | None:
    """QDQ model for ONNX Runtime and OpenVINO; None without onnx."""
    target = folder / f"{source.stem}_int8.onnx"
    if target.exists():
        return target
    try:
        import onnx
        from onnx import version_converter
        from onnxruntime.quantization import (
            CalibrationDataReader,
            QuantFormat,
            QuantType,
            quantize_static,
        )
        from onnxruntime.quantization.shape_inference import quant_pre_process
    except ImportError:
        return None
    import onnxruntime as ort

    put = ort.InferenceSession(str(source), providers=["CPUExecutionProvider"]).get_inputs()[0]
    shape = [d if isinstance(d, int) else 1 for d in put.shape]

    class Noise(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            rng = np.random.default_rng(0)
            self.left = [{put.name: rng.random(shape, np.float32)} for _ in range(2)]

        def get_next(self) -> Any:
            return self.left.pop() if self.left else None

    ready = folder / f"{source.stem}_ready.onnx"
    model = onnx.load(str(source))
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
        model = version_converter.convert_version(model, 17)  # scales per channel need 13
    onnx.save(model, str(ready))
    try:
        quant_pre_process(str(ready), str(ready), skip_symbolic_shape=True)
    except Exception as error:  # the model as it is, then
        print(f"{source.stem}: not optimised before quantization: {error}", file=sys.stderr)
    quantize_static(str(ready), str(target), Noise(), quant_format=QuantFormat.QDQ, per_channel=True,
                    activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)  # fmt: skip
    return target


def candidates(source: Path, program: Path, folder: Path) -> list[tuple[str, str, str]]:
    """(runtime, precision, file) of everything that can run this model here."""
    rows = [("edgeq", "int8", str(program))]
    int8 = int8_onnx(source, folder)
    for name, package in (("ort", "onnxruntime"), ("openvino", "openvino")):
        if not installed(package):
            continue
        rows.append((name, "float", str(source)))
        if int8 is not None:
            rows.append((name, "int8", str(int8)))
    if installed("ai-edge-litert"):
        for lite in sorted(source.parent.glob("*.tflite")):
            rows.append(("litert", "float" if "float" in lite.stem else "int8", str(lite)))
    if installed("ncnn"):
        rows += [("ncnn", "float", str(p)) for p in source.parent.glob("*.ncnn.param")]
    return rows


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def measure(rows: list[tuple[str, str, str]], threads: int, seconds: float) -> list[dict[str, Any]]:
    children = [Child(*row, threads) for row in rows]
    try:
        for _ in range(max(3, round(seconds / TURN_S))):
            for child in children:
                if not child.error:
                    child.turn(TURN_S)
    finally:
        for child in children:
            child.close()
    return [child.row() | {"threads": threads} for child in children]


PEAK_C = """
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


def peak_gmacs(folder: Path) -> float:
    """GMAC/s of one core in vpdpbusd; 0 without a C compiler or AVX-512 VNNI."""
    source, binary = folder / "peak.c", folder / "peak"
    source.write_text(PEAK_C)
    try:
        subprocess.run(["cc", "-O2", "-mavx512vnni", "-mavx512f", str(source), "-o", str(binary)],
                       check=True, capture_output=True)  # fmt: skip
        return float(
            subprocess.run([str(binary)], check=True, capture_output=True, text=True).stdout
        )
    except (OSError, subprocess.CalledProcessError, ValueError):
        return 0.0


def layers(program: Path, peak: float) -> list[dict[str, Any]]:
    """Least time of each command on one thread, and its share of the peak."""
    from edgeq.runtime import Session

    with Session(str(program), threads=1) as session:
        best: list[dict[str, Any]] = session.profile(runs=5)
        for _ in range(10):
            for old, new in zip(best, session.profile(runs=3), strict=True):
                old["ms"] = min(old["ms"], new["ms"])
    return [
        {"node": r["node"], "opcode": r["opcode"], "ms": r["ms"],
         "gmacs": r["macs"] / r["ms"] / 1e6 if r["ms"] else 0.0,
         "peak_share": r["macs"] / r["ms"] / 1e6 / peak if r["ms"] and peak else 0.0}
        for r in best if r["opcode"] != "END"
    ]  # fmt: skip


def program_for(name: str, given: Path | None, folder: Path) -> Path:
    source, data = MODELS[name]
    if given is not None and (given / f"{Path(source).stem}.edgeq").exists():
        return given / f"{Path(source).stem}.edgeq"
    target = folder / f"{Path(source).stem}.edgeq"
    if not target.exists():
        subprocess.run(
            [sys.executable, "-m", "edgeq.cli", "quantize", str(SHARED / "models" / source), "--data",
             str(SHARED / "data" / data), "-o", str(target)], check=True)  # fmt: skip
    return target


def machine() -> dict[str, Any]:
    cpu = platform.processor()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((r.split(":")[1].strip() for r in lines if r.startswith("model name")), cpu)
    git = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"], capture_output=True,
                         text=True, check=False)  # fmt: skip
    return {"cpu": cpu, "cores": os.cpu_count(), "system": platform.platform(), "commit": git.stdout.strip(),
            "load": os.getloadavg()[0], "versions": {p: installed(p) for p in PACKAGES}}  # fmt: skip


def best_peer(rows: list[dict[str, Any]]) -> dict[str, Any] | None:
    peers = [r for r in rows if r["runtime"] != "edgeq" and "error" not in r]
    return min(peers, key=lambda r: float(r["median_ms"]), default=None)


def markdown(document: dict[str, Any]) -> str:
    about = document["machine"]
    out = [f"{about['cpu']}, {about['cores']} cores, commit {about['commit']}, load {about['load']:.1f}; "
           + ", ".join(f"{k} {v}" for k, v in about["versions"].items() if v)
           + f"; vpdpbusd peak {document['peak_gmacs']:.0f} GMAC/s.", "",
           "Median milliseconds (quartiles).", ""]  # fmt: skip
    for threads in document["threads"]:
        out += [f"| {threads} thread{'s' * (threads > 1)} | edgeq int8 | best peer | ratio | all peers |",
                "|---|---|---|---|---|"]  # fmt: skip
        ratios = []
        for name, rows in document["models"].items():
            mine = [r for r in rows if r["threads"] == threads]
            ours = next(r for r in mine if r["runtime"] == "edgeq")
            best = best_peer(mine)
            if "error" in ours or best is None:
                out.append(f"| {name} | {ours.get('error', '')} | | | |")
                continue
            ratio = best["median_ms"] / ours["median_ms"]
            ratios.append(ratio)
            low, high = ours["quartiles_ms"]
            others = "; ".join(
                f"{r['runtime']} {r['precision']} "
                + (f"{r['median_ms']:.3g} ({r['quartiles_ms'][0]:.3g}-{r['quartiles_ms'][1]:.3g})"
                   if "error" not in r else "failed")
                for r in mine if r["runtime"] != "edgeq")  # fmt: skip
            out.append(f"| {name} | {ours['median_ms']:.3g} ({low:.3g}-{high:.3g}) | {best['runtime']} "
                       f"{best['precision']} {best['median_ms']:.3g} | {ratio:.2f} | {others} |")  # fmt: skip
        if ratios:
            out.append(f"| geometric mean | | | {statistics.geometric_mean(ratios):.2f} | |")
        out.append("")
    return "\n".join(out)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each runtime and model")
    parser.add_argument("--programs", type=Path, help="folder of .edgeq files made before")
    parser.add_argument("--out", type=Path, default=Path("out/peers"))
    args = parser.parse_args()
    sys.path[:0] = [str(ROOT / "sdk"), str(ROOT)]
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        peak = peak_gmacs(Path(scratch))
    document: dict[str, Any] = {"machine": machine(), "peak_gmacs": peak, "threads": args.threads,
                                "models": {}, "layers": {}}  # fmt: skip
    for name in args.models:
        source = SHARED / "models" / MODELS[name][0]
        program = program_for(name, args.programs, args.out)
        rows = candidates(source, program, args.out)
        document["models"][name] = [r for n in args.threads for r in measure(rows, n, args.seconds)]
        document["layers"][name] = layers(program, peak)
        print(f"{name}: done", file=sys.stderr, flush=True)
        (args.out / "peers.json").write_text(json.dumps(document, indent=1))
        (args.out / "peers.md").write_text(markdown(document))
    print(markdown(document))


if __name__ == "__main__":
    main()
