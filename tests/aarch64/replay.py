"""Programs compiled and run on x86, replayed on aarch64: the same output bytes from every kernel set.

python -m tests.aarch64.replay dump FOLDER      on x86: compile and run programs.py, keep inputs and digests
python -m tests.aarch64.replay hashes FOLDER    on x86: write hashes.json, the digests in the checkout, from a dump
python -m tests.aarch64.replay run FOLDER neon,dotprod     elsewhere, with numpy and edgeq.runtime alone; the names
                                                are the kernel sets that must be there beside scalar
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.runtime import Session, isa_list, isa_name, isa_reason

Array = NDArray[Any]
HASHES = Path(__file__).with_name("hashes.json")
RENEW = "Run tests/aarch64/run.sh hashes on x86 if the change was meant."


def dump(folder: Path) -> None:
    """Write `index.json`, the digests of this machine, and `data.npz`, programs and inputs."""
    from tests.aarch64.programs import programs

    data: dict[str, Array] = {}
    index: list[dict[str, Any]] = []
    for at, one in enumerate(programs()):
        with Session(one.body) as session:
            output = _outputs(session, one.inputs)
        index.append({"name": one.name, "kind": one.kind, "inputs": list(one.inputs),
                      "program": _digest([one.body]), "output": output})  # fmt: skip
        data[f"{at}"] = np.frombuffer(one.body, np.uint8)
        data.update({f"{at} {name}": x for name, x in one.inputs.items()})
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "data.npz", **data)  # type: ignore[arg-type]
    (folder / "index.json").write_text(json.dumps(index, indent=1))
    print(f"{len(index)} programs compiled, and run with {isa_name()}")


def save_hashes(folder: Path) -> None:
    """Keep the digests of the programs that need no file from outside the checkout."""
    index = json.loads((folder / "index.json").read_text())
    rows = [
        f"{json.dumps(one['name'])}: {json.dumps([one['program'], one['output']])}"
        for one in index
        if one["kind"] != "foreign"
    ]
    HASHES.write_text("{\n" + ",\n".join(rows) + "\n}\n")
    print(f"{len(rows)} digests in {HASHES}")


def run(folder: Path, expected: list[str]) -> None:
    """Replay a dump with every kernel set and 1 and 3 threads; exit with the differences."""
    if isa_list() != ["scalar", *expected] or isa_name() != isa_list()[-1]:
        sys.exit(f"kernels must be scalar and {expected}, are {isa_list()}: {isa_reason()}")
    index = json.loads((folder / "index.json").read_text())
    stored = json.loads(HASHES.read_text())
    wrong: list[str] = []
    count: Counter[str] = Counter()
    start = time.perf_counter()
    with np.load(folder / "data.npz") as data:
        for at, want in enumerate(index):
            body = data[f"{at}"].tobytes()
            inputs = {name: data[f"{at} {name}"] for name in want["inputs"]}
            for kernels in isa_list():
                for threads in (1, 3):
                    with Session(body, threads=threads, kernels=kernels) as session:
                        count["runs"] += 1
                        if _outputs(session, inputs) != want["output"]:
                            wrong.append(f"{want['name']}: {kernels}, {threads} threads: not as on x86")  # fmt: skip
            verdict = _against_stored(want, stored)
            count[verdict] += 1
            if verdict == "wrong":
                wrong.append(f"{want['name']}: not as in hashes.json. {RENEW}")
    print(
        f"{isa_reason()}\n{count['runs']} runs of {len(index)} programs with {', '.join(isa_list())}: {len(wrong)} "
        f"differ; {count['equal']} equal hashes.json, {count['other']} are not the program there; "
        f"{time.perf_counter() - start:.0f} s"
    )
    if wrong:
        sys.exit("\n".join(wrong[:40]))


def _against_stored(want: Mapping[str, Any], stored: Mapping[str, list[str]]) -> str:
    """Compare a program's output with the digest in the checkout: equal, other or wrong.

    A "table" program may have changed since: somebody changed its case, or its scales come from float
    sums, whose last bit depends on the BLAS of the machine that compiled it. A "fixed" one may not.
    """
    if want["kind"] == "foreign":
        return "other"
    program, output = stored.get(want["name"], ["", ""])
    if output == want["output"]:
        return "equal"
    return "other" if want["kind"] == "table" and program not in ("", want["program"]) else "wrong"


def _outputs(session: Session, inputs: Mapping[str, Array]) -> str:
    """Digest of the outputs' names, types, shapes and bytes; integers in, integers out."""
    native = all(x.dtype.kind == "i" for x in inputs.values())
    parts: list[bytes] = []
    for name, x in sorted(session.run(inputs, native=native).items()):
        parts += [f"{name} {x.dtype.str} {x.shape}".encode(), np.ascontiguousarray(x).tobytes()]
    return _digest(parts)


def _digest(parts: list[bytes]) -> str:
    return hashlib.sha256(b"".join(parts)).hexdigest()[:16]


if __name__ == "__main__":
    verb, where = sys.argv[1], Path(sys.argv[2])
    if verb == "run":
        run(where, sys.argv[3].split(","))
    else:
        {"dump": dump, "hashes": save_hashes}[verb](where)
