"""`edgeq verify`: float model against compiled file, and the file's integers against the slow truth."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from edgeq.cli.agreement import Agreement, Noise
from edgeq.cli.console import Out, failed, verb
from edgeq.cli.models import (
    Runner,
    digest,
    find_model,
    native_outputs,
    open_runner,
    require_card,
    share_card,
)
from edgeq.cli.samples import report_skipped
from edgeq.cli.tables import facts, plural
from edgeq.errors import DataError, ModelError

Array = NDArray[Any]

EXACT = 2  # pictures for the numpy interpreter, which takes seconds for each

ModelArg = Annotated[str, typer.Argument(metavar="MODEL", help="The float .onnx, or its zoo name.")]
FileArg = Annotated[Path, typer.Argument(metavar="FILE", help="The .edgeq made from it.")]
Data = Annotated[Path, typer.Option("--data", metavar="DIR|NPZ", help="Pictures to compare on.")]
Samples = Annotated[
    int, typer.Option("--samples", min=1, metavar="N", help="Pictures to use, evenly spread.")
]
LeastAgreement = Annotated[
    float,
    typer.Option(
        "--min-agreement", min=0, max=1, metavar="X", help="Least share of equal results."
    ),
]
LeastSqnr = Annotated[
    float,
    typer.Option("--min-sqnr", metavar="DB", help="Least signal to noise ratio of the outputs."),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, max=64, metavar="N", help="CPU threads.")
]
Card = Annotated[
    Path | None, typer.Option("--card", metavar="TOML", help="Replace the file's task card.")
]


@dataclass(slots=True)
class Seen:
    """Outputs over all samples."""

    noise: Noise = field(default_factory=Noise)
    outputs: dict[str, Noise] = field(default_factory=dict)
    agreement: Agreement = field(default_factory=Agreement)
    inputs: list[Array] = field(default_factory=list)
    count: int = 0


@verb
def verify(
    out: Out,
    model: ModelArg,
    file: FileArg,
    data: Data,
    samples: Samples = 16,
    min_agreement: LeastAgreement = 0.8,
    min_sqnr: LeastSqnr = 10.0,
    threads: Threads = None,
    card: Card = None,
) -> None:
    """Compare a float model with its compiled file; PASS or FAIL."""
    if file.suffix.lower() != ".edgeq":
        raise ModelError(f"{file}: must be the compiled .edgeq file. Give MODEL first, then FILE.")
    with out.progress(f"Fetching {model}") as step:
        find_model(model, progress=step)
    truth, made = share_card(
        [
            open_runner(model, card=card, threads=threads),
            open_runner(str(file), card=card, threads=threads),
        ]
    )
    seen = _compare(out, truth, made, data, samples)
    kernels = _digests(out, made, seen.inputs[:EXACT])
    exact = {
        "reference": _equals_reference(out, made, seen.inputs[:EXACT]),
        "cpu": len(set(kernels.values())) == 1,
    }
    if made.raw.device == "npu":
        exact["npu"] = exact["reference"]  # the numpy reference runs the same tiles
    agreement, sqnr = seen.agreement.share, seen.noise.db
    passed = all(exact.values()) and agreement >= min_agreement and sqnr >= min_sqnr
    out.document = {
        "pass": passed,
        "sqnr_db": sqnr,
        "agreement": agreement,
        "mean_iou": seen.agreement.mean_iou,
        "bit_equal": exact,
        "kernels": kernels,
        "samples": seen.count,
        "outputs": {name: {"sqnr_db": noise.db} for name, noise in seen.outputs.items()},
    }
    yes = {True: "equal, bit for bit", False: "DIFFERENT"}
    iou = seen.agreement.mean_iou
    out.line(
        facts(
            [
                ("pictures", seen.count),
                (
                    "agreement",
                    f"{agreement:.4f} of the results (at least {min_agreement:g})"
                    + (f", mean IoU {iou:.3f}" if iou else ""),
                ),
                ("SQNR", f"{sqnr:.1f} dB (at least {min_sqnr:g})"),
                *(
                    ((f"  {name}", f"{noise.db:.1f} dB") for name, noise in seen.outputs.items())
                    if len(seen.outputs) > 1
                    else ()
                ),
                (
                    "numpy against C",
                    f"{yes[exact['reference']]} ({plural(min(EXACT, seen.count), 'picture')})",
                ),
                (", ".join(kernels), yes[exact["cpu"]]),
            ]
        )
    )
    out.line("PASS" if passed else "FAIL")
    if not passed:
        failed()


def _compare(out: Out, truth: Runner, made: Runner, data: Path, count: int) -> Seen:
    """Run both models on the same samples."""
    seen = Seen()
    with out.progress("Comparing") as step:
        for x, items in _samples(out, truth, made, data, count):
            want, got = truth.run(x), made.run(x)
            missing = set(want) - set(got)
            if missing:
                raise ModelError(
                    f"{made.path}: must have the outputs of {truth.path.name}, lacks {', '.join(missing)}. Compile that model."
                )
            for name, array in want.items():
                seen.noise.add(array, got[name].reshape(array.shape))
                seen.outputs.setdefault(name, Noise()).add(array, got[name].reshape(array.shape))
            if items:
                seen.agreement.add(items(want), items(got))
            else:
                seen.agreement.add_arrays(want, got)
            seen.count += 1
            if len(seen.inputs) < EXACT:
                seen.inputs.append(x)
            step(seen.count, count)
    if not seen.count:
        raise DataError(
            f"{data}: must hold at least one usable picture, has none. Check the pictures."
        )
    return seen


def _samples(
    out: Out, truth: Runner, made: Runner, data: Path, count: int
) -> Iterator[tuple[Array, Any]]:
    """Yield input tensors, each with a function that decodes outputs (None without a card)."""
    name = made.raw.inputs[0].name
    if data.suffix.lower() == ".npz" and data.is_file():
        with np.load(data, allow_pickle=False) as file:
            rows = file[name] if name in file.files else None
        if rows is not None:
            for i in range(min(count, len(rows))):
                x = rows[(2 * i + 1) * len(rows) // (2 * min(count, len(rows)))][None].astype(
                    np.float32
                )
                yield (x if x.shape == made.shape else x.transpose(0, 2, 3, 1)), None
            return
    from edgeq.report.data import calibration_data
    from edgeq.vision import decode, preprocess

    rule = require_card(made, "verify with pictures")
    found = calibration_data(data, rule, count)
    for sample in found:
        x, geometry = preprocess(sample.image, rule.input)
        yield x, lambda outputs, geometry=geometry: decode(outputs, geometry, rule)
    report_skipped(out, found)


def _equals_reference(out: Out, made: Runner, inputs: list[Array]) -> bool:
    """Run the file's own commands with numpy and compare the integers."""
    from edgeq.compiler.interpret import run_program
    from edgeq.runtime.program import Program

    program = Program.from_bytes(made.path.read_bytes())
    with out.progress("numpy reference") as step:
        for number, x in enumerate(inputs):
            want = run_program(program, _native_inputs(made, x))
            got = native_outputs(made, x)
            if not all(np.array_equal(want[name], got[name]) for name in want):
                return False
            step(number + 1, len(inputs))
    return True


def _digests(out: Out, made: Runner, inputs: list[Array]) -> dict[str, str]:
    """Run again with every kernel set; one hash of all native integers for each."""
    from edgeq.runtime import Session, isa_list

    found = {}
    with out.progress("every kernel set") as step:
        for number, name in enumerate(isa_list()):
            threads = 1 if name == "scalar" else made.raw.threads
            with Session(made.path, threads=threads, kernels=name) as session:
                rows = [digest(session.run(x, native=True)) for x in inputs]
            found[name] = hashlib.sha256("".join(rows).encode()).hexdigest()
            step(number + 1, len(isa_list()))
    return found


def _native_inputs(made: Runner, x: Array) -> dict[str, Array]:
    """Quantize a float input by the edge rule, in numpy."""
    from edgeq.runtime import numerics

    spec = made.raw.inputs[0]
    info = np.iinfo(spec.dtype)
    y = numerics.quantize(x, spec.scale, spec.zero_point, int(info.min), int(info.max))
    return {spec.name: y.astype(spec.dtype)}
