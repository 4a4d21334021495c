"""No kernel leaves its buffers: the library's memory, the file and the caller's arrays lie against unreadable pages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from edgeq.runtime import _engine
from edgeq.runtime.program import Program
from tests.runtime.cbuild import plain
from tests.runtime.guarded import PAGE, READ_BY_KERNELS, with_last, write
from tests.runtime.samples import everything


def test_the_rearranged_file_is_the_same_program() -> None:
    body = everything()
    for last in READ_BY_KERNELS:
        other = with_last(body, last)
        assert len(other) % PAGE == 0
        a, b = Program.from_bytes(body), Program.from_bytes(other)
        for part in (s.lower() for s in READ_BY_KERNELS):
            assert getattr(a, part) == getattr(b, part)


@pytest.mark.parametrize("last", READ_BY_KERNELS)
def test_every_case_stays_inside_its_buffers(tmp_path: Path, last: str) -> None:
    paths = write(tmp_path, last)
    done = subprocess.run(
        [plain() / "guarded_programs", *paths], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    runs = 16 * len(_engine.isa_list()) * len(paths)
    assert done.stdout == f"{runs} runs of {len(paths)} programs stayed inside their buffers\n"
