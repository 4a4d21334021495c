"""The C tests, under the address and undefined-behaviour sanitizers."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.runtime.cbuild import sanitized
from tests.runtime.guarded import write


@pytest.mark.slow
@pytest.mark.parametrize("name", ["test_kernels", "test_numerics", "test_threads"])
def test_c_tests_pass_under_the_sanitizers(name: str) -> None:
    done = subprocess.run([sanitized() / name], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_every_case_passes_under_the_sanitizers(tmp_path: Path) -> None:
    command = [sanitized() / "guarded_programs", *write(tmp_path, "QPARAMS")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]


@pytest.mark.slow
def test_no_c_test_is_forgotten() -> None:
    built = {
        p.name
        for p in sanitized().iterdir()
        if p.name.startswith("test_") and os.access(p, os.X_OK)
    }
    assert built == {"test_kernels", "test_numerics", "test_threads"}
