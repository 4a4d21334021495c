"""`import edgeq` is light, its names are real, and the stub says the same."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import edgeq

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "sdk" / "edgeq" / "__init__.pyi"


def test_import_loads_numpy_and_nothing_else() -> None:
    code = """
import sys
import numpy
before = set(sys.modules)
import edgeq
new = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(new - set(sys.stdlib_module_names) - {"edgeq"}))
print(*sorted(name for name in sys.modules if name.startswith("edgeq.")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    foreign, own = done.stdout.splitlines()
    # numpy loads some of its parts late; the engine brings Cython's own entries; an editable install its finder
    ours = ("numpy", "cython_runtime", "_cython_", "edge_runtime", "_edgeq")
    assert [name for name in foreign.split() if not name.startswith(ours)] == []
    assert {name.split(".")[1] for name in own.split()} == {"errors", "runtime"}


@pytest.mark.parametrize("name", edgeq.__all__)
def test_every_public_name_exists(name: str) -> None:
    assert getattr(edgeq, name) is not None


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'edgeq' has no attribute 'prune'"):
        edgeq.prune  # type: ignore[attr-defined]  # noqa: B018


def test_dir_lists_the_public_names() -> None:
    assert set(dir(edgeq)) == set(edgeq.__all__)


def test_the_stub_declares_exactly_the_public_names() -> None:
    declared = set()
    for node in ast.parse(STUB.read_text()).body:
        if isinstance(node, ast.ImportFrom):
            declared |= {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.AnnAssign):
            declared.add(node.target.id)  # type: ignore[union-attr]
    assert declared - {"__all__"} == set(edgeq.__all__)


def test_version_is_the_one_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert edgeq.__version__ == project["version"]
