"""`edgeq quantize`: float ONNX in, integers out: QDQ ONNX and/or a compiled .edgeq file."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.cli.console import Out, verb
from edgeq.cli.memory import peak_rss_mb
from edgeq.cli.models import Model, check_output, find_model
from edgeq.cli.samples import open_samples
from edgeq.cli.tables import count, plural, size
from edgeq.errors import DataError, EdgeqError, ModelError, QuantizeError

if TYPE_CHECKING:
    from edgeq.graph.ir import Graph
    from edgeq.quantizer import Recipe, Statistics
    from edgeq.vision import TaskCard

ENDINGS = (".edgeq", ".onnx")

ModelArg = Annotated[str, typer.Argument(metavar="MODEL", help="A float .onnx file or a zoo name.")]
Outputs = Annotated[
    list[Path],
    typer.Option(
        "--output",
        "-o",
        metavar="FILE",
        help="OUT.edgeq (compiled) or OUT.onnx (QDQ); may be repeated.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option("--data", metavar="DIR|NPZ", help="Calibration pictures, or an .npz of inputs."),
]
SampleCount = Annotated[
    int, typer.Option("--samples", metavar="N", help="Pictures to calibrate with.")
]
RecipeArg = Annotated[
    str, typer.Option("--recipe", metavar="NAME|TOML", help="int8, w4a8, or a recipe file.")
]
Target = Annotated[
    str, typer.Option("--target", metavar="NAME", help="What .edgeq is compiled for.")
]
Optimize = Annotated[
    str,
    typer.Option("--optimize", metavar="WHAT", help="performance, or size: the least SRAM (NPU)."),
]
Card = Annotated[
    Path | None, typer.Option("--card", metavar="TOML", help="Task card of the model.")
]
Shapes = Annotated[
    list[str] | None,
    typer.Option(
        "--shape", metavar="NAME=1,3,H,W", help="Fix an open input shape; may be repeated."
    ),
]
Stats = Annotated[
    Path | None,
    typer.Option(
        "--stats", metavar="FILE", help="Statistics: read if the file exists, else written."
    ),
]


@verb
def quantize(
    out: Out,
    model: ModelArg,
    outputs: Outputs,
    data: Data = None,
    samples: SampleCount = 64,
    recipe: RecipeArg = "int8",
    target: Target = "cpu",
    optimize: Optimize = "performance",
    card: Card = None,
    shape: Shapes = None,
    stats: Stats = None,
) -> None:
    """Quantize a float ONNX model to integers with a folder of pictures."""
    begin = time.perf_counter()
    _check(model, outputs, data, samples, stats)
    settings = load_recipe(recipe)
    with out.progress(f"Fetching {model}") as step:
        source = find_model(model, card=card, progress=step)
    made = quantize_model(
        out,
        source,
        data=data,
        samples=samples,
        recipe=settings,
        shapes=read_shapes(shape or []),
        stats=stats,
    )
    written = save(made, outputs, target, optimize=optimize)
    seconds = time.perf_counter() - begin
    out.document = {
        "outputs": written,
        "seconds": round(seconds, 3),
        "peak_rss_mb": peak_rss_mb(),
        "float_islands": made.float_islands,
        "warnings": out.warnings,
        "samples": made.samples,
        "recipe": settings.name,
        "weights": made.weights,
    }
    before = source.path.stat().st_size
    for one in written:
        out.line(
            f"{one['file']}  {size(one['bytes'])} ({before / one['bytes']:.1f}x smaller than {source.path.name})"
        )
    islands = ", ".join(map(str, made.float_islands)) or "none, all integers"
    widths = ", ".join(f"{count(n)} in {key[3:]} bits" for key, n in made.weights.items())
    out.note(f"Weights: {widths}.")
    out.note(f"{seconds:.1f} s, {plural(made.samples, 'sample')}. In float: {islands}.")
    _next(out, model, source, outputs, data)


@dataclass(frozen=True, slots=True)
class Quantized:
    """A quantized graph with what the file shall say about it."""

    graph: Graph
    card: TaskCard | None
    provenance: dict[str, Any]
    float_islands: list[str]
    samples: int

    @property
    def weights(self) -> dict[str, int]:
        """How many weights have each dtype."""
        from edgeq.quantizer.flow import WEIGHTED

        found: Counter[str] = Counter()
        for name in {n.inputs[1] for n in self.graph.nodes if n.op in WEIGHTED}:
            value = self.graph.value(name)
            if value.q is not None and value.data is not None:
                found[value.q.dtype] += value.data.size
        return dict(sorted(found.items()))


def quantize_model(
    out: Out,
    source: Model,
    *,
    data: Path | None,
    samples: int,
    recipe: Recipe,
    shapes: dict[str, list[int]] | None = None,
    stats: Path | None = None,
) -> Quantized:
    """Read, calibrate (or load statistics) and quantize."""
    import edgeq
    from edgeq.quantizer import float_islands

    if b"DequantizeLinear" in source.path.read_bytes():
        raise ModelError(
            f"{source.path}: must be a float model, is quantized already. Give the float one."
        )
    graph = edgeq.read(source.path, shapes=shapes or None)
    out.detail(
        f"{graph.name}: {plural(len(graph.nodes), 'node')}, card from {source.card_from or 'nowhere'}"
    )
    islands = [node.name for node in float_islands(graph)]  # refused now, before the long part
    seen, statistics = _statistics(out, source, graph, data, samples, stats)
    recipe = with_input_range(recipe, source.card)
    out.note(f"Quantizing with recipe {recipe.name}")
    integers = edgeq.quantize(graph, statistics, recipe)
    provenance = {
        "edgeq": edgeq.__version__,
        "source": source.path.name,
        "source_sha256": hashlib.sha256(source.path.read_bytes()).hexdigest(),
        "recipe": recipe.to_toml(),
        "samples": seen,
        "data": data.name if data else (stats.name if stats else ""),
    }
    return Quantized(integers, source.card, provenance, islands, seen)


def save(
    made: Quantized, outputs: list[Path], target: str, *, optimize: str = "performance"
) -> list[dict[str, Any]]:
    """Write every output atomically; nothing is written if one of them cannot be made."""
    from edgeq.runtime.program import write_atomic

    bodies = [(path, _body(made, path, target, optimize)) for path in outputs]
    for path, body in bodies:
        write_atomic(path, body)
    return [{"file": str(path), "bytes": len(body)} for path, body in bodies]


def _body(made: Quantized, path: Path, target: str, optimize: str) -> bytes:
    import edgeq

    if path.suffix.lower() == ".onnx":
        from edgeq.frontend.onnx_writer import write_onnx

        metadata = {"edgeq.provenance": json.dumps(made.provenance, sort_keys=True)}
        if made.card:
            metadata["edgeq.card"] = json.dumps(made.card.to_dict(), sort_keys=True)
        model: bytes = write_onnx(made.graph, metadata=metadata).SerializeToString(
            deterministic=True
        )
        return model
    card = made.card.to_dict() if made.card else None
    body = edgeq.compile(
        made.graph, target=target, optimize=optimize, card=card, provenance=made.provenance
    ).to_bytes()
    try:
        edgeq.load(body).close()  # what does not load is never written
    except EdgeqError as broken:
        raise RuntimeError(f"{path}: the compiled program does not load, {broken}") from broken
    return body


def load_recipe(text: str) -> Recipe:
    """Return a preset by name or a recipe from a TOML file."""
    from edgeq.quantizer import Recipe

    if text.lower().endswith(".toml") or Path(text).exists():
        return Recipe.load(text)
    return Recipe.preset(text)


def with_input_range(recipe: Recipe, card: TaskCard | None) -> Recipe:
    """Take the range of the input from the card: what 0 and 255 become, whatever the samples showed."""
    if card is None or recipe.activations.input_range is not None:
        return recipe
    ends = [
        (x - m) / s for x in (0, 255) for m, s in zip(card.input.mean, card.input.std, strict=True)
    ]
    if card.input.pad_unit == "tensor":
        ends.append(card.input.pad)
    wide = (min(ends), max(ends))
    return replace(recipe, activations=replace(recipe.activations, input_range=wide))


def read_shapes(texts: list[str]) -> dict[str, list[int]]:
    """Read NAME=1,3,640,640 options."""
    shapes = {}
    for text in texts:
        name, equals, dims = text.rpartition("=")
        try:
            shapes[name] = [int(one) for one in dims.replace("x", ",").split(",")]
        except ValueError:
            equals = ""
        if not name or not equals:
            raise ModelError(f"--shape {text}: must look like NAME=1,3,640,640. Correct it.")
    return shapes


def _check(
    model: str, outputs: list[Path], data: Path | None, samples: int, stats: Path | None
) -> None:
    """Refuse wrong usage before any work."""
    for path in outputs:
        check_output(path, ENDINGS)
        if path.exists() and Path(model).exists() and path.samefile(model):
            raise DataError(f"{path}: the output must differ from the model. Choose another name.")
    if len({path.absolute() for path in outputs}) < len(outputs):
        raise DataError("-o: every output must have its own name, one comes twice. Leave one out.")
    if samples < 1:
        raise DataError(f"--samples: must be at least 1, got {samples}. Leave it out for 64.")
    if stats is not None and not stats.exists():
        check_output(stats, (".npz",))
    if data is not None and not data.exists():
        raise DataError(
            f"{data}: must be a folder of pictures or an .npz file, does not exist. Check the path."
        )
    if data is None and (stats is None or not stats.exists()):
        raise QuantizeError(
            f"{model}: quantization needs samples of the input, none were given. Pass --data FOLDER (pictures"
            " like those in use), --data FILE.npz (arrays named like the inputs), or --stats FILE of an"
            " earlier run."
        )


def _statistics(
    out: Out, source: Model, graph: Graph, data: Path | None, count: int, stats: Path | None
) -> tuple[int, Statistics]:
    from edgeq.quantizer import Statistics, calibrate

    if stats is not None and stats.exists():
        statistics = Statistics.load(stats)
        out.note(f"Statistics from {stats}")
        return statistics.samples, statistics
    assert data is not None
    with (
        open_samples(out, source, graph, data, count) as samples,
        out.progress("Calibrating") as step,
    ):
        statistics = calibrate(graph, samples, progress=lambda done: step(done, len(samples)))
    if stats is not None:
        statistics.save(stats)
        out.note(f"Statistics saved to {stats}")
    return samples.used, statistics


def _next(out: Out, model: str, source: Model, outputs: list[Path], data: Path | None) -> None:
    made = next((path for path in outputs if path.suffix.lower() == ".edgeq"), None)
    if made and source.card:
        out.note(f"Next: edgeq run {made} PICTURE --save out")
        if data:
            out.note(f"      edgeq verify {model} {made} --data {data}")
