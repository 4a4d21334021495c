"""The code in edge_runtime/README.md and in the comment of edgeq.h runs as it stands."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.runtime.cbuild import ROOT, sanitized
from tests.runtime.samples import everything


def test_the_python_example_runs(tmp_path: Path) -> None:
    (tmp_path / "m.edgeq").write_bytes(everything())
    text = (ROOT / "edge_runtime" / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)


@pytest.mark.slow
def test_the_c_example_compiles_and_runs(tmp_path: Path) -> None:
    (tmp_path / "m.edgeq").write_bytes(everything())
    header = (ROOT / "edge_runtime" / "csrc" / "edgeq.h").read_text(encoding="utf-8")
    lines = [line[5:] for line in header.splitlines() if line.startswith(" *   ")]
    body = (
        "\n".join(lines)
        .replace("pixels, count", "pixels, 108")
        .replace("scores, score_count", "scores, 45")
    )
    code = (
        '#include <stdio.h>\n#include "edgeq.h"\n'
        f"int main(void) {{ static float pixels[108], scores[45];\n{body}\n"
        "return scores[0] + scores[4] > 0 ? 0 : 1; }\n"
    )
    (tmp_path / "main.c").write_text(code)
    library = sanitized() / "libedgeq.a"
    command = ["gcc", "-Wall", "-Werror", "-fsanitize=address,undefined", "-I", str(ROOT / "edge_runtime" / "csrc"),
               "main.c", str(library), "-lm", "-lpthread", "-o", "main"]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "main"], cwd=tmp_path, check=True)
