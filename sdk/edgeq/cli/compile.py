"""`edgeq compile`: a quantized (QDQ) ONNX model in, a compiled .edgeq file out."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.cli.console import Out, verb
from edgeq.cli.models import Model, check_output, find_model
from edgeq.cli.quantize import Card, Optimize, Shapes, Target, read_shapes
from edgeq.cli.tables import plural, size
from edgeq.errors import CardError, EdgeqError, ModelError

if TYPE_CHECKING:
    from edgeq.vision import TaskCard

ModelArg = Annotated[
    str, typer.Argument(metavar="MODEL", help="A quantized .onnx file, by edgeq or another tool.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="OUT.edgeq, the compiled file.")
]


@verb
def compile(
    out: Out,
    model: ModelArg,
    output: Output,
    target: Target = "cpu",
    optimize: Optimize = "performance",
    card: Card = None,
    shape: Shapes = None,
) -> None:
    """Compile a quantized (QDQ) ONNX model; its integers stay what they are."""
    import edgeq
    from edgeq.quantizer import verify_quantized
    from edgeq.runtime.program import write_atomic

    begin = time.perf_counter()
    check_output(output, (".edgeq",))
    source = find_model(model, card=card)
    graph = edgeq.read(source.path, shapes=read_shapes(shape or []) or None)
    if not graph.quantized:
        raise ModelError(
            f"{source.path}: must be a quantized model (QDQ), is a float one. "
            f"Run: edgeq quantize {model} -o {output} --data FOLDER"
        )
    verify_quantized(graph)
    metadata: Mapping[str, str] = graph.meta.get("onnx_metadata", {})
    chosen, card_from = _card(out, source, card, metadata)
    out.detail(
        f"{graph.name}: {plural(len(graph.nodes), 'node')}, card from {card_from or 'nowhere'}"
    )
    program = edgeq.compile(
        graph,
        target=target,
        optimize=optimize,
        card=chosen.to_dict() if chosen else None,
        provenance=_provenance(source, metadata),
    )
    body = program.to_bytes()
    try:
        edgeq.load(body).close()  # what does not load is never written
    except EdgeqError as broken:
        raise ModelError(
            f"{source.path}: the compiled model must load, does not: {broken}"
        ) from None
    write_atomic(output, body)
    seconds = time.perf_counter() - begin
    out.document = {
        "outputs": [{"file": str(output), "bytes": len(body)}],
        "seconds": round(seconds, 3),
        "target": target,
        "nodes": len(graph.nodes),
        "card": card_from,
        "float_islands": program.float_islands(),
        "warnings": out.warnings,
    }
    out.line(f"{output}  {size(len(body))}")
    islands = ", ".join(program.float_islands()) or "none, all integers"
    out.note(f"{seconds:.1f} s. In float: {islands}.")
    if chosen:
        out.note(f"Next: edgeq run {output} PICTURE --save out")


def _card(
    out: Out, source: Model, named: Path | None, metadata: Mapping[str, str]
) -> tuple[TaskCard | None, str]:
    """The card that was named, else the one inside the file, else the zoo's or the one beside it."""
    from edgeq.vision import TaskCard

    if named is None and "edgeq.card" in metadata:
        try:
            return TaskCard.from_dict(json.loads(metadata["edgeq.card"])), "the model"
        except (CardError, ValueError, RecursionError) as broken:
            out.warn(f"{source.path}: the task card inside is left out, it is broken: {broken}")
    return source.card, source.card_from


def _provenance(source: Model, metadata: Mapping[str, str]) -> dict[str, Any]:
    """Where the quantized model came from, if it says so, and the file compiled."""
    import edgeq

    try:
        found = json.loads(metadata.get("edgeq.provenance", "{}"))
    except (ValueError, RecursionError):
        found = {}
    flat = found.items() if isinstance(found, dict) else ()
    known = {str(k): v for k, v in flat if isinstance(v, str | int)}
    return {
        **known,
        "edgeq": edgeq.__version__,
        "compiled_from": source.path.name,
        "compiled_from_sha256": hashlib.sha256(source.path.read_bytes()).hexdigest(),
    }
