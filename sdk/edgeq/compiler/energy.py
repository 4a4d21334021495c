"""Energy of an estimated inference: edgeq.runtime.npu.energy over a whole network."""

from __future__ import annotations

from edgeq.compiler.estimate import NetworkCost
from edgeq.runtime.npu.energy import Energy, energy, mac_pj, sram_pj_per_byte
from edgeq.runtime.target import Target

__all__ = ["Energy", "energy", "inference_energy", "mac_pj", "sram_pj_per_byte"]


def inference_energy(
    t: Target, cost: NetworkCost, *, busy: bool = True, weight_bits: int = 8
) -> Energy:
    """Energy per picture; `busy` shares static power over the throughput, else over the latency."""
    seconds = 1 / cost.fps if busy and cost.fps else cost.latency_ms * 1e-3
    return energy(
        t,
        macs=cost.macs,
        sram_bytes=cost.sram_bytes,
        dram_bytes=cost.dram_bytes,
        vector_elements=cost.vector_elements,
        seconds=seconds,
        macs4=cost.macs if weight_bits == 4 else 0,
    )
