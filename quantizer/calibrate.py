"""calibrate(): stream samples once through the float graph and keep what they showed.

ONNX Runtime computes. The values to observe are spread over a few sessions, each with as many of
them as fit a memory budget: computing a picture several times is cheaper than holding it all.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.frontend.onnx_writer import write_onnx
from edgeq.graph.ir import Array, Graph
from edgeq.quantizer import flow
from edgeq.quantizer.statistics import (
    BINS,
    Statistics,
    ValueStatistics,
    histogram,
    layout,
    rebinned,
)

PART_BYTES = 48 << 20  # of float32 values that one session returns
COUNTED = 1 << 14  # elements of a value and sample that go into its histogram, at most
Progress = Callable[[int], None]  # samples so far


def calibrate(
    graph: Graph,
    samples: Iterable[Mapping[str, Array]],
    *,
    progress: Progress | None = None,
    threads: int | None = None,
) -> Statistics:
    """Run every sample (graph input name -> float array in the graph's shape) and return statistics.

    Extremes and means are exact; histograms count an evenly strided part. Same samples, same
    statistics on the same machine. Raises QuantizeError for no samples, other shapes, or values that are not finite.
    """
    parts = [_Part.of(graph, names, threads) for names in _parts(graph)]
    seen = {name: _Seen(flow.channels(graph, name)) for name in observed_values(graph)}
    count = 0
    for sample in samples:
        feeds = _checked(graph, sample, count)
        for name in graph.inputs:
            _watch(seen[name], name, feeds[name], count)
        for part in parts:
            for name, x in part.run(feeds):
                _watch(seen[name], name, x, count)
        count += 1
        if progress:
            progress(count)
    if not count:
        raise QuantizeError(
            "calibration: must have at least one sample, got none. Give it pictures."
        )
    return Statistics({name: one.result(count) for name, one in seen.items()}, count)


def observed_values(graph: Graph) -> list[str]:
    """Inputs, values that a node computes, channels picked, and inputs of Conv-like nodes.

    Other values only moved: they share.
    """
    computed = {
        n.outputs[0] for n in graph.nodes if not flow.moves(n) or flow.picks_channels(graph, n)
    }
    means = {n.inputs[0] for n in graph.nodes if n.op in flow.WEIGHTED}
    return [v for v in flow.activations(graph) if v in computed or v in means or v in graph.inputs]


def _parts(graph: Graph) -> list[list[str]]:
    """Cut the observed values, in order, into runs of at most PART_BYTES."""
    parts: list[list[str]] = []
    room = 0
    for name in observed_values(graph):
        if name in graph.inputs:
            continue
        size = 4 * int(np.prod(graph.value(name).shape, dtype=np.int64))
        if size > room or not parts:
            parts.append([])
            room = PART_BYTES
        parts[-1].append(name)
        room -= size
    return parts


@dataclass(frozen=True, slots=True, eq=False)
class _Part:
    """One session: the nodes up to some observed values."""

    session: Any
    feeds: Mapping[str, str]  # input name -> layout
    layouts: Mapping[str, str]

    @staticmethod
    def of(graph: Graph, names: list[str], threads: int | None) -> _Part:
        import onnxruntime

        needed, nodes = set(names), []
        for node in reversed(graph.nodes):
            if node.outputs[0] in needed:
                nodes.append(node)
                needed.update(i for i in node.inputs if i)
        values = {k: v for k, v in graph.values.items() if k in needed or k in graph.inputs}
        part = replace(graph, nodes=tuple(reversed(nodes)), values=values, outputs=())
        model, layouts = write_onnx(part, outputs=names)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or os.cpu_count() or 1
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        # threads that spin while they wait would starve each other on a busy machine
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        inputs = {i.name: layouts[i.name] for i in session.get_inputs()}
        return _Part(session, inputs, {name: layouts[name] for name in names})

    def run(self, feeds: Mapping[str, Array]) -> Iterator[tuple[str, Array]]:
        """Yield each value as (elements, channels), float32."""
        import onnxruntime

        made = {
            name: onnxruntime.OrtValue.ortvalue_from_numpy(
                np.ascontiguousarray(
                    feeds[name].transpose(0, 3, 1, 2) if kind == "NCHW" else feeds[name]
                )
            )
            for name, kind in self.feeds.items()
        }
        results = self.session.run_with_ort_values(list(self.layouts), made)[::-1]
        for name, kind in self.layouts.items():
            x = results.pop().numpy()
            yield name, x.transpose(0, 2, 3, 1) if kind == "NCHW" else x


@dataclass(slots=True)
class _Seen:
    """One value, growing."""

    channels: int
    low: Array = field(init=False)
    high: Array = field(init=False)
    total: Array = field(init=False)
    elements: int = 0
    integral: bool = True
    counts: Array = field(init=False)

    def __post_init__(self) -> None:
        self.low = np.full(self.channels, np.inf, np.float32)
        self.high = np.full(self.channels, -np.inf, np.float32)
        self.total = np.zeros(self.channels)
        self.counts = np.zeros(BINS, np.int64)

    def result(self, samples: int) -> ValueStatistics:
        mean = self.total / max(self.elements, 1)
        return ValueStatistics(self.low, self.high, mean, self.integral, self.counts)


def _watch(seen: _Seen, name: str, x: Array, sample: int) -> None:
    """Add one sample's value; x (..., channels)."""
    axes = tuple(range(x.ndim - 1)) if x.ndim else ()
    low, high = np.atleast_1d(x.min(axis=axes)), np.atleast_1d(x.max(axis=axes))
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        raise QuantizeError(
            f"value {name}: must be finite for every sample, is not for sample {sample}. Check the"
            " preprocessing, or leave the sample out."
        )
    # float64 sums of float32 partial sums: exact enough, and in a fixed order
    seen.total += np.atleast_1d(x.sum(axis=axes, dtype=np.float64))
    seen.elements += x.size // seen.channels
    before = (float(seen.low.min()), float(seen.high.max()))
    seen.low, seen.high = np.minimum(seen.low, low), np.maximum(seen.high, high)
    after = (float(seen.low.min()), float(seen.high.max()))
    if np.isfinite(before[0]) and before != after:
        seen.counts = rebinned(seen.counts, layout(*before), layout(*after))
    flat = x.reshape(-1) if x.flags.c_contiguous else x.ravel(order="K")
    part = flat[:: _stride(flat.size)]
    seen.counts = seen.counts + histogram(part, *after)
    seen.integral = seen.integral and bool((part == np.rint(part)).all())


def _stride(size: int) -> int:
    """A stride that counts at most COUNTED elements, odd so that it meets every channel."""
    stride = -(-size // COUNTED)
    return stride + 1 - stride % 2


def _checked(graph: Graph, sample: Mapping[str, Array], number: int) -> dict[str, Array]:
    feeds = {}
    for name in graph.inputs:
        shape = graph.value(name).shape
        if name not in sample or np.shape(sample[name]) != shape:
            got = np.shape(sample[name]) if name in sample else "nothing"
            raise QuantizeError(
                f"sample {number}: input {name} must have the shape {shape}, got {got}. Check the preprocessing."
            )
        feeds[name] = np.asarray(sample[name], np.float32)
    return feeds
