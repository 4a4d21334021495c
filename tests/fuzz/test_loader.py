"""The loader under random damage: ProgramError or a program that runs, never anything else."""

from __future__ import annotations

import random
import subprocess
from pathlib import Path

import pytest

from edgeq.errors import ProgramError
from edgeq.runtime import _engine
from tests.runtime.cbuild import sanitized
from tests.runtime.samples import everything, mend

INTERESTING = (0, 1, 2, 127, 128, 255, 256, 65535, 65536, 2**30, 2**31 - 1, 2**31, 2**32 - 1)


def damaged(rng: random.Random, body: bytes) -> bytes:
    """Some edits of one, two or four bytes; usually with checksums mended, sometimes cut short."""
    out = bytearray(body)
    for _ in range(rng.randint(1, 4)):
        width = rng.choice((1, 2, 4))
        at = rng.randrange(len(out) // width - 1) * width
        old = int.from_bytes(out[at : at + width], "little")
        new = rng.choice(
            (
                old ^ 1 << rng.randrange(8 * width),
                rng.choice(INTERESTING),
                old + rng.randint(-16, 16),
            )
        )
        out[at : at + width] = (new % 2 ** (8 * width)).to_bytes(width, "little")
    if rng.random() < 0.9:
        out = bytearray(mend(out))
    return bytes(out if rng.random() < 0.97 else out[: rng.randrange(len(out))])


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_or_runs(seed: int) -> None:
    rng, body = random.Random(seed), everything()
    levels = _engine.isa_list()
    accepted = 0
    for i in range(2000):
        try:
            engine = _engine.Engine(
                damaged(rng, body), threads=1 + i % 2, isa=levels[i % len(levels)]
            )
        except ProgramError:
            continue
        accepted += 1
        if max(engine.tensor(t)["count"] for t in range(engine.tensor_count)) < 1 << 16:
            engine.run()
    assert accepted > 100  # the damage must reach the rules behind the checksums


@pytest.mark.slow
def test_damage_under_the_sanitizers(tmp_path: Path) -> None:
    path = tmp_path / "sample.edgeq"
    path.write_bytes(everything())
    for seed in range(4):
        command = [sanitized() / "fuzz_loader", path, str(seed), "25000"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
