"""edgeq beside ONNX Runtime, OpenVINO, LiteRT and ncnn on the models of the speed bar, in one run.

    pip install 'edgeq[peers]' && pip install --no-deps pnnx
    python -m tests.bench.peers [--models NAME ...] [--threads 1 2] [--seconds 2] [--out out/peers]

The same as `edgeq bench --vs ort,openvino,litert,ncnn` for each model, whose int8 program is made first.
Writes peers.json and peers.md. Needs the shared models (EDGEQ_SHARED, by default ../shared).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from edgeq.cli.doctor import machine
from edgeq.report.peers import PEERS, candidates
from edgeq.report.speed import Contest, compare, markdown

ROOT = Path(__file__).resolve().parents[2]
SHARED = Path(os.environ.get("EDGEQ_SHARED", ROOT.parent / "shared"))

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


def program_for(name: str, folder: Path) -> Path:
    """The int8 program of a model, made on first use."""
    source, data = MODELS[name]
    target = folder / f"{name}.edgeq"
    if not target.exists():
        subprocess.run(
            [sys.executable, "-m", "edgeq.cli", "quantize", str(SHARED / "models" / source), "--data",
             str(SHARED / "data" / data), "-o", str(target)], check=True)  # fmt: skip
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=list(MODELS))
    parser.add_argument("--peers", nargs="+", default=list(PEERS), choices=list(PEERS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--seconds", type=float, default=2.0, help="for each runtime and model")
    parser.add_argument("--programs", type=Path, help="folder of NAME.edgeq files made before")
    parser.add_argument("--out", type=Path, default=Path("out/peers"))
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    contests = []
    for name in args.models:
        source = SHARED / "models" / MODELS[name][0]
        program = program_for(name, args.programs or args.out)
        lites = sorted(source.parent.glob("*.tflite"))
        peers = candidates(program, source, args.peers, args.out / "models", lites=lites)
        contests.append(Contest(name, program, peers))

    def say(done: int, total: int) -> None:
        print(f"\r{done} of {total} turns", end="", file=sys.stderr, flush=True)

    document = compare(contests, args.threads, args.seconds, say)
    about = machine()
    (args.out / "peers.json").write_text(json.dumps({"machine": about, **document}, indent=1))
    (args.out / "peers.md").write_text(markdown(document, about))
    print(markdown(document, about))


if __name__ == "__main__":
    main()
