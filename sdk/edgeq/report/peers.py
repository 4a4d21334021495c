"""edgeq beside other runtimes: who can run a model here, and all of them taking turns in one run.

Every runtime sits in a process of its own (runtimes.py); all take short turns, so that a disturbance
meets each of them. Each peer runs its float model and an int8 one: ONNX Runtime and OpenVINO a QDQ model
that ONNX Runtime's quantizer makes from noise (speed does not depend on the values), LiteRT .tflite files
where there are any, ncnn what `pnnx` converts (float alone: ncnn's quantizer is in no package).
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from edgeq.errors import DeviceError
from edgeq.runtime import isa
from edgeq.runtime.program import Program, write_atomic

PACKAGES = {
    "ort": "onnxruntime",
    "openvino": "openvino",
    "litert": "ai-edge-litert",
    "ncnn": "ncnn",
}
PEERS = tuple(PACKAGES)
PIP = "pip install 'edgeq[peers]'"
TURN_S = 0.2
SAME = 0.05  # relative error below which a converted float model counts as the same network


@dataclass(frozen=True, slots=True)
class Candidate:
    """A file that a runtime can time. `shape` is the input's where the file does not tell."""

    runtime: str  # edgeq | ort | openvino | litert | ncnn
    precision: str  # int8 | w4a8 | f32
    file: Path
    native: bool = False  # integers in and out
    shape: tuple[int, ...] = ()


@dataclass(slots=True)
class Peers:
    """Candidates in the order of the table, and what is left out, each with its reason."""

    rows: list[Candidate] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)


def installed(package: str) -> str:
    """Return the version of an installed distribution, "" for none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def candidates(
    program: Path,
    source: Path,
    wanted: Sequence[str],
    folder: Path,
    *,
    qdq: Path | None = None,
    lites: Sequence[Path] = (),
) -> Peers:
    """Return the program and all that the wanted peers can run of its float `source`.

    `qdq` is the int8 model for ONNX Runtime and OpenVINO; without it one is made. `lites` are the .tflite
    files of the same network. `folder` keeps the models that are made for the peers. Raises DeviceError
    when none of the wanted peers is installed.
    """
    missing = [name for name in wanted if not installed(PACKAGES[name])]
    if wanted and len(missing) == len(wanted):
        names = ", ".join(PACKAGES[n] for n in missing)
        raise DeviceError(f"--vs {','.join(wanted)}: {names} must be installed. Run: {PIP}")
    found = Peers([edgeq_row(program)])
    found.left_out += [f"{n}: {PACKAGES[n]} is not installed. Run: {PIP}" for n in missing]
    folder.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        if name in missing:
            continue
        try:
            found.rows += _of_peer(name, source, qdq, lites, folder)
        except DeviceError as why:
            found.left_out.append(f"{name}: {why}")
    if any(row.runtime == "litert" and row.precision == "int8" for row in found.rows):
        found.rows.insert(1, replace(found.rows[0], native=True))
    return found


def _of_peer(
    name: str, source: Path, qdq: Path | None, lites: Sequence[Path], folder: Path
) -> list[Candidate]:
    if name == "litert":
        if not lites:
            raise DeviceError(f"there is no .tflite file of {source.stem}.")
        return [from_file(path) for path in lites]
    if source.suffix.lower() != ".onnx":
        raise DeviceError(f"it takes .onnx files, {source.name} is none.")
    if name == "ncnn":
        return [ncnn_model(source, folder)]
    return [
        Candidate(name, "f32", source),
        Candidate(name, "int8", qdq or int8_onnx(source, folder)),
    ]


def from_file(path: Path) -> Candidate:
    """Return the candidate that a file's ending names: .edgeq, .onnx (ONNX Runtime) or .tflite (LiteRT)."""
    if path.suffix.lower() == ".edgeq":
        return edgeq_row(path)
    if path.suffix.lower() == ".tflite":
        return Candidate("litert", "f32" if "float" in path.stem else "int8", path)
    return Candidate("ort", "int8" if is_qdq(path) else "f32", path)


def is_qdq(path: Path) -> bool:
    """Tell a quantized ONNX file from a float one."""
    return b"DequantizeLinear" in path.read_bytes()


def edgeq_row(program: Path) -> Candidate:
    """Return the program as a candidate; w4a8 when a layer keeps its weights in 4 bits."""
    heads = np.frombuffer(
        Program.from_bytes(program.read_bytes()).commands, isa.COMMAND_DTYPES["END"]
    )
    layers = np.isin(heads["opcode"], [isa.OPCODES[name].number for name in ("CONV", "DWCONV")])
    four = bool((heads["flags"][layers] & isa.FLAG_WEIGHTS4).any())
    return Candidate("edgeq", "w4a8" if four else "int8", program)


def int8_onnx(source: Path, folder: Path) -> Path:
    """Make a per-channel QDQ model with ONNX Runtime's quantizer. Raises DeviceError when it cannot."""
    target = folder / f"{source.stem}_int8.onnx"
    if target.exists():
        return target
    done = subprocess.run(
        [sys.executable, "-c", _QUANTIZE, str(source), str(target)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode or not target.exists():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise DeviceError(f"onnxruntime's quantizer must take {source.name}, says: {last[:200]}")
    return target


_QUANTIZE = """
import os, sys
import numpy as np, onnx, onnxruntime
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
source, target = sys.argv[1:]
ready, part = target + ".ready", target + ".part"
puts = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"]).get_inputs()
rng = np.random.default_rng(0)
shapes = {p.name: [d if isinstance(d, int) else 1 for d in p.shape] for p in puts}
class Noise(CalibrationDataReader):
    left = [{n: rng.random(s, np.float32) for n, s in shapes.items()} for _ in range(2)]
    def get_next(self):
        return self.left.pop() if self.left else None
model = onnx.load(source)
if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < 13:
    model = version_converter.convert_version(model, 17)  # scales per channel need 13
onnx.save(model, ready)
try:
    quant_pre_process(ready, ready, skip_symbolic_shape=True)
except Exception as error:  # the model as it is, then
    print(f"not optimised before quantization: {error}", file=sys.stderr)
quantize_static(ready, part, Noise(), quant_format=QuantFormat.QDQ, per_channel=True,
                activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8)
os.replace(part, target)
os.unlink(ready)
"""


def ncnn_model(source: Path, folder: Path) -> Candidate:
    """Convert with `pnnx` and compare with ONNX Runtime. Raises DeviceError when ncnn computes otherwise."""
    import onnxruntime as ort

    put = ort.InferenceSession(str(source), providers=["CPUExecutionProvider"]).get_inputs()[0]
    shape = tuple(d if isinstance(d, int) else 1 for d in put.shape)
    found = Candidate("ncnn", "f32", folder / "ncnn" / f"{source.stem}.ncnn.param", shape=shape)
    if not found.file.exists():
        tool = _pnnx()
        if tool is None:
            raise DeviceError(
                "its converter pnnx is not installed. Run: pip install --no-deps pnnx"
            )
        copy = found.file.parent / source.name  # pnnx writes beside its input
        write_atomic(copy, source.read_bytes())
        size = ",".join(map(str, shape))
        done = subprocess.run(
            [tool, str(copy), f"inputshape=[{size}]"], capture_output=True, check=False
        )
        if not found.file.exists():
            said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing"]
            raise DeviceError(
                f"pnnx must convert {source.name}, does not. It says: {said[-1][:200]}"
            )
    error = relative_error(Candidate("ort", "f32", source), found, folder / "ncnn")
    if error > SAME:
        raise DeviceError(f"the converted model must compute the same, is {error:.0%} away.")
    return found


def _pnnx() -> str | None:
    """The converter inside its wheel, whose own script would import torch; else one on PATH."""
    package = importlib.util.find_spec("pnnx")
    for folder in (package.submodule_search_locations or ()) if package else ():
        if (Path(folder) / "pnnx").is_file():
            return str(Path(folder) / "pnnx")
    return shutil.which("pnnx")


def relative_error(one: Candidate, other: Candidate, folder: Path) -> float:
    """Compare the first outputs of two float models on the same noise; inf for other sizes."""
    outputs = []
    for row in (one, other):
        kept = folder / f"{row.runtime}.npz"
        child = Child(row, 1, keep=kept)
        child.close()
        if child.error:
            raise DeviceError(child.error)
        with np.load(kept) as file:
            outputs.append([file[name].reshape(-1).astype(np.float64) for name in file.files])
    a, b = outputs
    if [x.size for x in a] != [x.size for x in b]:
        return float("inf")
    return max(
        float(np.linalg.norm(x - y) / (np.linalg.norm(x) + 1e-30))
        for x, y in zip(a, b, strict=True)
    )


class Child:
    """A candidate loaded in a process of its own. `error` says why it is not."""

    def __init__(self, row: Candidate, threads: int, *, keep: Path | None = None) -> None:
        self.row, self.times = row, list[float]()
        how = {
            "runtime": f"{row.runtime}-native" if row.native else row.runtime,
            "file": str(row.file),
            "threads": threads,
            "shape": row.shape,
            "keep": str(keep or ""),
        }
        script = Path(__file__).with_name("runtimes.py")
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script), json.dumps(how)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        self.facts: dict[str, Any] = self._answer()
        self.error = str(self.facts.get("error", ""))

    def turn(self, seconds: float) -> None:
        """Run for so long, if it can."""
        if self.error:
            return
        assert self.process.stdin is not None
        try:
            print(seconds, file=self.process.stdin, flush=True)
        except BrokenPipeError:
            self.error = "its process ended"
            return
        answer = self._answer()
        if isinstance(answer, dict):
            self.error = str(answer["error"])
        else:
            self.times += answer

    def close(self) -> None:
        """End the process."""
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe:
                pipe.close()
        self.process.wait()

    def _answer(self) -> Any:
        assert self.process.stdout is not None
        return json.loads(self.process.stdout.readline() or '{"error": "its process ended"}')


def measure(
    rows: Iterable[Candidate], threads: int, seconds: float, step: Callable[[int, int], None]
) -> list[dict[str, Any]]:
    """Time the candidates in turns; one result each, {"error"} for those that fail.

    Milliseconds per run: `p50_ms`, `p95_ms`, quartiles and minimum; cold start and memory of its process.
    """
    children = [Child(row, threads) for row in rows]
    turns = max(3, round(seconds / TURN_S))
    try:
        for turn in range(turns):
            for child in children:
                child.turn(seconds / turns)
            step(turn + 1, turns)
    finally:
        for child in children:
            child.close()
    return [_result(child, threads) for child in children]


def _result(child: Child, threads: int) -> dict[str, Any]:
    row = child.row
    result: dict[str, Any] = {
        "file": str(row.file),
        "runtime": row.runtime,
        "precision": row.precision,
        "threads": threads,
        "inputs": "integers" if row.native or row.file.suffix == ".tflite" else "float32",
    }
    if child.error:
        return result | {"error": child.error}
    ordered = sorted(child.times)
    low, middle, high = statistics.quantiles(ordered, n=4) if len(ordered) > 1 else ordered * 3
    return result | {
        "runs": len(ordered),
        "p50_ms": middle,
        "p95_ms": ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))],
        "quartiles_ms": [low, high],
        "min_ms": ordered[0],
        "fps": 1e3 * len(ordered) / sum(ordered),
        "bytes": row.file.stat().st_size,
        **child.facts,
    }
