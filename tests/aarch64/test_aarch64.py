"""NEON, dotprod and i8mm give x86's bytes: cross-built and run under qemu-user by run.sh."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

RUN = Path(__file__).with_name("run.sh")
TOOLS = ("aarch64-linux-gnu-gcc", "qemu-aarch64-static", "mmdebstrap")


@pytest.mark.slow
@pytest.mark.parametrize("what", ["c", "python"])
def test_every_variant_on_every_cpu_model_gives_the_bytes_of_x86(what: str) -> None:
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing and os.environ.get("CI") != "true":  # under CI run.sh installs them or fails
        warnings.warn(f"no {', '.join(missing)}: aarch64 is NOT TESTED", stacklevel=1)
        pytest.skip(f"no {', '.join(missing)} (tests/aarch64/run.sh says how to get them)")
    done = subprocess.run(
        [RUN, what],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHON": sys.executable},
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert "aarch64 holds" in done.stdout
