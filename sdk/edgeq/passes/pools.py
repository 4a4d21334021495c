"""Pools in one spelling: an average over the whole picture is a ReduceMean, nested maxima are a chain."""

from __future__ import annotations

from edgeq.graph.ir import Graph, Node
from edgeq.passes.rewrite import Rewrite


def simplify_pools(graph: Graph) -> Graph:
    """Turn AvgPool over the whole picture into ReduceMean, and let large MaxPools go on from smaller ones."""
    r = Rewrite(graph)
    nested = _nested(graph)
    for node in graph.nodes:
        pools = nested.get(node.inputs[0], []) if _keeps_size(graph, node) else []
        if pools and node.outputs[0] not in r.maker:
            _chain(r, pools)
        elif not pools and not _whole(r, node):
            r.copy(node)
    return r.finish()


def _whole(r: Rewrite, node: Node) -> bool:
    if node.op != "AvgPool" or any(node.attrs["pads"]):
        return False
    x = r.now(node.inputs[0])
    if r.shape(x)[1:3] != tuple(node.attrs["kernel"]):
        return False
    attrs = {"axes": (1, 2), "keepdims": True}
    r.changing()
    r.emit("ReduceMean", [x], attrs, out=node.outputs[0], name=node.name)
    return True


def _nested(graph: Graph) -> dict[str, list[Node]]:
    """Pictures with several MaxPools that keep their size, smaller ones first, where some lies in another."""
    consumers, found = graph.consumers(), {}
    for name, readers in consumers.items():
        pools = [n for n in readers if _keeps_size(graph, n)]
        pools.sort(key=lambda n: n.attrs["kernel"][0] * n.attrs["kernel"][1])
        # Requantize: in a model that came quantized the smaller pool may have a scale of its own
        own = any(m.op == "Requantize" for n in pools for m in consumers[n.outputs[0]])
        if not own and any(_rest(n, m) for k, n in enumerate(pools) for m in pools[:k]):
            found[name] = pools
    return found


def _keeps_size(graph: Graph, node: Node) -> bool:
    return (
        node.op == "MaxPool"
        and tuple(node.attrs["strides"]) == tuple(node.attrs["dilations"]) == (1, 1)
        and graph.value(node.inputs[0]).shape == graph.value(node.outputs[0]).shape
    )


def _chain(r: Rewrite, pools: list[Node]) -> None:
    """The maximum over 9x9 is the maximum over 5x5 of the maxima over 5x5, as in spatial pyramid pooling.

    Of pools that keep the size, windows cut off at an edge still join to what is left of the larger one.
    """
    r.changing()
    for k, node in enumerate(pools):
        inside = [(m.outputs[0], rest) for m in pools[:k] if (rest := _rest(node, m))]
        x, rest = inside[-1] if inside else (r.now(node.inputs[0]), {})
        r.emit("MaxPool", [x], {**node.attrs, **rest}, out=node.outputs[0], name=node.name)


def _rest(node: Node, inner: Node) -> dict[str, tuple[int, ...]] | None:
    """Kernel and pads of the MaxPool that makes `node` of what `inner` makes, or None if there is none."""
    pads = tuple(a - b for a, b in zip(node.attrs["pads"], inner.attrs["pads"], strict=True))
    if min(pads) < 0:
        return None
    return {"kernel": (pads[0] + pads[2] + 1, pads[1] + pads[3] + 1), "pads": pads}
