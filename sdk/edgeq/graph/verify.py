"""Check a graph against its rules: order, names, shapes, constants. Passes and readers are tested with it."""

from __future__ import annotations

from edgeq.errors import ModelError
from edgeq.graph.ir import Graph, Node, Value
from edgeq.ops import OPS


def verify(graph: Graph) -> Graph:
    """Return the graph if it keeps every rule. Raises ModelError naming the node or value and the rule."""
    defined = _edges(graph)
    read: set[str] = set(graph.outputs)
    for node in graph.nodes:
        where = f"node {node.name} ({node.op})"
        if node.op not in OPS:
            raise ModelError(f"{where}: op must be one of {', '.join(OPS)}. Run the passes.")
        for i in node.inputs:
            if i and i not in defined:
                raise ModelError(
                    f"{where}: input {i!r} must be made before it, got no such value. Sort the nodes."
                )
            read.add(i)
        _output(graph, node, where)
        for o in node.outputs:
            if o in defined:
                raise ModelError(
                    f"{where}: output {o!r} must be new, something else makes it. Rename it."
                )
            defined.add(o)
    for name in graph.outputs:
        if name not in defined:
            raise ModelError(
                f"output {name}: a node must make it, none does. Check the graph's outputs."
            )
    for name in graph.values:
        if name not in read and name not in graph.inputs:
            raise ModelError(
                f"value {name}: it must be read or be an output, nothing reads it. Remove it."
            )
        if name not in defined:
            raise ModelError(
                f"value {name}: it must be an input, a constant or computed, got none. Remove it."
            )
    return graph


def _edges(graph: Graph) -> set[str]:
    """Inputs and constants; every value under its own name, with data that fits its shape."""
    for names, what in ((graph.inputs, "input"), (graph.outputs, "output")):
        if not names or len(set(names)) != len(names):
            raise ModelError(
                f"{what}s: names must differ and not be empty, got {names}. Rename them."
            )
    defined: set[str] = set()
    for name, v in graph.values.items():
        if v.name != name:
            raise ModelError(
                f"value {name}: it must carry its own name, got {v.name!r}. Rename it."
            )
        if any(d < 1 for d in v.shape):
            raise ModelError(
                f"value {name}: sizes must be 1 or more, got {v.shape}. Use a larger input."
            )
        if v.data is not None:
            _constant(v)
            defined.add(name)
    for name in graph.inputs:
        if name not in graph.values or name in defined:
            raise ModelError(
                f"input {name}: it must be a value without data. Check the graph's inputs."
            )
        defined.add(name)
    return defined


def _constant(v: Value) -> None:
    assert v.data is not None
    if tuple(v.data.shape) != v.shape:
        raise ModelError(
            f"constant {v.name}: data must have shape {v.shape}, got {v.data.shape}. Replace it."
        )
    if v.q is None:
        return
    if v.data.dtype.kind != "i":
        raise ModelError(
            f"constant {v.name}: with q its data must be integers, got {v.data.dtype}. Quantize it."
        )
    if v.data.size and not v.q.lo <= int(v.data.min()) <= int(v.data.max()) <= v.q.hi:
        raise ModelError(f"constant {v.name}: integers must fit {v.q.dtype}. Quantize it again.")


def _output(graph: Graph, node: Node, where: str) -> None:
    """One output whose shape is what the op's rule says, and q that fits it."""
    if len(node.outputs) != 1 or node.outputs[0] not in graph.values:
        raise ModelError(
            f"{where}: it must make one known value, got {node.outputs}. Add it to the values."
        )
    out = graph.values[node.outputs[0]]
    try:
        shape = OPS[node.op].shape(
            node.attrs, [graph.values[i].shape if i else None for i in node.inputs]
        )
    except (ValueError, KeyError, AssertionError, IndexError) as e:
        raise ModelError(f"{where}: {e}. Check its inputs and attributes.") from None
    if tuple(shape) != out.shape:
        raise ModelError(
            f"{where}: its output must have shape {tuple(shape)}, got {out.shape}. Infer shapes again."
        )
    if out.data is not None:
        raise ModelError(
            f"{where}: its output {out.name} must be computed, it has data. Drop the data."
        )
    if out.q is not None and out.q.per_channel and out.q.scale.shape != (out.shape[out.q.axis],):
        raise ModelError(
            f"{where}: {out.name} must have one scale per channel ({out.shape[out.q.axis]}), "
            f"got {out.q.scale.shape}. Quantize it again."
        )
