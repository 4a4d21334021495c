"""Session: shapes, dtypes, names, threads, and the sentences users read when they are wrong."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeq.errors import DeviceError
from edgeq.runtime import Session, _engine, isa_list, isa_name, load, numerics
from tests.runtime.builder import Builder
from tests.runtime.samples import everything

Array = NDArray[Any]


def copies(
    *, inputs: int = 1, gap: int = 0, scale: Any = 0.5, zero_point: Any = 3, dtype: str = "int8"
) -> bytes:
    """A program whose outputs are its inputs, (1, 2, 3, 4) each."""
    b = Builder()
    for _ in range(inputs):
        x = b.tensor("in", (1, 2, 3, 4), dtype, pixel=4 + gap, scale=scale, zero_point=zero_point)
        y = b.tensor(
            "out", (1, 2, 3, 4), dtype, pixel=4 + 2 * gap, scale=scale, zero_point=zero_point
        )
        p, q = 4 + gap, 4 + 2 * gap
        table = [1, 1, 1, 2, 3, 4, 0, 0, 0, 3 * p, p, 1, 0, 0, 0, 3 * q, q, 1, 0, 0]
        b.command("LAYOUT", in0=x, out=y, constants=b.constant(np.array(table, np.int32)))
    return b.build()


def only(outputs: dict[str, Array]) -> Array:
    (value,) = outputs.values()
    return value


def joined(outputs: dict[str, Array]) -> bytes:
    return b"".join(v.tobytes() for v in outputs.values())


@pytest.mark.parametrize("dtype", ["int8", "int16"])
@pytest.mark.parametrize("gap", [0, 5])
@pytest.mark.parametrize("scale", [0.037, [0.5, 0.1, 3.0, 1e-9]], ids=["per tensor", "per channel"])
def test_floats_are_quantized_and_dequantized_by_the_edge_rule(
    scale: Any, gap: int, dtype: str
) -> None:
    zero = 3 if np.ndim(scale) == 0 else [3, 3, 3, 3]
    session = load(copies(gap=gap, scale=scale, zero_point=zero, dtype=dtype))
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(1, 2, 3, 4)) * 3).astype(np.float32)
    x[0, 0, 0] = [np.inf, -np.inf, 1e38, 0.0185]
    lo, hi = (-128, 127) if dtype == "int8" else (-32768, 32767)
    s, z = np.float32(scale), np.int32(zero)
    q = numerics.quantize(x, s, z, lo, hi)
    np.testing.assert_array_equal(only(session.run(x, native=True)), q)
    np.testing.assert_array_equal(only(session.run(x)), numerics.dequantize(q, s, z))
    np.testing.assert_array_equal(only(session.run(q.astype(dtype), native=True)), q)
    np.testing.assert_array_equal(only(session.run(x.astype(np.float64), native=True)), q)
    strided = np.asfortranarray(x)
    np.testing.assert_array_equal(only(session.run(strided, native=True)), q)


@pytest.mark.parametrize("kernels", _engine.isa_list())
@pytest.mark.parametrize("width", [1, 3, 5, 6, 7, 33])
def test_pictures_of_three_channels_enter_pixels_of_four_bytes(width: int, kernels: str) -> None:
    b = Builder()
    x = b.tensor("in", (2, 3, width, 3), pixel=4, row=width, scale=0.5)
    y = b.tensor("out", (2, 3, width, 3), scale=0.5)
    source, target = [*x.strides], [*y.strides]
    table = [1, 1, 2, 3, width, 3, 0, 0, *source, 0, 0, *target, 0, 0]
    b.command("LAYOUT", in0=x, out=y, constants=b.constant(np.array(table, np.int32)))
    rng = np.random.default_rng(0)
    q = rng.integers(-128, 128, (2, 3, width, 3)).astype(np.int8)
    session = Session(b.build(), kernels=kernels, threads=2)
    np.testing.assert_array_equal(only(session.run(q, native=True)), q)
    np.testing.assert_array_equal(only(session.run(q * np.float32(0.5), native=True)), q)


def test_the_specs_describe_the_edges() -> None:
    session = load(copies(), threads=2)
    (spec,) = session.inputs
    assert (spec.name, spec.shape, spec.dtype, spec.layout) == ("in0", (1, 2, 3, 4), "int8", "NHWC")
    assert spec.scale == np.float32(0.5)
    assert spec.zero_point == 3
    assert session.threads == 2
    assert session.kernels == isa_name()
    assert session.card is None
    assert [c["opcode"] for c in session.commands] == ["LAYOUT", "END"]
    assert "in0 int8[1, 2, 3, 4]" in repr(session)


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros((1, 4, 2, 3), np.float32), r"NCHW.*transpose\(0, 2, 3, 1\)"),
        (np.zeros((2, 3, 4), np.float32), r"batch axis is missing; pass x\[None\]"),
        (np.zeros((1, 9, 9, 4), np.float32), r"shape must be \(1, 2, 3, 4\).*got \(1, 9, 9, 4\)"),
        (np.zeros((1, 2, 3, 4), np.uint8), "dtype must be int8 or float32, got uint8"),
        (np.zeros((1, 2, 3, 4), np.int16), "dtype must be int8 or float32, got int16"),
        (np.full((1, 2, 3, 4), np.nan, np.float32), "NaN"),
        (
            {"wrong": np.zeros((1, 2, 3, 4), np.float32)},
            r"missing: \['in0'\], unknown: \['wrong'\]",
        ),
        (None, "missing"),
        ([[1, 2], [3, 4]], "shape must be"),
    ],
)
def test_a_wrong_input_is_one_sentence_with_a_fix(x: Any, says: str) -> None:
    with pytest.raises(DeviceError, match=says):
        load(copies()).run(x)


def test_several_inputs_need_names() -> None:
    session = load(copies(inputs=2))
    x = [np.full((1, 2, 3, 4), v, np.int8) for v in (1, 2)]
    with pytest.raises(DeviceError, match="pass a dict with in0, in2"):
        session.run(x[0])
    out = session.run({"in2": x[1], "in0": x[0]}, native=True)
    assert list(out) == ["out1", "out3"]
    assert out["out1"].max() == 1
    assert out["out3"].min() == 2


@pytest.mark.parametrize("threads", [0, -1, 65])
def test_wrong_thread_counts_are_refused(threads: int) -> None:
    with pytest.raises(DeviceError, match="threads"):
        load(copies(), threads=threads)


def test_an_unknown_kernel_set_is_refused_by_name() -> None:
    with pytest.raises(DeviceError, match="mmx"):
        Session(copies(), kernels="mmx")


def test_outputs_are_the_callers_own() -> None:
    session = load(copies())
    first = only(session.run(np.full((1, 2, 3, 4), 1, np.int8), native=True))
    only(session.run(np.full((1, 2, 3, 4), 2, np.int8), native=True))
    assert first.max() == 1


def test_threads_may_share_a_session() -> None:
    session = load(copies(), threads=2)

    def one(v: int) -> bool:
        x = np.full((1, 2, 3, 4), v, np.int8)
        return bool((only(session.run(x, native=True)) == v).all())

    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(one, list(range(-100, 100)) * 3))


def test_sessions_run_at_once_on_one_pool() -> None:
    body = everything()
    x = np.linspace(-60, 60, 108, dtype=np.float32).reshape(1, 6, 6, 3)
    expected = joined(load(body, threads=1).run(x))
    wrong: list[int] = []

    def work() -> None:
        session = load(body, threads=3)
        for _ in range(50):
            if joined(session.run(x)) != expected:
                wrong.append(1)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    assert not wrong


def test_run_async_keeps_order_and_calls_back() -> None:
    seen: list[int] = []
    with load(copies()) as session:
        jobs = [
            session.run_async(
                np.full((1, 2, 3, 4), v, np.int8),
                native=True,
                callback=lambda o: seen.append(int(only(o).max())),
            )
            for v in range(30)
        ]
        assert [int(only(j.result()).max()) for j in jobs] == list(range(30))
    assert seen == list(range(30))


def test_run_async_checks_before_it_queues() -> None:
    with pytest.raises(DeviceError, match="shape"):
        load(copies()).run_async(np.zeros((1, 1)))


def test_a_closed_session_says_so() -> None:
    session = load(copies())
    session.run_async(np.zeros((1, 2, 3, 4), np.int8)).result()
    session.close()
    session.close()
    for call in (lambda: session.run(np.zeros((1, 2, 3, 4), np.int8)), lambda: session.bench(0.01), lambda: session.threads,
                 lambda: session.run_async(np.zeros((1, 2, 3, 4), np.int8))):  # fmt: skip
        with pytest.raises(DeviceError, match="closed"):
            call()


def test_bench_and_profile_report_milliseconds() -> None:
    session = load(everything(), threads=1)
    times = session.bench(0.05)
    assert 0 < times["min_ms"] <= times["p50_ms"] <= times["p95_ms"] <= times["max_ms"]
    rows = session.profile(3)
    assert [r["opcode"] for r in rows] == _engine.Engine(everything()).commands()
    assert all(r["ms"] >= 0 for r in rows)
    assert {"node", "op", "opcode", "ms", "macs"} <= set(rows[0])


def test_a_forked_child_runs_with_threads() -> None:
    code = (
        "import os, numpy as np; from edgeq.runtime import load; from tests.runtime.samples import everything\n"
        "s = load(everything(), threads=2); x = np.zeros((1, 6, 6, 3), np.float32); a = s.run(x)\n"
        "pid = os.fork()\n"
        "b = s.run(x); same = all((a[k] == b[k]).all() for k in a)\n"
        "if pid == 0: os._exit(0 if same else 3)\n"
        "print(same, os.waitpid(pid, 0)[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == ["True", "0"]


@pytest.mark.parametrize(
    ("wanted", "chosen", "why"),
    [*[(level, level, "asked for by EDGEQ_ISA") for level in isa_list()],
     ("pentium", isa_list()[-1], "not a known name"), ("", isa_list()[-1], "the best")],
)  # fmt: skip
def test_edgeq_isa_forces_a_kernel_set_or_says_why_not(wanted: str, chosen: str, why: str) -> None:
    code = (
        "import hashlib, numpy as np; from edgeq.runtime import isa_name, isa_reason, load\n"
        "from tests.runtime.samples import everything\n"
        "out = load(everything()).run(np.linspace(-60, 60, 108, dtype=np.float32).reshape(1, 6, 6, 3))\n"
        "print(isa_name(), hashlib.sha256(b''.join(v.tobytes() for v in out.values())).hexdigest(), isa_reason())"
    )
    env = {**os.environ, "EDGEQ_ISA": wanted}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env
    )
    name, digest, reason = done.stdout.split(" ", 2)
    assert name == chosen
    assert why in reason
    assert digest == EVERYTHING_HASH


# the same on every machine: change it only together with numerics.py or the sample
EVERYTHING_HASH = "03ba6adf0bf475ccb7fbc801ac50920bdefa5ea750f9c5e42809211a205bf1b0"


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys, numpy; before = set(sys.modules); import edgeq; from edgeq.runtime import load\n"
        "print(sorted(m.split('.')[0] for m in set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for heavy in ("onnx", "typer", "cv2", "scipy", "rich", "asyncio"):
        assert f"'{heavy}'" not in done.stdout
