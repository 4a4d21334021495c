"""Builds the C library and its tests, each way once per test run."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def sanitized() -> Path:
    """Folder of the C tests and fuzz_loader under the address and undefined-behaviour sanitizers."""
    return _built("sanitized", "-DEDGEQ_SANITIZE=ON")


def plain() -> Path:
    """Folder of the same with the code that users run, and its debug names."""
    return _built("plain", "-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS=-g")


@functools.cache
def _built(name: str, *options: str) -> Path:
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    cmake = shutil.which("cmake", path=tools)
    if cmake is None:
        pytest.skip("no cmake: the C tests are SKIPPED (pip install 'edgeq[dev]')")
    folder = ROOT / "build" / name
    steps = [
        [cmake, "-S", str(ROOT / "edge_runtime"), "-B", str(folder), *options],
        [cmake, "--build", str(folder), "--parallel", "2"],
    ]
    for step in steps:
        done = subprocess.run(
            step, capture_output=True, text=True, check=False, env={**os.environ, "PATH": tools}
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return folder
