"""Give every group of channels its scale and zero point."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np

from edgeq.errors import QuantizeError
from edgeq.graph.ir import Array, Graph, Node, QParams
from edgeq.quantizer import flow, ranges
from edgeq.quantizer.recipe import Recipe
from edgeq.quantizer.scales import Groups
from edgeq.quantizer.statistics import Statistics, ValueStatistics, histogram, merged
from edgeq.quantizer.tables import Reader, table_scale

HEADROOM = 1.25  # int16 has levels to spare for values a little beyond those seen
PROBABILITIES = ("Sigmoid", "HardSigmoid")
MIN_CHANNEL_SHARE = 2.0**-10  # a channel's range, of the value's widest channel


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """Reals of one value: low, high float64 (C,), and the observed values they come from."""

    low: Array
    high: Array
    sources: tuple[str, ...]


@dataclass(slots=True)
class _Group:
    """What is known of one group.

    sources: observed values that lie in it whole; picked: whole outputs of a Slice or Gather of
    channels; partial: it holds some channels only of a computed value; readers: tables; exposed:
    others than tables see the integers.
    """

    low: float = 0.0
    high: float = 0.0
    widest: float = 0.0
    partial: bool = False
    sources: dict[str, None] = field(default_factory=dict)
    picked: dict[str, None] = field(default_factory=dict)
    producers: list[Node | None] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    readers: list[Node] = field(default_factory=list)
    exposed: bool = False
    pads: list[float] = field(default_factory=list)
    wide: bool = False
    is_input: bool = False
    last: int = 0


def assign_scales(
    graph: Graph, statistics: Statistics, groups: Groups, recipe: Recipe
) -> dict[str, QParams]:
    """QParams of every value that belongs to a group."""
    observed = observed_constants(graph, statistics)
    table = _collect(graph, seen_values(graph, observed), observed, groups)
    heads = flow.heads(graph)
    chosen: dict[int, tuple[Array, Array]] = {}
    later = []
    for root, group in table.items():
        if group.wide and group.readers and not _probability(group):
            later.append(root)
        else:
            chosen[root] = _scale(group, observed, recipe, all(n in heads for n in group.names))
    for root in sorted(later, key=lambda r: -table[r].last):  # a table's output before its input
        group = table[root]
        known = [
            Reader(n.attrs, None if group.exposed else _qparams(n.outputs[0], groups, chosen))
            for n in group.readers
        ]
        low, high = _with_pads(group)
        chosen[root] = table_scale(known, low * HEADROOM, high * HEADROOM)
    out = {name: _qparams(name, groups, chosen) for name in groups.of}
    return {name: q for name, q in out.items() if q is not None}


def observed_constants(graph: Graph, statistics: Statistics) -> dict[str, ValueStatistics]:
    """The statistics, and those of constants that movements join with other values."""
    found = dict(statistics.values)
    for node in filter(flow.moves, graph.nodes):
        for name in node.inputs:
            data = graph.value(name).data
            if data is None:
                continue
            rows = data.astype(np.float32).reshape(-1, flow.channels(graph, name))
            low, high = rows.min(axis=0), rows.max(axis=0)
            counts = histogram(rows, float(low.min()), float(high.max()))
            found[name] = ValueStatistics(
                low, high, rows.mean(axis=0, dtype=np.float64), False, counts
            )
    return found


def seen_values(graph: Graph, observed: Mapping[str, ValueStatistics]) -> dict[str, Seen]:
    """What each value may hold: observed where a node computes it, carried along where one moves it."""
    seen: dict[str, Seen] = {}

    def get(name: str) -> Seen:
        if name not in seen:
            s = observed.get(name)
            if s is None:
                raise QuantizeError(
                    f"value {name}: statistics must cover it, they do not. Calibrate this very graph."
                )
            if len(s.low) != flow.channels(graph, name):
                raise QuantizeError(
                    f"value {name}: statistics must have {flow.channels(graph, name)} channels,"
                    f" got {len(s.low)}. Calibrate this very graph."
                )
            seen[name] = Seen(s.low.astype(np.float64), s.high.astype(np.float64), (name,))
        return seen[name]

    for name in graph.inputs:
        get(name)
    for node in graph.nodes:
        out = node.outputs[0]
        if flow.moves(node):
            seen[out] = _carried(graph, node, [get(i) for i in node.inputs])
        elif node.op == "Requantize":
            seen[out] = get(node.inputs[0])
        else:
            get(out)
    return seen


def _carried(graph: Graph, node: Node, inputs: list[Seen]) -> Seen:
    count = flow.channels(graph, node.outputs[0])
    sources = tuple(dict.fromkeys(s for one in inputs for s in one.sources))
    maps = flow.channel_maps(graph, node)
    if maps is None:
        low, high = min(one.low.min() for one in inputs), max(one.high.max() for one in inputs)
        return Seen(np.full(count, low), np.full(count, high), sources)
    low, high = np.full(count, np.inf), np.full(count, -np.inf)
    for one, (taken, become) in zip(inputs, maps, strict=True):
        low[become] = np.minimum(low[become], one.low[taken])
        high[become] = np.maximum(high[become], one.high[taken])
    return Seen(low, high, sources)


def _collect(
    graph: Graph,
    seen: Mapping[str, Seen],
    observed: Mapping[str, ValueStatistics],
    groups: Groups,
) -> dict[int, _Group]:
    table: dict[int, _Group] = {}
    producers, uses = graph.producers(), graph.consumers()
    for at, (name, ids) in enumerate(groups.of.items()):
        producer = producers.get(name)
        moved = producer is not None and flow.moves(producer)
        roots = np.unique(ids)
        for root in roots.tolist():
            group = table.setdefault(root, _Group())
            group.names.append(name)
            group.readers += [n for n in uses[name] if n.op == "Unary"]
            group.exposed |= name in graph.outputs
            group.exposed |= any(n.op != "Unary" and not flow.moves(n) for n in uses[name])
            group.wide |= name in groups.wide
            group.is_input |= name in graph.inputs
            group.last = at
            if moved and producer is not None and producer.op == "Pad":
                # before a MaxPool a pad stands for minus infinity: there it may saturate
                only_max = bool(uses[name]) and all(n.op == "MaxPool" for n in uses[name])
                if np.isfinite(producer.attrs["value"]) and not only_max:
                    group.pads.append(float(producer.attrs["value"]))
            if moved and producer is not None:
                if len(roots) == 1 and name in observed and flow.picks_channels(graph, producer):
                    group.picked[name] = None
                continue
            one, mine = _seen_of(graph, seen, name), ids == root
            group.low = min(group.low, float(one.low[mine].min()))
            group.high = max(group.high, float(one.high[mine].max()))
            group.widest = max(group.widest, float(one.high.max()) - min(float(one.low.min()), 0.0))
            group.partial |= len(roots) > 1
            group.sources.update(dict.fromkeys(one.sources if len(roots) == 1 else ()))
            group.producers.append(producer)
    return table


def _seen_of(graph: Graph, seen: Mapping[str, Seen], name: str) -> Seen:
    if name in seen:
        return seen[name]
    data = graph.value(name).data
    assert data is not None  # every activation has been seen
    rows = data.astype(np.float64).reshape(-1, flow.channels(graph, name))
    return Seen(rows.min(axis=0), rows.max(axis=0), (name,))


def _scale(
    group: _Group, observed: Mapping[str, ValueStatistics], recipe: Recipe, head: bool
) -> tuple[Array, Array]:
    low, high = _with_pads(group)
    if group.is_input:
        return _input(group, observed, recipe, low, high)
    if group.wide:
        return ranges.symmetric16(1.0 if _probability(group) else HEADROOM * max(-low, high))
    if head and _probability(group):
        return np.asarray(1 / 256, np.float32), np.asarray(-128, np.int32)
    if group.partial and not group.picked:  # no histogram shows these channels alone
        return ranges.affine8(*_channel_range(low, high, group.widest))
    if _method(group, recipe) == "mse":
        shown = [observed[s] for s in (*group.sources, *group.picked)]
        low, high = ranges.mse_range(*merged(shown), low, high)
        low, high = min([low, *group.pads]), max([high, *group.pads])
    return ranges.affine8(low, high)


def _channel_range(low: float, high: float, widest: float) -> tuple[float, float]:
    """The range of one channel: a dead one gets the value's, for pictures in which it lives."""
    least = MIN_CHANNEL_SHARE * widest
    if low == high:
        return 0.0, widest
    if high - low >= least:
        return low, high
    return (low, low + least) if high >= -low else (high - least, high)


def _input(
    group: _Group, observed: Mapping[str, ValueStatistics], recipe: Recipe, low: float, high: float
) -> tuple[Array, Array]:
    """Pixels 0..255 stay as they are; normalised ones get 255 steps."""
    stats = [observed[s] for s in group.sources]
    pixels = (
        all(s.integral for s in stats)
        and low >= 0
        and high <= 255
        and recipe.activations.input_range is None
    )
    if pixels or recipe.activations.input_range == (0.0, 255.0):
        return np.asarray(1.0, np.float32), np.asarray(-128, np.int32)
    if recipe.activations.input_range is not None:
        low, high = recipe.activations.input_range
        low, high = min(low, 0.0), max(high, 0.0)
    scale = ranges.bounded(ranges.input_scale(*merged(stats), low, high) if high > low else 1.0)
    zero = np.clip(np.rint(-128 - low / float(scale)), -128, 127)
    return scale, np.asarray(zero, np.int32)


def _probability(group: _Group) -> bool:
    """True when all members lie in 0..1 by their nature."""
    return bool(group.producers) and all(
        p is not None
        and (p.op == "Softmax" or (p.op == "Unary" and p.attrs["kind"] in PROBABILITIES))
        for p in group.producers
    )


def _method(group: _Group, recipe: Recipe) -> str:
    nodes = [p.name for p in group.producers if p is not None]
    found: str | None = recipe.overriding("range", *group.names, *nodes)
    return found or recipe.activations.range


def _with_pads(group: _Group) -> tuple[float, float]:
    return min([group.low, *group.pads]), max([group.high, *group.pads])


def _qparams(
    name: str, groups: Groups, chosen: Mapping[int, tuple[Array, Array]]
) -> QParams | None:
    """Put a value's QParams together from those of its channels; None while some are not chosen."""
    roots: Iterable[int] = groups.of[name].tolist()
    if any(r not in chosen for r in roots):
        return None
    pairs = [chosen[r] for r in roots]
    scale = np.array([s for s, _ in pairs], np.float32)
    zero = np.array([z for _, z in pairs], np.int32)
    return ranges.qparams(scale, zero, "int16" if name in groups.wide else "int8")
