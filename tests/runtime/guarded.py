"""Programs for csrc/tests/guarded_programs.c, laid out so that a read behind a buffer meets an unreadable page.

python -m tests.runtime.guarded FOLDER     writes them (tests/aarch64/run.sh runs them under qemu)
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgeq.compiler import compile_graph
from edgeq.runtime import isa
from edgeq.runtime.program import Program
from tests.aarch64.programs import network
from tests.cases import CASES, build
from tests.runtime.samples import everything, mend

PAGE = 4096
SIZES = {1: 1, 2: 2, 3: 4, 4: 4}  # bytes by dtype
READ_BY_KERNELS = ("CONSTANTS", "QPARAMS", "LUTS")


def with_last(body: bytes, last: str) -> bytes:
    """The same program with section `last` at the end of a file of whole pages, CONSTANTS before its slack.

    Sections may stand in any order; META grows by spaces so that the last byte ends a page.
    """
    count = int(np.frombuffer(body, isa.HEADER_DTYPE, 1)[0]["sections"])
    table = np.frombuffer(body, isa.SECTION_DTYPE, count, isa.HEADER_DTYPE.itemsize)
    parts = {int(r["kind"]): body[int(r["offset"]) : int(r["offset"] + r["bytes"])] for r in table}
    kinds = [k for k in parts if k != isa.SECTIONS[last]] + [isa.SECTIONS[last]]
    tail = bytes(isa.ALIGN) if last == "CONSTANTS" else b""
    start = isa.HEADER_DTYPE.itemsize + table.nbytes

    def laid_out() -> tuple[bytearray, list[tuple[int, int]]]:
        out, spans = bytearray(start), []
        for kind in kinds:
            out += bytes(-len(out) % isa.ALIGN)
            spans.append((len(out), len(parts[kind])))
            out += parts[kind]
        out += bytes(-len(out) % isa.ALIGN) + tail
        return out, spans

    parts[isa.SECTIONS["META"]] += b" " * (-len(laid_out()[0]) % PAGE)
    out, spans = laid_out()
    assert len(out) % PAGE == 0
    header = np.frombuffer(body, isa.HEADER_DTYPE, 1).copy()
    header["file_bytes"] = len(out)
    rows = np.zeros(count, isa.SECTION_DTYPE)
    rows["kind"] = kinds
    rows["offset"], rows["bytes"] = zip(*spans, strict=True)
    out[:start] = header.tobytes() + rows.tobytes()
    return mend(out)


def flush(body: bytes) -> bytes:
    """The same program with all tensors moved up until the highest one ends where the arena ends."""
    program = Program.from_bytes(body)
    tensors = program.tensors.copy()
    inside = tensors["region"] == isa.REGIONS["ARENA"]
    dims, strides = (tensors[k].astype(np.int64) for k in ("dims", "strides"))
    reach = (
        np.where(np.arange(6) < tensors["ndim"][:, None], (dims - 1) * strides, 0).clip(0).sum(1)
    )
    size = np.array([SIZES[int(d)] for d in tensors["dtype"]])
    end = int((tensors["offset"] + (reach + 1) * size)[inside].max())
    step = int(size[inside].max())
    tensors["offset"][inside] += -end % isa.ALIGN // step * step
    return replace(
        program, tensors=tensors, arena_bytes=-(-end // isa.ALIGN) * isa.ALIGN
    ).to_bytes()


def programs() -> dict[str, bytes]:
    found = {c.id: compile_graph(build(c)[0]) for c in CASES} | {
        "network": compile_graph(network())
    }
    bodies = {name: program.to_bytes() for name, program in found.items()}
    return {name: flush(body) for name, body in bodies.items()} | {"everything": everything()}


def write(folder: Path, last: str) -> list[Path]:
    """One file per program, each with section `last` at its end."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for i, (name, body) in enumerate(programs().items()):
        paths.append(folder / f"{i} {name}.edgeq")
        paths[-1].write_bytes(with_last(body, last))
    return paths


if __name__ == "__main__":
    for section in READ_BY_KERNELS:
        write(Path(sys.argv[1]) / section, section)
