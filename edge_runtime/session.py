"""Session: a loaded program and the arrays that go in and out of it."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import DeviceError, ProgramError
from edgeq.runtime import _engine, isa

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

Array = NDArray[Any]
Source = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes]
Outputs = dict[str, Array]

QUEUE = 8  # run_async calls that may wait before the caller does


@dataclass(frozen=True, slots=True, eq=False)
class TensorSpec:
    """One input or output: real = scale * (integer - zero_point).

    `scale` and `zero_point` are scalars, or (C,) along the last axis, or None where the tensor is not
    quantized.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    scale: Array | None
    zero_point: Array | None
    layout: str


def load(source: Source, *, threads: int | None = None, device: str | None = None) -> Session:
    """Open an .edgeq program from a path, bytes or a binary file object.

    `threads` None takes the CPUs of this process, at most 8. Raises ProgramError when the file is
    damaged, OSError when it cannot be read, DeviceError when it cannot run here. `device` "npu" asks
    for the NPU model with its clock, "cpu" for the kernels alone; None takes what the program is for.
    """
    return Session(source, threads=threads, device=device)


class Session:
    """A loaded program. Threads may share one session: calls wait for each other.

    Raises what `load` raises. Use it as a context manager to release its memory early.
    """

    def __init__(
        self,
        source: Source,
        *,
        threads: int | None = None,
        kernels: str | None = None,
        device: str | None = None,
    ) -> None:
        if device not in (None, "cpu", "npu"):
            raise DeviceError(f"device must be cpu or npu, got {device!r}.")
        if threads is not None and not 1 <= threads <= 64:
            raise DeviceError(f"threads must be 1..64 or None, got {threads}.")
        body: Any = source
        if not isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)):
            body = source.read()
        self._engine: _engine.Engine | None = _engine.Engine(
            body, threads=threads or 0, isa=kernels
        )
        self._lock = threading.Lock()
        self._executor: ThreadPoolExecutor | None = None
        self._slots = threading.BoundedSemaphore(QUEUE)
        self.meta = _json_section(self._engine, "META", dict)
        engine = self._engine
        self.device = device or ("npu" if "npu" in self.meta else "cpu")
        if self.device == "npu" and "npu" not in self.meta:
            raise DeviceError(
                f"program {self.meta.get('name', '')}: device npu needs a program compiled for an NPU "
                "target, got one for the cpu. Compile it with --target npu-dev."
            )
        self.inputs = _specs(engine, self.meta, "inputs", 0, engine.input_count)
        self.outputs = _specs(engine, self.meta, "outputs", engine.input_count, engine.output_count)
        self._native = [(s.name, s.shape, np.dtype(s.dtype)) for s in self.outputs]
        self._real = [
            (s.name, s.shape, np.dtype(s.dtype if s.scale is None else np.float32))
            for s in self.outputs
        ]

    @property
    def card(self) -> dict[str, Any] | None:
        """Task card: what to do before and after the model; None when the file has none."""
        card = self.meta.get("card")
        return card if isinstance(card, dict) else None

    @property
    def commands(self) -> list[dict[str, Any]]:
        """One {"op", "node", "macs"} per command, from the file's debug table."""
        engine = self._open()
        debug = _json_section(engine, "DEBUG", list)
        opcodes, rows = engine.commands(), []
        places = self._timing()["layer"].tolist() if "npu" in self.meta else range(len(opcodes))
        for i, op in zip(places, opcodes, strict=True):
            entry = debug[i] if i < len(debug) and isinstance(debug[i], dict) else {}
            rows.append({"node": "", "macs": 0, **entry, "opcode": op, "op": entry.get("op", op)})
        return rows

    @property
    def threads(self) -> int:
        return self._open().threads

    @property
    def kernels(self) -> str:
        """Name of the kernel set in use; `edgeq.runtime.isa_list()` names all that run here."""
        return self._open().isa

    @property
    def arena_bytes(self) -> int:
        return self._open().arena_bytes

    def run(self, x: Array | Mapping[str, Array] | None = None, *, native: bool = False) -> Outputs:
        """Run once. `x` is the array of the only input, or a mapping from input name to array.

        float32 (or float64) arrays are quantized by the edge rule; arrays of the input's own dtype
        are taken as they are. Outputs are float32, or the program's own integers with `native`.
        Raises DeviceError for a wrong name, shape or dtype, and for NaN.
        """
        arrays = self._unchecked(x)
        made = self._native if native else self._real
        out = {name: np.empty(shape, dtype) for name, shape, dtype in made}
        into = list(out.values())
        with self._lock:
            engine = self._open()
            if not arrays or not engine.call(arrays, into):
                engine.call(self._arrays(x), into)
        return out

    def run_async(
        self,
        x: Array | Mapping[str, Array] | None = None,
        *,
        native: bool = False,
        callback: Callable[[Outputs], object] | None = None,
    ) -> Future[Outputs]:
        """Queue a run; at most 8 wait, then this call waits too. `callback` gets the outputs.

        The arrays are checked now and must not change until the run is over.
        """
        from concurrent.futures import ThreadPoolExecutor

        self._arrays(x)
        self._slots.acquire()
        with self._lock:
            if self._executor is None:
                self._executor = ThreadPoolExecutor(1, thread_name_prefix="edgeq")
            executor = self._executor

        def work() -> Outputs:
            try:
                out = self.run(x, native=native)
            finally:
                self._slots.release()
            if callback is not None:
                callback(out)
            return out

        try:
            return executor.submit(work)
        except RuntimeError:
            self._slots.release()
            raise DeviceError("the session is closed. Load the program again.") from None

    def bench(self, seconds: float = 3.0, *, warmup: int = 3) -> dict[str, float]:
        """Time runs on the present input contents; milliseconds per run and runs per second."""
        times: list[float] = []
        with self._lock:
            engine = self._open()
            for _ in range(warmup):
                engine.run()
            end = time.perf_counter() + seconds
            while not times or time.perf_counter() < end:
                start = time.perf_counter()
                engine.run()
                times.append((time.perf_counter() - start) * 1e3)
        ms = np.array(times)
        p50, p95 = np.percentile(ms, [50, 95])
        return {
            "runs": float(len(ms)),
            "mean_ms": float(ms.mean()),
            "min_ms": float(ms.min()),
            "p50_ms": float(p50),
            "p95_ms": float(p95),
            "max_ms": float(ms.max()),
            "per_second": 1e3 / float(ms.mean()),
        }

    def profile(self, runs: int = 10) -> list[dict[str, Any]]:
        """Time every command: {"node", "op", "opcode", "ms" (median of `runs`), "macs"} in order.

        On device npu: the model's layers in order, {"name", "op", "cycles", "utilization", "bound",
        "stalls", "dram_bytes", "sram_bytes", "energy_uj", "verdict", ...}; nothing is run.
        """
        if self.device == "npu":
            layers: list[dict[str, Any]] = self.clock()["layers"]
            return layers
        rows = self.commands
        with self._lock:
            engine = self._open()
            engine.run()
            ns = np.array([engine.run_timed() for _ in range(runs)], np.float64)
        ms = np.median(ns.reshape(runs, -1), axis=0) / 1e6
        return [{**row, "ms": float(t)} for row, t in zip(rows, ms, strict=True)]

    def clock(self) -> dict[str, Any]:
        """What the NPU model says of one inference: cycles, latency_ms, fps, memory, energy and layers.

        Raises DeviceError when the session does not run on device npu.
        """
        from edgeq.runtime.npu import profile

        if self.device != "npu":
            raise DeviceError("clock: only device npu has one. Compile with --target npu-dev.")
        commands = self._open().section(isa.SECTIONS["COMMANDS"])
        cores = int(self.meta["npu"].get("cores_used", 1))
        return profile(self.meta, commands, self._timing(), cores)[0].to_dict()

    def _timing(self) -> Array:
        try:
            body = self._open().section(isa.SECTIONS["TIMING"])
        except IndexError:
            raise ProgramError("TIMING: section is missing. Compile the model again.") from None
        return np.frombuffer(body, isa.TIMING_DTYPE)

    def close(self) -> None:
        """Release the arena and the file; waits for queued runs."""
        executor = self._executor
        if executor is not None:
            executor.shutdown(wait=True)
        with self._lock:
            self._engine = None

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        ins = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in self.inputs)
        outs = ", ".join(f"{s.name} {s.dtype}{list(s.shape)}" for s in self.outputs)
        return f"<edgeq.Session {self.meta.get('name', '')!r}: {ins} -> {outs}>"

    def _open(self) -> _engine.Engine:
        if self._engine is None:
            raise DeviceError("the session is closed. Load the program again.")
        return self._engine

    def _unchecked(self, x: Array | Mapping[str, Array] | None) -> list[Array]:
        """Arrays of the right shapes for Engine.call, which looks at the rest; empty when x is anything else."""
        if type(x) is np.ndarray:
            return [x] if len(self.inputs) == 1 and x.shape == self.inputs[0].shape else []
        if type(x) is not dict or len(x) != len(self.inputs):
            return []
        found = []
        for spec in self.inputs:
            array = x.get(spec.name)
            if type(array) is not np.ndarray or array.shape != spec.shape:
                return []
            found.append(array)
        return found

    def _arrays(self, x: Array | Mapping[str, Array] | None) -> list[Array]:
        """The caller's arrays in input order, checked, dense, in float32 or the native dtype."""
        if type(x) is np.ndarray and len(self.inputs) == 1:
            return [_input_array(self.inputs[0], x)]
        if x is None:
            x = {}
        if not isinstance(x, Mapping):
            if len(self.inputs) != 1:
                names = ", ".join(s.name for s in self.inputs)
                raise DeviceError(
                    f"the program has {len(self.inputs)} inputs: pass a dict with {names}."
                )
            x = {self.inputs[0].name: x}
        expected = [s.name for s in self.inputs]
        unknown = [name for name in x if name not in expected]
        missing = [name for name in expected if name not in x]
        if unknown or missing:
            raise DeviceError(
                f"inputs must be {', '.join(expected)}; missing: {missing}, unknown: {unknown}."
            )
        return [_input_array(spec, x[spec.name]) for spec in self.inputs]


def _input_array(spec: TensorSpec, value: Any) -> Array:
    array = np.asarray(value)
    if array.shape != spec.shape:
        raise DeviceError(_shape_error(spec, array))
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if array.dtype != spec.dtype and (array.dtype != np.float32 or spec.scale is None):
        accepted = "float32" if spec.dtype == "float32" else f"{spec.dtype} or float32"
        raise DeviceError(
            f"input {spec.name}: dtype must be {accepted if spec.scale is not None else spec.dtype}, "
            f"got {array.dtype}. Prepare it as the task card says, or convert it with astype."
        )
    return np.ascontiguousarray(array)


def _shape_error(spec: TensorSpec, array: Array) -> str:
    text = f"input {spec.name}: shape must be {spec.shape} ({spec.layout}), got {array.shape}."
    shape = spec.shape
    if len(shape) == 4 and array.ndim == 4:
        n, a, b, c = shape
        if spec.layout == "NHWC" and array.shape == (n, c, a, b):
            return text + " The array looks channels-first (NCHW); pass x.transpose(0, 2, 3, 1)."
        if spec.layout == "NCHW" and array.shape == (n, b, c, a):
            return text + " The array looks channels-last (NHWC); pass x.transpose(0, 3, 1, 2)."
    if len(shape) == array.ndim + 1 and array.shape == shape[1:]:
        return text + " The batch axis is missing; pass x[None]."
    return text + " Resize or reshape it first."


def _json_section(engine: _engine.Engine, name: str, kind: type) -> Any:
    import json

    try:
        value = json.loads(engine.section(isa.SECTIONS[name]))
    except (ValueError, RecursionError) as e:
        raise ProgramError(
            f"{name}: not valid JSON ({e}). The file is damaged; fetch it again."
        ) from None
    if not isinstance(value, kind):
        raise ProgramError(f"{name}: must be a JSON {kind.__name__}.")
    return value


def _specs(
    engine: _engine.Engine, meta: dict[str, Any], key: str, first: int, count: int
) -> tuple[TensorSpec, ...]:
    """Specs of the tensors [first, first + count); shape and layout as META tells them."""
    rows = meta.get(key)
    if not isinstance(rows, list) or len(rows) != count:
        raise ProgramError(f"META: {key} must list {count} tensors.")
    specs = []
    for i, row in enumerate(rows):
        info = engine.tensor(first + i)
        shape = row.get("shape") if isinstance(row, dict) else None
        if not isinstance(shape, list) or not all(type(n) is int and n > 0 for n in shape):
            raise ProgramError(f"META: {key} {i}: shape must be a list of positive integers.")
        elements = 1
        for n in shape:
            elements *= n
        name, layout = row.get("name"), row.get("layout", "")
        if elements != info["count"] or not isinstance(name, str) or not isinstance(layout, str):
            raise ProgramError(f"META: {key} {i}: name, shape or layout contradict TENSORS.")
        scale = zero_point = None
        if info["scale"]:
            scale, zero_point = (
                np.array(info["scale"], np.float32),
                np.array(info["zero_point"], np.int32),
            )
            if len(info["scale"]) == 1:
                scale, zero_point = scale.reshape(()), zero_point.reshape(())
        specs.append(TensorSpec(name, tuple(shape), info["dtype"], scale, zero_point, layout))
    if len({s.name for s in specs}) != len(specs):
        raise ProgramError(f"META: {key} must have different names.")
    return tuple(specs)
