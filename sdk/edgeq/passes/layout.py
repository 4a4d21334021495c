"""Sink Transposes: move each one past its readers until it meets its inverse or the graph's end.

One walk in order: a value made by a Transpose is known as (source, perm); a reader that can work on the
source does so, and its own output becomes a Transpose. Composed Transposes that cancel disappear.
"""

from __future__ import annotations

from edgeq.graph.ir import Graph, Node
from edgeq.passes.axes import (
    Perm,
    broadcast_rank,
    compose,
    held,
    identity,
    inverse,
    moves_only_ones,
    regroup,
    transposed,
)
from edgeq.passes.rewrite import Rewrite

MANY = ("Add", "Sub", "Mul", "Div", "Concat")
ONE = (
    "Unary",
    "Requantize",
    "Slice",
    "Pad",
    "Softmax",
    "FullyConnected",
    "PRelu",
    "ReduceMean",
    "Gather",
    "Reshape",
)


def sink_transposes(graph: Graph) -> Graph:
    """Return the graph with every Transpose as far down as it goes."""
    r = Rewrite(graph)
    sources: dict[str, tuple[str, Perm]] = {}
    for node in graph.nodes:
        if node.op == "Transpose":
            _merge(r, sources, node)
        elif not (node.op in (*MANY, *ONE) and _sink(r, sources, node)):
            r.copy(node)
    return r.finish()


def _merge(r: Rewrite, sources: dict[str, tuple[str, Perm]], node: Node) -> None:
    """Compose with the Transpose before; drop the result if it does nothing."""
    x, out = r.now(node.inputs[0]), node.outputs[0]
    perm: Perm = tuple(node.attrs["perm"])
    if x in sources:
        x, perm = sources[x][0], compose(sources[x][1], perm)
        r.changing()
    if identity(perm) and (x in r.maker or out not in r.old.outputs):
        r.replace(out, x)
        return
    r.emit("Transpose", [x], {"perm": perm}, out=out, name=node.name)
    sources[out] = (x, perm)


def _sink(r: Rewrite, sources: dict[str, tuple[str, Perm]], node: Node) -> bool:
    ins = [r.now(i) if i else "" for i in node.inputs]
    many = node.op in MANY
    rank = len(r.old.values[node.outputs[0]].shape) if many else len(r.shape(ins[0]))
    known = [
        sources[i]
        for i in (ins if many else ins[:1])
        if i in sources and len(sources[i][1]) == rank
    ]
    if not known:
        return False
    source, perm = known[0]
    found = held(node.op, node.attrs, r.shape(source), perm)
    if found is None and node.op == "Reshape":
        between = regroup(r.shape(source), perm, tuple(node.attrs["shape"]))
        if between is not None:
            source = r.emit("Transpose", [source], {"perm": between}, out=r.fresh(f"{ins[0]}~"))
            perm = compose(inverse(between), perm)
            sources[ins[0]] = (source, perm)
            found = held("Reshape", node.attrs, r.shape(source), perm)
    if found is None or (many and not _pays(r, sources, node, ins, perm)):
        return False
    attrs, after = found
    new_ins = [_operand(r, sources, i, perm) if many or k == 0 else i for k, i in enumerate(ins)]
    out = node.outputs[0]
    r.changing()
    if identity(after):
        r.emit(node.op, new_ins, attrs, out=out, name=node.name)
        return True
    inner = r.emit(node.op, new_ins, attrs, out=r.fresh(f"{out}~"), name=node.name)
    r.emit("Transpose", [inner], {"perm": after}, out=out)
    sources[out] = (inner, after)
    return True


def _pays(
    r: Rewrite, sources: dict[str, tuple[str, Perm]], node: Node, ins: list[str], perm: Perm
) -> bool:
    """True when fewer values move than before."""
    ready = sum(1 for i in ins if i in sources and sources[i][1] == perm)
    moved = sum(1 for i in ins if not _free(r, sources, i, perm))
    if moved == 0 or ready > moved:
        return True
    readers = [n for n in r.old.nodes if node.outputs[0] in n.inputs]
    undone = bool(readers) and all(
        n.op == "Transpose" and identity(compose(perm, tuple(n.attrs["perm"]))) for n in readers
    )
    return moved <= ready and undone and node.outputs[0] not in r.old.outputs


def _free(r: Rewrite, sources: dict[str, tuple[str, Perm]], name: str, perm: Perm) -> bool:
    """True when the operand can be had in the source's layout without moving data at run time."""
    if name in sources and sources[name][1] == perm:
        return True
    shape = broadcast_rank(r.shape(name), len(perm))
    return r.data(name) is not None or moves_only_ones(shape, inverse(perm))


def _operand(r: Rewrite, sources: dict[str, tuple[str, Perm]], name: str, perm: Perm) -> str:
    """The operand as the op on sources needs it: its Transpose by the inverse of `perm`."""
    if name in sources and sources[name][1] == perm:
        return sources[name][0]
    shape = broadcast_rank(r.shape(name), len(perm))
    back = inverse(perm)
    data = r.data(name)
    if data is not None:
        return name if data.size == 1 else r.const(f"{name}~", data.reshape(shape).transpose(back))
    if shape != r.shape(name) or moves_only_ones(shape, back):
        name = r.emit("Reshape", [name], {"shape": shape}, out=r.fresh(f"{name}~"))
    if moves_only_ones(shape, back):
        return r.emit(
            "Reshape", [name], {"shape": transposed(shape, back)}, out=r.fresh(f"{name}~")
        )
    return r.emit("Transpose", [name], {"perm": back}, out=r.fresh(f"{name}~"))
