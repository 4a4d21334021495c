"""How every verb behaves: options, messages, progress, JSON and exit codes.

Exit codes: 0 done, 1 a check failed, 2 wrong usage or input, 3 internal error.
Results go to stdout, everything else (notes, warnings, progress, errors) to stderr.
"""

from __future__ import annotations

import functools
import inspect
import json
import math
import os
import re
import shutil
import sys
import textwrap
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated, Any, Concatenate, NoReturn, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup

from edgeq.errors import EdgeqError

P = ParamSpec("P")
Step = Callable[[int, int], None]  # (done, total)

CHECK_FAILED, BAD_INPUT, INTERNAL, INTERRUPTED = 1, 2, 3, 130
MOST_LINES = 12  # of one message; a model may have hundreds of nodes that are not supported

_UsageError = typer.BadParameter.__base__  # the same in click and in the click inside typer

JSON = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
QUIET = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
VERBOSE = Annotated[bool, typer.Option("--verbose", "-v", help="Explain what is being done.")]


@dataclass(slots=True)
class Out:
    """Where a verb puts its results: lines for people, or one document for programs."""

    as_json: bool = False
    quiet: bool = False
    verbose: bool = False
    document: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def line(self, text: str = "") -> None:
        """Print a result; left out with --json."""
        if not self.as_json:
            print(text, flush=True)

    def note(self, text: str) -> None:
        """Say what is being done; left out with -q and --json."""
        if not self.quiet and not self.as_json:
            _say(text)

    def detail(self, text: str) -> None:
        """Say more; only with -v."""
        if self.verbose:
            _say(text)

    def warn(self, text: str) -> None:
        """Say what is doubtful, and keep it for the document."""
        self.warnings.append(text)
        _say(f"{_paint('warning:', '33')} {text}")

    @contextmanager
    def progress(self, what: str) -> Iterator[Step]:
        """Show a bar on stderr while it is a terminal; yields a function of (done, total)."""
        bar = None if self.quiet else _bar()
        if bar is None:
            yield self._first_step(what)
            return
        with bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total or None)

    def _first_step(self, what: str) -> Step:
        """Say once that work has begun, where no bar can show it."""
        said = False

        def step(done: int, total: int) -> None:
            nonlocal said
            if not said:
                self.note(what)
            said = True

        return step


def verb(function: Callable[Concatenate[Out, P], None]) -> Callable[..., None]:
    """Give a verb --json, -q and -v, and print its document at the end."""

    @functools.wraps(function)
    def wrapped(*args: Any, as_json: bool, quiet: bool, verbose: bool, **kwargs: Any) -> None:
        out = Out(as_json, quiet, verbose)
        if as_json:
            _state.as_json = True
        try:
            function(out, *args, **kwargs)
        except typer.Exit:
            _emit(out)
            raise
        _emit(out)

    own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=False, annotation=kind)
        for name, kind in (("as_json", JSON), ("quiet", QUIET), ("verbose", VERBOSE))
    ]
    wrapped.__signature__ = inspect.Signature([*own, *extra])  # type: ignore[attr-defined]
    wrapped.__annotations__ = {p.name: p.annotation for p in [*own, *extra]}
    del wrapped.__wrapped__
    return wrapped


def failed() -> NoReturn:
    """End the verb because a check failed."""
    raise typer.Exit(CHECK_FAILED)


@dataclass(slots=True)
class _State:
    as_json: bool = False


_state = _State()


def _emit(out: Out) -> None:
    if out.as_json:
        if out.warnings:
            out.document.setdefault("warnings", out.warnings)
        print(json.dumps(_plain(out.document), ensure_ascii=False, indent=2), flush=True)


def _plain(value: Any) -> Any:
    """Make a document JSON-able: numpy numbers become Python's, a number that is none becomes null."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | frozenset | set):
        return [_plain(item) for item in value]
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, str | int | float | bool | None) else str(value)


class Verb(TyperCommand):
    """A verb whose help names arguments plainly, without the types and braces of newer typers."""

    def get_help(self, ctx: Any) -> str:
        text = re.sub(
            r" <[a-z]+(\[\w+\])?>", lambda found: " " * len(found[0]), super().get_help(ctx)
        )
        return re.sub(r"\{([A-Z]+)\}", r"\1", text)


class Verbs(TyperGroup):
    """A group of verbs in which no exception leaves a traceback."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        kwargs["standalone_mode"] = False
        _state.as_json = False
        try:
            code = super().main(*args, **kwargs)
            if code == INTERRUPTED:  # typer has turned the signal into this code
                code = report(KeyboardInterrupt())
        except (Exception, KeyboardInterrupt) as broken:
            code = report(broken)
        sys.stdout.flush()
        sys.exit(code if isinstance(code, int) else 0)


def report(broken: BaseException) -> int:
    """Tell the user in one sentence what went wrong; returns the exit code."""
    if os.environ.get("EDGEQ_DEBUG") == "1":
        traceback.print_exception(broken)
    match broken:
        case KeyboardInterrupt() | typer.Abort():
            text, code = "interrupted.", INTERRUPTED
        case EdgeqError():
            text, code = _shortened(str(broken)), BAD_INPUT
        case _ if isinstance(broken, _UsageError or ()):
            return _usage(broken)
        case ModuleNotFoundError() if broken.name and not broken.name.startswith("edgeq"):
            text, code = missing_package(broken.name), BAD_INPUT
        case OSError() if broken.filename:
            text = f"{broken.filename}: {broken.strerror or broken}. Check the path and its rights."
            code = BAD_INPUT
        case MemoryError():
            text, code = "memory: the model or data do not fit. Use fewer samples.", BAD_INPUT
        case _:
            what = f"{type(broken).__name__}: {broken}".replace("\n", " ").rstrip(".")
            text = (
                f"internal error: {what}. This is a bug in edgeq; please report it with the"
                " output of the same command under EDGEQ_DEBUG=1."
            )
            code = INTERNAL
    return _fail(text, code)


def _shortened(text: str) -> str:
    """Leave out the middle of a long list."""
    lines = text.splitlines()
    if len(lines) <= MOST_LINES:
        return text
    left = len(lines) - MOST_LINES
    return "\n".join(
        [*lines[: MOST_LINES - 1], f"  ... and {left} more (all: EDGEQ_DEBUG=1)", lines[-1]]
    )


_EXTRA = {
    "onnx": "host", "onnxruntime": "host", "rich": "host",
    "cv2": "vision", "typer": "host", "kivy": "app",
}  # fmt: skip


def missing_package(name: str) -> str:
    """Say which extra brings a package that is not installed."""
    extra = _EXTRA.get(name.split(".")[0])
    fix = f"pip install 'edgeq[{extra}]'" if extra else f"pip install {name}"
    return f"package {name}: must be installed for this, is not. Run: {fix}"


def _usage(broken: Any) -> int:
    context = getattr(broken, "ctx", None)
    if type(broken).__name__ == "NoArgsIsHelpError":
        print(broken.format_message())
        return BAD_INPUT
    text = " ".join(broken.format_message().split()).rstrip(".")
    path = context.command_path if context else "edgeq"
    return _fail(f"{text}{'' if text[-1:] in '?!' else '.'} See: {path} --help", BAD_INPUT)


def _fail(text: str, code: int) -> int:
    if _state.as_json:
        print(json.dumps({"error": text}, ensure_ascii=False), flush=True)
    _say(f"{_paint('error:', '31;1')} {text}")
    return code


def _say(text: str) -> None:
    """Print to stderr, wrapped between words where it is a terminal."""
    if sys.stderr.isatty():
        width = shutil.get_terminal_size().columns
        keep = {"break_long_words": False, "break_on_hyphens": False}
        text = "\n".join(textwrap.fill(row, width, **keep) for row in text.splitlines())  # type: ignore[arg-type]
    print(text, file=sys.stderr, flush=True)


def _paint(text: str, code: str) -> str:
    plain = not sys.stderr.isatty() or "NO_COLOR" in os.environ
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"


def _bar() -> Any:
    """Return a progress bar on stderr, None where nobody would see it."""
    if not sys.stderr.isatty():
        return None
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining
    except ModuleNotFoundError:
        return None
    columns = (TextColumn("{task.description}"), BarColumn(None), MofNCompleteColumn(), Remaining())
    return Progress(*columns, console=Console(stderr=True), transient=True)
