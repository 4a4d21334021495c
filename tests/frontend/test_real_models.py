"""Real models: read, canonicalise and write back computes what the file computes, without Transposes inside."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from edgeq.errors import ModelError, UnsupportedOp
from edgeq.frontend.onnx_reader import read_onnx
from edgeq.frontend.onnx_writer import save_onnx, write_onnx
from edgeq.graph.ir import Graph
from edgeq.graph.verify import verify
from edgeq.passes import canonicalise
from edgeq.passes.shuffles import SWAP

# file, shapes, Transposes that move data: at the outputs, as channel shuffles; nodes in the canonical graph
MODELS = [
    ("yolox_nano/yolox_nano", {}, 0, 0, 255),
    ("nanodet_m/nanodet_m", {}, 0, 29, 258),
    ("mobilenet_v1_075/mobilenet_v1_0.75_224", {}, 0, 0, 31),
    ("mobilenet_v2/mobilenet_v2_1.0_224_dequantized", {}, 0, 0, 66),
    ("resnet8_cifar/resnet8", {}, 0, 0, 16),
    ("resnet20_cifar/resnet20", {}, 0, 0, 35),
    ("vww_96/vww_96", {}, 0, 0, 31),
    ("ppocrv3_det/ppocrv3_det_640", {}, 0, 0, 149),
    ("ppocrv3_det/ch_PP-OCRv3_det_infer", {"x": (1, 3, 320, 320)}, 0, 0, 149),
    ("ppocr_cls/ppocr_cls_48x192", {}, 0, 0, 110),
    ("ppocr_cls/ch_ppocr_mobile_v2.0_cls_infer", {"x": (1, 3, 48, 192)}, 0, 0, 110),
    ("lprnet/lprnet", {}, 1, 0, 43),
]
NAMES = [m[0].split("/")[1] for m in MODELS]


def counts(graph: Graph) -> Counter[str]:
    return Counter(n.op if n.op != "Unary" else n.attrs["kind"] for n in graph.nodes)


def session(source: bytes | str) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def random_inputs(graph: Graph) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        n: rng.standard_normal(s).astype(np.float32) for n, s in graph.meta["onnx_inputs"].items()
    }


@pytest.mark.parametrize(("file", "shapes", "outer", "shuffles", "nodes"), MODELS, ids=NAMES)
def test_canonical_graph_moves_data_only_where_it_must(
    shared: Path,
    file: str,
    shapes: dict[str, tuple[int, ...]],
    outer: int,
    shuffles: int,
    nodes: int,
) -> None:
    graph = verify(read_onnx(shared / "models" / f"{file}.onnx", shapes=shapes))
    print(file, len(graph.nodes), dict(counts(graph)))
    turns = [n for n in graph.nodes if n.op == "Transpose"]
    assert sum(n.attrs["perm"] == SWAP for n in turns) == shuffles
    assert [n.outputs[0] in graph.outputs for n in turns if n.attrs["perm"] != SWAP] == [
        True
    ] * outer
    assert len(graph.nodes) == nodes
    assert canonicalise(graph) is graph
    assert len({n.name for n in graph.nodes}) == len(graph.nodes)


@pytest.mark.parametrize(("file", "shapes"), [m[:2] for m in MODELS], ids=NAMES)
def test_written_model_computes_what_the_file_computes(
    shared: Path, file: str, shapes: dict[str, tuple[int, ...]], tmp_path: Path
) -> None:
    path = shared / "models" / f"{file}.onnx"
    graph = read_onnx(path, shapes=shapes)
    inputs = random_inputs(graph)
    want = session(str(path)).run(list(graph.outputs), inputs)
    save_onnx(graph, tmp_path / "m.onnx", metadata={"recipe": "none"})
    written = onnx.load(tmp_path / "m.onnx")
    assert {p.key: p.value for p in written.metadata_props} == {"recipe": "none"}
    assert [i.name for i in written.graph.input] == list(graph.meta["onnx_inputs"])
    got = session(str(tmp_path / "m.onnx")).run(list(graph.outputs), inputs)
    for a, b in zip(got, want, strict=True):
        assert np.abs(a - b).max() <= 1e-4 * max(1.0, np.abs(b).max())
    turned = Counter(n.op_type for n in written.graph.node)["Transpose"]
    turns = Counter(n.op for n in graph.nodes)["Transpose"]
    assert turned <= turns + len(graph.outputs)


def test_written_model_returns_every_value_on_request(shared: Path) -> None:
    graph = read_onnx(shared / "models/nanodet_m/nanodet_m.onnx")
    names = [n.outputs[0] for n in graph.nodes]
    model, layout = write_onnx(graph, outputs=names)
    run = session(model.SerializeToString())
    values = dict(
        zip([o.name for o in run.get_outputs()], run.run(None, random_inputs(graph)), strict=True)
    )
    assert set(values) == set(names)
    for name, value in values.items():
        shape = value.transpose(0, 2, 3, 1).shape if layout[name] == "NCHW" else value.shape
        assert shape == graph.value(name).shape
    assert layout["input.1"] == "NCHW"
    with pytest.raises(ModelError, match="nobody"):
        write_onnx(graph, outputs=["nobody"])


def test_every_lstm_is_listed_in_one_error(shared: Path) -> None:
    with pytest.raises(UnsupportedOp) as e:
        read_onnx(shared / "models/en_number_rec/en_number_rec_32x320.onnx")
    assert str(e.value).count("(LSTM)") == 2


def test_open_shape_is_one_error_that_says_how(shared: Path) -> None:
    with pytest.raises(ModelError, match=r"--shape x=1,3,640,640"):
        read_onnx(shared / "models/ppocrv3_det/ch_PP-OCRv3_det_infer.onnx")
