"""One runtime with one model in a process of its own: a cold start, then turns of timed runs.

    python -P runtimes.py '{"runtime": "ort", "file": "m.onnx", "threads": 1}'

Answers with one line of JSON: what the start took, or {"error": sentence}. Then every line of seconds on
stdin asks for a turn; the answer is a list of milliseconds. `shape` names the input's shape where the
runtime cannot tell it (ncnn), `keep` an .npz for the first run's outputs. Run as a file, not as a module:
nothing but numpy is loaded before the clock starts.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
Run = Callable[[], Sequence[Array]]

WARM_UP = 5


def noise(shape: Sequence[int]) -> Array:
    """Return reals in 0..1 from a fixed seed: the same numbers for every runtime and layout of one model."""
    return np.random.default_rng(0).random(tuple(shape), np.float32)


def open_edgeq(file: str, threads: int, shape: Sequence[int]) -> Run:
    """Float inputs and outputs, as ONNX Runtime and OpenVINO have them."""
    import edgeq

    session = edgeq.load(file, threads=threads)
    feed = {spec.name: noise(spec.shape) for spec in session.inputs}
    return lambda: list(session.run(feed).values())


def open_edgeq_native(file: str, threads: int, shape: Sequence[int]) -> Run:
    """The program's own integers in and out, as an int8 .tflite has them."""
    import edgeq

    session = edgeq.load(file, threads=threads)
    rng = np.random.default_rng(0)
    feed = {s.name: rng.integers(0, 127, s.shape).astype(s.dtype) for s in session.inputs}
    return lambda: list(session.run(feed, native=True).values())


def open_ort(file: str, threads: int, shape: Sequence[int]) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 4
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    feed = {
        put.name: noise([d if isinstance(d, int) else 1 for d in put.shape])
        for put in session.get_inputs()
    }
    return lambda: list(session.run(None, feed))


def open_openvino(file: str, threads: int, shape: Sequence[int]) -> Run:
    """Its own choice of precision: on CPUs with bfloat16 a float model runs in that."""
    import openvino as ov  # type: ignore[import-not-found,unused-ignore]

    core = ov.Core()
    model = core.read_model(file)
    if model.inputs[0].partial_shape.is_dynamic:
        model.reshape([d.get_length() if d.is_static else 1 for d in model.inputs[0].partial_shape])
    best = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(model, "CPU", best).create_infer_request()
    feed = {i: noise(tuple(one.shape)) for i, one in enumerate(model.inputs)}
    return lambda: list(request.infer(feed).values())


def open_litert(file: str, threads: int, shape: Sequence[int]) -> Run:
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found,unused-ignore]

    interpreter = Interpreter(model_path=file, num_threads=threads)
    interpreter.allocate_tensors()
    puts, gots = interpreter.get_input_details(), interpreter.get_output_details()
    rng = np.random.default_rng(0)
    feed = [(put["index"], rng.integers(0, 127, put["shape"]).astype(put["dtype"])) for put in puts]

    def run() -> Sequence[Array]:
        for index, x in feed:
            interpreter.set_tensor(index, x)
        interpreter.invoke()
        return [interpreter.get_tensor(got["index"]) for got in gots]

    return run


def open_ncnn(file: str, threads: int, shape: Sequence[int]) -> Run:
    import ncnn  # type: ignore[import-not-found,unused-ignore]

    net = ncnn.Net()
    net.opt.num_threads = threads
    if net.load_param(file) or net.load_model(file.removesuffix(".param") + ".bin"):
        raise RuntimeError(f"ncnn lacks a layer that {os.path.basename(file)} needs")
    put, gots = net.input_names()[0], net.output_names()
    x = noise(shape)[0]

    def run() -> Sequence[Array]:
        with net.create_extractor() as extractor:
            extractor.input(put, ncnn.Mat(x))
            return [np.array(extractor.extract(name)[1]) for name in gots]

    return run


OPEN: dict[str, Callable[[str, int, Sequence[int]], Run]] = {
    "edgeq": open_edgeq,
    "edgeq-native": open_edgeq_native,
    "ort": open_ort,
    "openvino": open_openvino,
    "litert": open_litert,
    "ncnn": open_ncnn,
}
MODULES = {"edgeq": "edgeq", "edgeq-native": "edgeq", "ort": "onnxruntime", "openvino": "openvino",
           "litert": "ai_edge_litert.interpreter", "ncnn": "ncnn"}  # fmt: skip


def peak_rss_mb() -> float:
    """Peak of this process in MB; ru_maxrss would begin at the parent's size."""
    try:
        with open("/proc/self/status") as status:
            return next(int(r.split()[1]) * 1024 / 1e6 for r in status if r.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        scale = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale / 1e6


def start(runtime: str, file: str, threads: int, shape: Sequence[int], keep: str) -> tuple[Run, dict[str, float]]:  # fmt: skip
    """Import, load and run once; then warm up. The memory includes the warm-up."""
    for finder in sys.meta_path:  # a development install would look for changed C sources first
        if hasattr(finder, "rebuild_flag"):
            finder.rebuild_flag = False
    bare, begin = peak_rss_mb(), time.perf_counter()
    __import__(MODULES[runtime])
    imported = time.perf_counter()
    run = OPEN[runtime](file, threads, shape)
    loaded = time.perf_counter()
    outputs = run()
    end = time.perf_counter()
    if keep:
        np.savez(keep, *outputs)
    for _ in range(WARM_UP):
        run()
    ms = {
        "import_ms": imported - begin,
        "load_ms": loaded - imported,
        "first_run_ms": end - loaded,
        "cold_start_ms": end - begin,
    }
    return run, {
        "peak_rss_mb": round(peak_rss_mb(), 1),
        "bare_rss_mb": round(bare, 1),
        **{key: round(1e3 * value, 2) for key, value in ms.items()},
    }


def serve(runtime: str, file: str, threads: int, shape: Sequence[int] = (), keep: str = "") -> None:
    """Answer on what was stdout; what a runtime prints must not mix with the answers."""
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    try:
        run, facts = start(runtime, file, threads, shape, keep)
    except Exception as error:  # any failure of a peer is a result
        text = " ".join(f"{type(error).__name__}: {error}".split())
        print(json.dumps({"error": text[:300]}), file=pipe, flush=True)
        return
    print(json.dumps(facts), file=pipe, flush=True)
    for line in sys.stdin:
        run()
        end = time.perf_counter() + float(line)
        times: list[float] = []
        while not times or time.perf_counter() < end:
            begin = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - begin))
        print(json.dumps(times), file=pipe, flush=True)


if __name__ == "__main__":
    serve(**json.loads(sys.argv[1]))
