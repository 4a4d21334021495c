"""The command line: `edgeq VERB ...`. One file per verb; heavy modules load inside the verbs."""

from __future__ import annotations

from typing import Annotated

import typer

import edgeq
from edgeq.cli import (
    bench,
    compile,
    console,
    demo,
    doctor,
    eval,
    inspection,
    profile,
    quantize,
    run,
    targets,
    verify,
    zoo,
)

app = typer.Typer(
    cls=console.Verbs,
    name="edgeq",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 80},
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"edgeq {edgeq.__version__}")
        raise typer.Exit()


Version = Annotated[
    bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
]


@app.callback()
def _edgeq(version: Version = False) -> None:
    """Quantize ONNX models to INT8, compile them, run them bit-exactly everywhere.

    Start with: edgeq demo
    """


app.command(cls=console.Verb)(demo.demo)
app.command(cls=console.Verb)(quantize.quantize)
app.command(cls=console.Verb)(compile.compile)
app.command(cls=console.Verb)(run.run)
app.command("eval", cls=console.Verb)(eval.evaluate)
app.command(cls=console.Verb)(verify.verify)
app.command(cls=console.Verb)(bench.bench)
app.command(cls=console.Verb)(inspection.inspect)
app.command(cls=console.Verb)(profile.profile)
app.command(cls=console.Verb)(targets.targets)
app.command(cls=console.Verb)(doctor.doctor)
app.add_typer(zoo.app, name="zoo")


def main() -> None:
    """Run the command line."""
    app(prog_name="edgeq")
