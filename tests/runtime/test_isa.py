"""EDGEQ_ISA forced through every kernel set: each network gives one output hash."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgeq
from edgeq.compiler import compile_graph
from edgeq.errors import ModelError, UnsupportedOp
from edgeq.quantizer.recipe import PRESETS
from edgeq.runtime import _engine
from tests.aarch64.programs import network
from tests.runtime.samples import everything

# seeds of the inputs are fixed; threads differ from level to level, which must not matter either
RUN = """
import hashlib, sys
import numpy as np
import edgeq
from edgeq.runtime import isa_name
for at, path in enumerate(sys.argv[2:]):
    with edgeq.load(path, threads=int(sys.argv[1])) as session:
        rng, digest = np.random.default_rng(at), hashlib.sha256()
        for real in (False, True):
            x = {s.name: rng.normal(0, 1, s.shape).astype(np.float32) if real or s.dtype == "float32"
                 else rng.integers(-128, 128, s.shape).astype(s.dtype) for s in session.inputs}
            for name, y in sorted(session.run(x, native=not real).items()):
                digest.update(name.encode() + y.tobytes())
    print(isa_name(), digest.hexdigest())
"""


def hashes(level: str, threads: int, paths: list[Path]) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(threads), *paths],
        env={**os.environ, "EDGEQ_ISA": level}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    used, found = zip(*(row.split() for row in done.stdout.splitlines()), strict=True)
    assert set(used) == {level}
    return list(found)


def one_hash_each(paths: list[Path]) -> None:
    by_level = {
        level: hashes(level, 1 + at % 3, paths) for at, level in enumerate(_engine.isa_list())
    }
    expected = by_level["scalar"]
    assert len(expected) == len(paths)
    assert all(found == expected for found in by_level.values()), by_level


def test_small_networks_give_one_hash(tmp_path: Path) -> None:
    paths = []
    for name, body in (("network", compile_graph(network()).to_bytes()), ("all", everything())):
        paths.append(tmp_path / f"{name}.edgeq")
        paths[-1].write_bytes(body)
    one_hash_each(paths)


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["int8", "w4a8"])
def test_every_real_model_gives_one_hash(shared: Path, tmp_path: Path, recipe: str) -> None:
    paths = []
    for source in sorted(shared.glob("models/*/*.onnx")):
        try:
            graph = edgeq.read(source)
            rng = np.random.default_rng(0)
            noise = {
                n: rng.normal(0, 1, graph.values[n].shape).astype(np.float32) for n in graph.inputs
            }
            made = edgeq.quantize(graph, edgeq.calibrate(graph, [noise]), PRESETS[recipe])
        except UnsupportedOp:  # recurrent layers
            continue
        except ModelError as why:
            assert "every size must be fixed" in str(why)  # noqa: PT017
            continue
        paths.append(tmp_path / f"{source.stem}.edgeq")
        paths[-1].write_bytes(compile_graph(made).to_bytes())
    assert len(paths) >= 11
    one_hash_each(paths)
