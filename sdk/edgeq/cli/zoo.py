"""`edgeq zoo list|info|pull`: known models with licence, source and checksum."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.cli.console import Out, Verb, Verbs, verb
from edgeq.cli.models import zoo_model
from edgeq.cli.tables import facts, plural, size, table

if TYPE_CHECKING:
    from edgeq.zoo import ZooModel

app = typer.Typer(
    cls=Verbs,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="List, describe and fetch known models.",
)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A model of `edgeq zoo list`.")]
Names = Annotated[list[str], typer.Argument(metavar="NAME", help="Models to fetch.")]


@app.command("list", cls=Verb)
@verb
def list_models(out: Out) -> None:
    """List the models that edgeq knows."""
    from edgeq import zoo

    models = zoo.list_models()
    out.document = {
        "models": [
            {"name": m.name, "task": m.card.task, "bytes": m.bytes, "online": bool(m.url)}
            for m in models
        ]
    }
    rows = [(m.name, m.card.task, size(m.bytes), _where(m)) for m in models]
    out.line(table(("model", "task", "size", "from"), rows))
    out.note(f"{plural(len(models), 'model')}. One of them in full: edgeq zoo info NAME")


def _where(model: ZooModel) -> str:
    if model.packaged:
        return "this package"
    return "upstream" if model.url else "a mirror"


@app.command("info", cls=Verb)
@verb
def info(out: Out, name: Name) -> None:
    """Describe one model: source, licence, checksum and task card."""
    model = zoo_model(name)
    card = model.card
    out.document = {key: value for key, value in asdict(model).items() if key != "card"}
    out.document["card"] = card.to_dict()
    decode = card.to_dict()["decode"]
    out.line(
        facts(
            [
                ("model", model.name),
                ("title", model.title),
                ("file", f"{model.file}, {size(model.bytes)}"),
                ("sha256", model.sha256),
                ("address", model.url or "none: served from EDGEQ_ZOO_MIRROR only"),
                ("source", model.source),
                ("licence", card.licence or None),
                ("accuracy", card.accuracy or None),
                *([("note", model.note)] if model.note else []),
                ("task", f"{card.task}, ranked by {card.metric}"),
                (
                    "input",
                    f"{card.input.height}x{card.input.width} {card.input.color}, {card.input.resize}",
                ),
                (
                    "decode",
                    ", ".join(f"{k} {v}" for k, v in decode.items() if v not in ("", [], None)),
                ),
                (
                    "labels",
                    f"{len(card.labels)}: {', '.join(card.labels[:5])}{', ...' * (len(card.labels) > 5)}",
                ),
            ]
        )
    )


@app.command("pull", cls=Verb)
@verb
def pull(out: Out, names: Names) -> None:
    """Fetch models into the cache (checked by SHA-256) and print where they are."""
    from edgeq import zoo

    files = []
    for name in names:
        zoo_model(name)
        with out.progress(f"Fetching {name}") as step:
            path = zoo.pull(name, progress=step)
        files.append({"name": name, "file": str(path), "bytes": path.stat().st_size})
        out.line(str(path))
    out.document = {"models": files}
