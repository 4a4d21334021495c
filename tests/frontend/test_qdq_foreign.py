"""QDQ files of ONNX Runtime's tool compute what ONNX Runtime computes."""

from __future__ import annotations

import logging
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from tests.frontend.onnx_build import Model
from tests.frontend.qdq_build import compare, feeds


def residual(m: Model) -> None:
    x = m.op("Relu", m.op("Conv", "x", m.weight(8, 3, 3, 3), m.weight(8), pads=[1, 1, 1, 1]))
    a = m.op("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    b = m.op("Conv", a, m.weight(8, 1, 3, 3), m.weight(8), group=8, pads=[1, 1, 1, 1])
    d = m.op("Concat", m.op("HardSwish", b), a, axis=1)
    e = m.op("Add", m.op("Conv", d, m.weight(16, 16, 1, 1)), d)
    gate = m.op("Sigmoid", m.op("Conv", m.op("GlobalAveragePool", e), m.weight(16, 16, 1, 1)))
    f = m.op("LeakyRelu", m.op("Mul", e, gate), alpha=0.1)
    how = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    u = m.op("Resize", f, "", m.const([1, 1, 2, 2]), mode="nearest", **how)
    v = m.op("AveragePool", m.op("Concat", u, x, axis=1), kernel_shape=[2, 2], strides=[2, 2])
    w = m.op("Flatten", m.op("GlobalAveragePool", v))
    m.op("Softmax", m.op("Gemm", w, m.weight(10, 24), m.weight(10), transB=1), axis=-1)


def clamped(m: Model) -> None:
    """ONNX Runtime drops this Relu and lets the pair clamp, before arithmetic that could fold."""
    x = m.op("Relu", m.op("Conv", "x", m.weight(8, 3, 3, 3), m.weight(8), pads=[1, 1, 1, 1]))
    x = m.op("Clip", m.op("Conv", x, m.weight(8, 1, 3, 3), group=8), m.const(0.0), m.const(6.0))
    x = m.op("Mul", m.op("Add", x, m.const([[[[0.3]]]])), m.weight(8, 1, 1))
    x = m.op("Transpose", m.op("Reshape", x, m.ints(1, 2, 4, 196)), perm=[0, 2, 1, 3])
    x = m.op("ReduceMean", m.op("Reshape", x, m.ints(1, 8, 14, 14)), axes=[2, 3], keepdims=0)
    m.op("Add", m.op("MatMul", x, m.weight(8, 10)), m.weight(10))


def foreign(model: onnx.ModelProto, folder: Path, **how: Any) -> bytes:
    """The model quantized by ONNX Runtime's own tool."""
    tool = pytest.importorskip("onnxruntime.quantization")
    logging.getLogger().setLevel(logging.ERROR)
    rows = iter(feeds(model, 8, 1))

    class Reader(tool.CalibrationDataReader):  # type: ignore[misc, name-defined]
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(rows, None)

    onnx.save(model, folder / "float.onnx")
    tool.quantize_static(
        str(folder / "float.onnx"),
        str(folder / "qdq.onnx"),
        Reader(),
        quant_format=tool.QuantFormat.QDQ,
        **{k: getattr(tool.QuantType, v) if "type" in k[-5:] else v for k, v in how.items()},
    )
    return (folder / "qdq.onnx").read_bytes()


FOREIGN = [
    {"activation_type": a, "weight_type": "QInt8", "per_channel": p}
    for a, p in product(("QUInt8", "QInt8"), (False, True))
] + [
    {"activation_type": "QInt8", "weight_type": "QInt8", "extra_options": {"ActivationSymmetric": True}},
    {
        "activation_type": "QUInt8",
        "weight_type": "QInt8",
        "extra_options": {"DedicatedQDQPair": True, "AddQDQPairToWeight": True},
    },
]  # fmt: skip


@pytest.mark.parametrize("how", FOREIGN, ids=lambda h: "-".join(map(str, h.values())))
@pytest.mark.parametrize("build", [residual, clamped], ids=lambda f: f.__name__)
def test_files_of_onnx_runtime_compute_what_it_computes(
    tmp_path: Path, build: Callable[[Model], None], how: dict[str, Any]
) -> None:
    m = Model(14 if build is residual else 13)
    build(m)
    model = m.proto([(1, 3, 16, 16)])
    found, wrong = compare(foreign(model, tmp_path, **how), feeds(model, 16, 2))
    assert wrong == 0
    if build is clamped:
        assert set(found) == {0}
    assert found[0] + found[1] >= 0.97 * found.total(), found


def test_asymmetric_weights_are_stored_anew(tmp_path: Path) -> None:
    m = Model(13)
    clamped(m)
    model = m.proto([(1, 3, 16, 16)])
    body = foreign(model, tmp_path, activation_type="QUInt8", weight_type="QUInt8")
    found, wrong = compare(body, feeds(model, 8, 2))
    assert wrong == 0
    assert max(found) <= 2


def test_values_without_a_pair_follow_from_their_neighbours(tmp_path: Path) -> None:
    """Only products are quantized: Relu, Add, Mul, means and movements between them are not."""
    m = Model(13)
    clamped(m)
    model = m.proto([(1, 3, 16, 16)])
    body = foreign(model, tmp_path, op_types_to_quantize=["Conv", "MatMul"])
    assert compare(body, feeds(model, 8, 2))[1] == 0
