"""Who may import whom: runtime <- graph, ops <- frontend, passes, quantizer, compiler <- report, zoo <- cli.

`vision` and `apps` stand on the runtime and the facade alone; quantizer and compiler do not know each other;
`seeds` (the tools that make our own models) may use all but the command line.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[1] / "sdk" / "edgeq"

BASE = {"errors", "runtime"}
CORE = BASE | {"graph", "ops"}
HOST = CORE | {"passes", "frontend"}
FACADE = "the facade"  # `import edgeq`
ALLOWED = {
    "errors": set[str](),
    "runtime": BASE,
    "ops": CORE,
    "graph": CORE,
    "passes": CORE,
    "frontend": HOST,
    "quantizer": HOST,
    "compiler": CORE | {"passes"},
    "vision": BASE | {FACADE},
    "apps": BASE | {FACADE, "vision"},
    "report": HOST | {FACADE, "vision", "quantizer", "compiler", "zoo"},
    "seeds": HOST | {FACADE, "vision", "quantizer", "compiler", "report", "zoo"},
    "zoo": HOST | {FACADE, "vision", "quantizer", "compiler", "report"},
}
# libraries that only these parts may import
FOREIGN = {
    "onnx": {"frontend", "seeds"},
    "onnxruntime": {"quantizer", "report", "cli", "seeds"},
    "cv2": {"vision", "report", "cli", "apps", "seeds"},
    "typer": {"cli"},
    "rich": {"cli"},
    "kivy": {"apps"},
}


def sources(part: str) -> list[Path]:
    return sorted((SOURCE / part).rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every imported module with its line, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports must be absolute"
            assert node.module is not None
            if node.module == "edgeq":
                for alias in node.names:
                    yield f"edgeq.{alias.name}", node.lineno
            else:
                yield node.module, node.lineno


def part_of(module: str) -> str | None:
    """Return the part of edgeq that a module belongs to, None for a library."""
    head, _, rest = module.partition(".")
    if head != "edgeq":
        return None
    first = rest.partition(".")[0]
    return first if first == "errors" or (first and (SOURCE / first).is_dir()) else FACADE


PARTS = sorted(p.name for p in SOURCE.iterdir() if p.is_dir() and sources(p.name))


@pytest.mark.parametrize("part", [p for p in PARTS if p != "cli"])
def test_a_part_imports_only_what_lies_below(part: str) -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {module}"
        for path in sources(part)
        for module, line in imports(path)
        if (below := part_of(module)) is not None and below != part and below not in ALLOWED[part]
    ]
    assert not wrong, "\n".join(wrong)


def test_the_runtime_imports_numpy_and_no_other_library() -> None:
    found = {
        module.partition(".")[0]
        for path in sources("runtime")
        for module, _ in imports(path)
        if part_of(module) is None
    }
    assert found - set(sys.stdlib_module_names) <= {"numpy"}


@pytest.mark.parametrize("part", PARTS)
def test_a_library_stays_in_its_parts(part: str) -> None:
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} imports {module}"
        for path in sources(part)
        for module, line in imports(path)
        if part not in FOREIGN.get(module.partition(".")[0], {part})
    ]
    assert not wrong, "\n".join(wrong)


def test_every_part_has_a_rule() -> None:
    assert set(PARTS) - {"cli"} <= set(ALLOWED)
