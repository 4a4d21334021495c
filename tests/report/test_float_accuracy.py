"""The pipelines reproduce the published float accuracy of every zoo model on real pictures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeq.report.evaluate import evaluate
from edgeq.vision import Run
from edgeq.zoo import info, pull

# models/README.md, four decimals; for cifar10_dev and imagenet_dev (a part of the pictures behind
# the README) the figures that the reference scripts in shared/examples/eval give
FIGURES = [
    ("resnet8", "cifar10_dev", {"top1": 0.7525}),
    ("resnet20", "cifar10_dev", {"top1": 0.8108}),
    ("vww_96", "coco", {"top1": 0.8588}),
    ("yolox_nano", "coco", {"ap50": 0.5038, "ap": 0.3299}),
    ("nanodet_m", "coco", {"ap50": 0.4444, "ap": 0.2802}),
    ("mobilenet_v1_075", "coco", {"top1": 0.4133, "top5": 0.6467}),
    ("mobilenet_v2", "coco", {"top1": 0.4867, "top5": 0.7067}),
    ("mobilenet_v1_075", "imagenet_dev", {"top1": 0.8533, "top5": 0.9700}),
    ("mobilenet_v2", "imagenet_dev", {"top1": 0.8767, "top5": 0.9850}),
    ("lprnet", "plates", {"exact": 0.8900, "cer": 0.0250}),
    ("ppocr_cls", "receipts", {"top1": 0.9404}),
    ("en_number_rec", "receipts", {"exact": 0.6183, "cer": 0.1033}),
    (
        "ppocrv3_det_640",
        "receipts",
        {"precision": 0.8385, "recall": 0.7674, "hmean": 0.8014},
    ),
    (
        "ppocrv3_det_960",
        "receipts",
        {"precision": 0.8925, "recall": 0.8846, "hmean": 0.8885},
    ),
]


def onnx_runner(path: Path) -> Run:
    ort = pytest.importorskip("onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 3
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    source = session.get_inputs()[0].name
    names = [value.name for value in session.get_outputs()]

    def run(tensor: np.ndarray) -> dict[str, np.ndarray]:
        nchw = np.ascontiguousarray(tensor.transpose(0, 3, 1, 2))
        return dict(zip(names, session.run(names, {source: nchw}), strict=True))

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "data", "wanted"), FIGURES, ids=[f"{name}-{data}" for name, data, _ in FIGURES]
)
def test_float_model_has_its_published_accuracy(
    name: str,
    data: str,
    wanted: dict[str, float],
    shared: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("EDGEQ_ZOO_MIRROR", str(shared / "models"))
    monkeypatch.setenv("EDGEQ_CACHE", str(tmp_path))
    if not (shared / "data" / data).is_dir():
        pytest.skip(f"{data} is absent")
    report = evaluate(onnx_runner(pull(name)), info(name).card, shared / "data" / data)
    assert report["skipped"] == 0
    measured = {key: report["metrics"][key] for key in wanted}
    assert measured == pytest.approx(wanted, abs=5e-5 + 1e-9)
