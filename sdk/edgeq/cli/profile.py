"""`edgeq profile`: cycles, bytes, stalls and energy of a compiled model on an NPU target, layer by layer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.cli.console import Out, verb
from edgeq.cli.models import check_output, require_file
from edgeq.cli.quantize import Optimize
from edgeq.cli.tables import count, facts, size, table
from edgeq.cli.targets import WhatIf, parse_what_if
from edgeq.errors import CompileError, ModelError, ProgramError

if TYPE_CHECKING:
    from edgeq.graph.ir import Graph
    from edgeq.report.npu import Profiled
    from edgeq.runtime.npu.profile import LayerProfile

DEFAULT = "npu-dev"

FileArg = Annotated[
    Path, typer.Argument(metavar="FILE", help="A compiled .edgeq, or a quantized (QDQ) .onnx.")
]
TargetOption = Annotated[
    str | None,
    typer.Option("--target", metavar="NAME", help="A target of `edgeq targets`; for .onnx."),
]
Versus = Annotated[
    list[str] | None,
    typer.Option(
        "--vs", metavar="NAME|ONNX", help="Compare with a target or model; may be repeated."
    ),
]
Html = Annotated[Path | None, typer.Option("--html", metavar="OUT.html", help="Write a report.")]
Trace = Annotated[
    Path | None,
    typer.Option("--trace", metavar="OUT.json", help="Write a trace for ui.perfetto.dev."),
]
Layers = Annotated[int, typer.Option("--layers", metavar="N", help="Show the N slowest layers.")]


@verb
def profile(
    out: Out,
    file: FileArg,
    target: TargetOption = None,
    what_if: WhatIf = None,
    vs: Versus = None,
    optimize: Optimize = "performance",
    html: Html = None,
    trace: Trace = None,
    layers: Layers = 15,
) -> None:
    """Show what limits a model on an NPU: cycles, memory, energy, layer by layer."""
    from edgeq.report.npu import html_report, trace_events
    from edgeq.runtime.program import write_atomic

    require_file(file, ProgramError)
    for path, ending in ((html, ".html"), (trace, ".json")):
        if path is not None:
            check_output(path, (ending,))
    changes = parse_what_if(what_if or [])
    made, files = _profiles(out, file, target, changes, vs or [], optimize)
    main = made[0]
    out.document = main.profile.to_dict() | {"file": str(file)}
    if len(made) > 1:
        out.document["compare"] = [
            _summary(one) | {"file": str(path)} for one, path in zip(made, files, strict=True)
        ]
    if trace is not None:
        write_atomic(trace, json.dumps(trace_events(main)).encode())
    if html is not None:
        write_atomic(html, html_report(made).encode())
    if not out.as_json:
        _print(out, made, files, layers)
    for path in (html, trace):
        if path is not None:
            out.note(f"Wrote {path}")


def _profiles(
    out: Out,
    file: Path,
    target: str | None,
    changes: dict[str, str],
    versus: list[str],
    optimize: str,
) -> tuple[list[Profiled], list[Path]]:
    """The model on its target; then on others, and other quantized models on the first target."""
    from edgeq.report.npu import profiled
    from edgeq.runtime.program import Program
    from edgeq.runtime.target import load_target

    if file.suffix.lower() == ".edgeq":
        try:
            program = Program.from_bytes(file.read_bytes())
        except ProgramError as broken:
            raise ProgramError(f"{file}: {broken}") from None
        own = program.meta.get("target", "cpu")
        if changes or versus or (target is not None and target != own):
            raise ModelError(
                f"{file}: it is compiled for {own}; another target needs the model itself. "
                "Give the quantized .onnx (edgeq quantize MODEL -o OUT.onnx)."
            )
        return [profiled(program)], [file]
    first = target or DEFAULT
    made: list[Profiled] = []
    files: list[Path] = []
    for one in (first, *versus):
        path, name = (Path(one), first) if one.lower().endswith(".onnx") else (file, one)
        if path != file:
            require_file(path, ProgramError)
        graph, chip = _read(path), load_target(name)
        if changes and name == first:
            chip = chip.what_if(changes)
        if chip.dataflow == "none":
            raise CompileError(f"target {name}: it has no clock; choose an NPU. See: edgeq targets")
        made.append(_compiled(out, graph, chip, optimize))
        files.append(path)
    return made, files


def _compiled(out: Out, graph: Graph, chip: Any, optimize: str) -> Profiled:
    import edgeq
    from edgeq.report.npu import profiled

    out.detail(f"Compiling {graph.name} for {chip.name}")
    return profiled(edgeq.compile(graph, target=chip, optimize=optimize))


def _read(file: Path) -> Graph:
    import edgeq
    from edgeq.quantizer import verify_quantized

    if file.suffix.lower() != ".onnx":
        raise ModelError(
            f"{file}: must end in .edgeq or .onnx. Name a compiled or quantized model."
        )
    graph = edgeq.read(file)
    if not graph.quantized:
        raise ModelError(
            f"{file}: must be a quantized model (QDQ), is a float one. "
            f"Run: edgeq quantize {file} -o {file.stem}_int8.onnx --data FOLDER"
        )
    verify_quantized(graph)
    return graph


def _summary(one: Profiled) -> dict[str, Any]:
    p = one.profile.to_dict()
    keys = ("target", "cycles", "latency_ms", "fps", "fps_bound", "sram_peak_bytes", "dram_bytes",
            "weight_bytes", "energy_uj", "utilization")  # fmt: skip
    return {key: p[key] for key in keys}


def _print(out: Out, made: list[Profiled], files: list[Path], most: int) -> None:
    p = made[0].profile
    half = (p.energy["low_uj"], p.energy["high_uj"])
    cores = f"{p.cores_used} of {p.cores}" if p.cores > 1 else "1"
    out.line(
        facts(
            [
                ("target", f"{p.target}: {p.title}"),
                ("one picture", f"{p.latency_ms:.3g} ms, {count(p.cycles)} cycles on {cores} core"),
                (
                    "many pictures",
                    f"{p.fps:.4g} a second, limited by {p.fps_bound}; cores per picture: {p.fps_cores}",
                ),
                ("array", f"{p.utilization:.1%} of its peak over the whole run"),
                (
                    "SRAM",
                    f"{size(p.sram_peak_bytes)} of {size(p.sram_bytes)}, "
                    f"{p.sram_peak_bytes / max(p.sram_bound_bytes, 1):.3f} of the lower bound",
                ),
                ("outside", f"{size(p.dram_bytes)} moved, {size(p.weight_bytes)} of it weights"),
                ("weights", f"{size(p.weight_stored_bytes)} stored of {size(p.weight_raw_bytes)}"),
                ("energy", f"{p.energy_uj:.4g} uJ, within {half[0]:.3g} to {half[1]:.3g}"),
                (
                    "array waits",
                    ", ".join(f"{k} {count(v)}" for k, v in p.stalls.items() if v) or "never",
                ),
            ]
        )
    )
    if p.cores_used < p.cores:
        out.note(
            f"One picture runs on {p.cores_used} of {p.cores} cores; the others take pictures of their own."
        )
    out.line()
    slow = sorted(p.layers, key=lambda layer: -layer.cycles)[:most]
    rows = [
        (
            a.name,
            count(a.cycles),
            f"{a.utilization:.0%}",
            size(a.dram_bytes),
            _weights(a),
            f"{a.energy_uj:.1f}",
            a.bound,
        )
        for a in slow
    ]
    out.line(table(("layer", "cycles", "array", "outside", "weights", "uJ", "bound"), rows))
    out.line()
    for layer in slow[:5]:
        out.line(f"{layer.name}: {layer.verdict}")
    if len(made) > 1:
        out.line()
        names = [path.name for path in files]
        rows_vs = [
            (
                s["target"] if len(set(names)) == 1 else f"{s['target']}, {name}",
                s["latency_ms"],
                s["fps"],
                size(s["sram_peak_bytes"]),
                size(s["dram_bytes"]),
                s["energy_uj"],
            )
            for s, name in zip(map(_summary, made), names, strict=True)
        ]
        out.line(table(("target", "ms", "fps", "SRAM", "outside", "uJ"), rows_vs))


def _weights(layer: LayerProfile) -> str:
    """Bits of a layer's weights, how they are stored, and what that takes off."""
    if not layer.weight_bits:
        return ""
    saved = f" -{layer.weight_saved:.0%}" if layer.weight_saved else ""
    return f"{layer.weight_bits} bit, {layer.coding}{saved}"
