"""calibrate(): one streaming pass that agrees with the slow truth."""

from __future__ import annotations

import resource
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Array
from edgeq.quantizer import Statistics, calibrate, quantize
from edgeq.quantizer.calibrate import observed_values
from tests.quantizer.graphs import Net, detector, observe, samples, snr


def test_extremes_and_means_are_those_of_the_slow_truth() -> None:
    graph, batch = detector(), samples(detector(), 5)
    fast, slow = calibrate(graph, batch, threads=1), observe(graph, batch)
    assert fast.samples == 5
    assert list(fast.values) == observed_values(graph)
    for name, seen in fast.values.items():
        true = slow.values[name]
        wide = max(1.0, float(true.high.max() - true.low.min()))
        for key in ("low", "high", "mean"):
            np.testing.assert_allclose(
                getattr(seen, key), getattr(true, key), atol=2e-5 * wide, err_msg=name
            )
        assert seen.counts.sum() == true.counts.sum()  # small values are counted whole


def test_values_that_only_moved_are_not_observed() -> None:
    names = observed_values(detector())
    assert not {"head0", "head1", "out"} & set(names)
    assert {"x", "reg0", "sobj0", "pooled"} <= set(names)  # convolutions read `pooled`


def test_the_same_samples_give_the_same_file(tmp_path: Path) -> None:
    graph = detector()
    for name in ("a", "b"):
        calibrate(graph, iter(samples(graph, 4)), threads=2).save(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_order_of_samples_changes_no_range_and_no_histogram() -> None:
    graph, batch = detector(), samples(detector(), 6)
    a, b = calibrate(graph, batch), calibrate(graph, batch[::-1])
    for name, one in a.values.items():
        for key in ("low", "high", "counts"):
            np.testing.assert_array_equal(getattr(one, key), getattr(b.values[name], key))


def test_statistics_alone_suffice_to_quantize(tmp_path: Path) -> None:
    graph = detector()
    calibrate(graph, samples(graph, 6)).save(tmp_path / "s.npz")
    made = quantize(graph, Statistics.load(tmp_path / "s.npz"))
    assert snr(graph, made, samples(graph, 3, seed=7)) > 30


def test_samples_stream_and_progress_is_told() -> None:
    told: list[int] = []
    graph = detector()
    calibrate(graph, (s for s in samples(graph, 3)), progress=told.append)
    assert told == [1, 2, 3]


def test_a_graph_with_two_inputs_is_calibrated() -> None:
    net = Net()
    a, b = net.input(1, 4, 4, 3, name="a"), net.input(1, 4, 4, 3, name="b")
    graph = net.graph(net.node("Add", [a, b]))
    assert set(calibrate(graph, samples(graph, 2)).values) == {"a", "b", "add0"}


def test_no_samples_are_refused() -> None:
    with pytest.raises(QuantizeError, match="at least one sample"):
        calibrate(detector(), [])


def test_a_sample_of_another_shape_or_name_is_refused() -> None:
    for bad in ({"x": np.zeros((1, 3, 16, 16), np.float32)}, {"y": np.zeros((1, 16, 16, 3))}):
        with pytest.raises(QuantizeError, match=r"sample 0: input x must have the shape"):
            calibrate(detector(), [bad])


def test_values_that_are_not_finite_are_refused_with_the_sample() -> None:
    graph, batch = detector(), samples(detector(), 2)
    batch[1]["x"][0, 3, 3, 1] = np.nan
    with pytest.raises(QuantizeError, match="sample 1"):
        calibrate(graph, batch)
    net = Net()
    graph = net.graph(net.unary(net.input(1, 4), "Log", name="logged"))
    with pytest.raises(QuantizeError, match=r"value logged: must be finite"):
        calibrate(graph, [{"x": np.full((1, 4), -1.0, np.float32)}])


def pictures(shared: Path, count: int) -> Iterator[dict[str, Array]]:
    from edgeq.vision import preprocess, read_picture
    from edgeq.zoo import info

    rule = info("yolox_nano").card.input
    for path in sorted((shared / "data" / "coco" / "images").glob("*.jpg"))[:count]:
        yield {"images": preprocess(read_picture(path), rule)[0]}


@pytest.mark.slow
def test_yolox_nano_calibrates_in_seconds_and_below_300_mb(shared: Path) -> None:
    from edgeq.frontend.onnx_reader import read_onnx

    graph = read_onnx(shared / "models" / "yolox_nano" / "yolox_nano.onnx")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    begin = time.process_time()
    stats = calibrate(graph, pictures(shared, 64))
    assert time.process_time() - begin < 40  # it takes about 6
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024
    made = quantize(graph, stats)
    assert snr(graph, made, list(pictures(shared, 1))) > 10
