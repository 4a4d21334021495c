"""One runtime with one model in a process of its own, for peers.py.

    python tests/bench/runtimes.py RUNTIME MODEL THREADS

A line of seconds on stdin asks for a turn; the answer is a JSON list of milliseconds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]

Run = Callable[[], Any]


def edgeq_runner(path: str, threads: int) -> Run:
    from edgeq.runtime import Session

    session = Session(path, threads=threads)
    spec = session.inputs[0]
    x = np.random.default_rng(0).random(spec.shape, np.float32)
    return lambda: session.run(x)


def ort_runner(path: str, threads: int) -> Run:
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    put = session.get_inputs()[0]
    x = np.random.default_rng(0).random(
        [d if isinstance(d, int) else 1 for d in put.shape], np.float32
    )
    return lambda: session.run(None, {put.name: x})


def openvino_runner(path: str, threads: int) -> Run:
    import openvino as ov  # type: ignore[import-not-found,unused-ignore]

    core = ov.Core()
    model = core.read_model(path)
    if model.inputs[0].partial_shape.is_dynamic:
        model.reshape([d.get_length() if d.is_static else 1 for d in model.inputs[0].partial_shape])
    # its own choice of precision: on CPUs with bfloat16 a float model runs in that
    best = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    request = core.compile_model(model, "CPU", best).create_infer_request()
    x = np.random.default_rng(0).random(tuple(model.inputs[0].shape), np.float32)
    return lambda: request.infer({0: x})


def litert_runner(path: str, threads: int) -> Run:
    from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-not-found,unused-ignore]

    interpreter = Interpreter(model_path=path, num_threads=threads)
    interpreter.allocate_tensors()
    put, got = interpreter.get_input_details()[0], interpreter.get_output_details()
    x = np.random.default_rng(0).integers(0, 127, put["shape"]).astype(put["dtype"])

    def run() -> None:
        interpreter.set_tensor(put["index"], x)
        interpreter.invoke()
        for one in got:
            interpreter.get_tensor(one["index"])

    return run


def ncnn_runner(path: str, threads: int) -> Run:
    import ncnn  # type: ignore[import-not-found,unused-ignore]

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.load_param(path)
    net.load_model(path.removesuffix(".param") + ".bin")
    shape = json.loads(Path(path + ".json").read_text())  # c, h, w
    x = np.random.default_rng(0).random(shape, np.float32)

    def run() -> None:
        with net.create_extractor() as extractor:
            extractor.input(net.input_names()[0], ncnn.Mat(x))
            for name in net.output_names():
                extractor.extract(name)

    return run


RUNNERS = {
    "edgeq": edgeq_runner,
    "ort": ort_runner,
    "openvino": openvino_runner,
    "litert": litert_runner,
    "ncnn": ncnn_runner,
}


def serve(runtime: str, path: str, threads: int) -> None:
    """Child: load, warm up, then a turn of the given seconds per line of stdin; milliseconds out."""
    sys.path[:0] = [str(ROOT / "sdk"), str(ROOT)]
    pipe = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints must not mix with the answers
    try:
        run = RUNNERS[runtime](path, threads)
        for _ in range(5):
            run()
    except Exception as error:  # any failure of a peer is a result
        print(
            json.dumps({"error": f"{type(error).__name__}: {str(error)[:200]}"}),
            file=pipe,
            flush=True,
        )
        return
    print(json.dumps({"ready": True}), file=pipe, flush=True)
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
    serve(sys.argv[1], sys.argv[2], int(sys.argv[3]))
