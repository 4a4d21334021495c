"""Clock against ground truth, as tables: `python -m tests.npu.tables [FOLDER of shared]`."""

from __future__ import annotations

import csv
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

import edgeq
from edgeq.cli.tables import markdown
from edgeq.compiler import compile_graph
from edgeq.compiler.clock import scalesim_cycles
from edgeq.compiler.clock_vela import VelaEstimate, estimate_vela
from edgeq.compiler.estimate import NetworkCost, estimate
from edgeq.compiler.workload import Network, from_graph
from edgeq.frontend.onnx_reader import read_onnx
from edgeq.graph.ir import Graph
from edgeq.runtime.npu.profile import Profile, profile
from edgeq.runtime.target import load_target
from tests.npu.topologies import TOPOLOGIES

TWINS = {
    "ic_resnet8_int8": "resnet8_cifar/resnet8.onnx",
    "vww_96_int8": "vww_96/vww_96.onnx",
    "mobilenet_v2_1.0_224_quant": "mobilenet_v2/mobilenet_v2_1.0_224_dequantized.onnx",
}
CONFIGURATIONS = {
    "u55-128": ("npu-micro-128", "performance"),
    "u55-256": ("npu-micro-256", "performance"),
    "u55-256-size": ("npu-micro-256", "size"),
    "u65-256": ("npu-micro-256d", "performance"),
    "u65-512": ("npu-micro-512", "performance"),
}
DATAFLOWS = {"ws": "ws_systolic", "os": "os_systolic"}


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison: what, expected, got."""

    name: str
    expected: float
    got: float

    @property
    def error(self) -> float:
        return self.got / self.expected - 1


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as f:
        return list(csv.DictReader(line for line in f if not line.startswith("#")))


def scalesim(shared: Path) -> dict[str, list[Row]]:
    """Every stall-free layer of the given reports, by file."""
    out = {}
    for path in sorted((shared / "reference/npu").glob("*_CALC_*.csv")):
        _, array, flow, *_ = path.stem.split("_")
        rows, cols = (int(n) for n in array.split("x"))
        out[path.stem] = [
            Row(r["layer"], int(r["total_cycles"]),
                scalesim_cycles(DATAFLOWS[flow], rows, cols, int(r["M"]), int(r["K"]), int(r["N"])))
            for r in read_csv(path)
            if int(r["stall_cycles"]) == 0
        ]  # fmt: skip
    return out


@cache
def twin(shared: Path, name: str) -> Network:
    return from_graph(read_onnx(shared / "models" / TWINS[name]))


def vela(shared: Path) -> dict[tuple[str, str], tuple[dict[str, str], VelaEstimate]]:
    """Reported summary and our estimate by network and configuration."""
    out = {}
    for r in read_csv(shared / "reference/npu/vela_summary.csv"):
        target, optimize = CONFIGURATIONS[r["cfg"]]
        out[r["net"], r["cfg"]] = (
            r,
            estimate_vela(twin(shared, r["net"]), load_target(target), optimize=optimize),
        )
    return out


@cache
def quantized_twin(shared: Path, name: str) -> Graph:
    """A twin quantized on noise: cycles ask for its weights, not for its accuracy."""
    graph, rng = read_onnx(shared / "models" / TWINS[name]), np.random.default_rng(0)
    noise = {n: rng.normal(0, 1, graph.values[n].shape).astype(np.float32) for n in graph.inputs}
    return edgeq.quantize(graph, edgeq.calibrate(graph, [noise]))


def compiled(shared: Path, net: str) -> dict[str, tuple[dict[str, str], Profile]]:
    """Reported summary and the clock of the compiled program, by configuration."""
    out = {}
    for r in read_csv(shared / "reference/npu/vela_summary.csv"):
        if r["net"] == net:
            target, optimize = CONFIGURATIONS[r["cfg"]]
            p = compile_graph(quantized_twin(shared, net), target=target, optimize=optimize)
            assert p.timing is not None
            out[r["cfg"]] = r, profile(p.meta, p.commands, p.timing, p.cores)[0]
    return out


def vela_operations(shared: Path) -> dict[str, list[Row]]:
    """NPU cycles of every operation up to the softmax, on npu-micro-256."""
    out = {}
    rows = read_csv(shared / "reference/npu/vela_perop_u55-256.csv")
    for net in TWINS:
        ops = estimate_vela(twin(shared, net), load_target("npu-micro-256")).ops
        reported = [r for r in rows if r["net"] == net]
        out[net] = [
            Row(f"{o.name} {r['op']} {r['ofm_hwc']}", int(r["npu_cycles"]), o.npu)
            for o, r in zip(ops, reported, strict=False)
        ][: len(twin(shared, net).layers)]
    return out


def deepx(shared: Path) -> dict[str, tuple[float, NetworkCost]]:
    """Published frames per second and our estimate on npu-hat-25t."""
    target = load_target("npu-hat-25t")
    rows = read_csv(shared / "reference/npu/deepx_fps.csv")
    return {
        r["model"]: (float(r["fps_published"]), estimate(TOPOLOGIES[r["model"]](), target))
        for r in rows
    }


def main() -> None:
    shared = Path(
        sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[3] / "shared"
    ).resolve()
    print("\nSCALE-Sim 3.0.0\n")
    print(
        markdown(
            ("report", "layers", "equal"),
            [(n, len(r), sum(x.error == 0 for x in r)) for n, r in scalesim(shared).items()],
        )
    )
    print("\nVela 5.2.0, totals\n")
    rows = [
        (net, cfg, e.total_cycles, int(r["total_cyc"]), _percent(e.total_cycles / int(r["total_cyc"]) - 1),
         _percent(e.npu_cycles / int(r["npu_cyc"]) - 1), round(e.sram_peak_bytes / 1024, 1), float(r["sram_KiB"]))
        for (net, cfg), (r, e) in vela(shared).items()
    ]  # fmt: skip
    print(
        markdown(
            (
                "network",
                "configuration",
                "cycles",
                "Vela",
                "error",
                "NPU error",
                "SRAM KiB",
                "Vela KiB",
            ),
            rows,
        )
    )
    print("\nVela 5.2.0, compiled programs\n")
    programs = [
        (net, cfg, p.cycles, int(r["total_cyc"]), _percent(p.cycles / int(r["total_cyc"]) - 1),
         round(p.sram_peak_bytes / 1024, 1), float(r["sram_KiB"]))
        for net in TWINS
        for cfg, (r, p) in compiled(shared, net).items()
    ]  # fmt: skip
    print(
        markdown(
            ("network", "configuration", "cycles", "Vela", "error", "SRAM KiB", "Vela KiB"),
            programs,
        )
    )
    print("\nVela 5.2.0, NPU cycles of each operation on u55-256\n")
    operations = [
        (net, x.name, int(x.got), int(x.expected), _percent(x.error))
        for net, r in vela_operations(shared).items()
        for x in r
    ]
    print(markdown(("network", "operation", "cycles", "Vela", "error"), operations))
    print("\nDX-M1, frames per second of npu-hat-25t\n")
    fps = [
        (n, round(c.fps), round(p), _percent(c.fps / p - 1), c.fps_bound)
        for n, (p, c) in deepx(shared).items()
    ]
    print(markdown(("network", "fps", "published", "error", "bound by"), fps))


def _percent(share: float) -> str:
    return f"{100 * share:+.1f} %"


if __name__ == "__main__":
    main()
