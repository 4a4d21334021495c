"""Energy of counted work from a Target's table, with the band that such tables deserve.

E = macs * e_mac(bits) + SRAM bytes * (a + b * sqrt(KiB)) + DRAM bytes * e_dram + vector elements * e_vec
+ static power * time. Per-operation constants after Horowitz (ISSCC 2014), scaled to the target's process.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edgeq.errors import CompileError
from edgeq.runtime.target import Target


@dataclass(frozen=True, slots=True)
class Energy:
    """Microjoules by cause; the truth is expected within low_uj..high_uj."""

    mac_uj: float
    sram_uj: float
    dram_uj: float
    vector_uj: float
    static_uj: float
    low_uj: float
    high_uj: float

    @property
    def total_uj(self) -> float:
        return self.mac_uj + self.sram_uj + self.dram_uj + self.vector_uj + self.static_uj


def energy(
    t: Target,
    *,
    macs: int,
    sram_bytes: int,
    dram_bytes: int,
    vector_elements: int,
    seconds: float,
    macs4: int = 0,
) -> Energy:
    """Price counted work; `macs4` of the macs have 4-bit weights.

    Raises CompileError when the target has no energy table (cpu).
    """
    if not t.mac_pj:
        raise CompileError(f"target {t.name}: it has no energy table; choose an NPU target.")
    parts = (
        ((macs - macs4) * mac_pj(t) + macs4 * mac_pj(t, 4)) * 1e-6,
        sram_bytes * sram_pj_per_byte(t) * 1e-6,
        dram_bytes * t.dram_pj_per_byte * 1e-6,
        vector_elements * t.vector_pj * 1e-6,
        t.static_w * seconds * 1e6,
    )
    total = sum(parts)
    return Energy(*parts, low_uj=total * (1 - t.energy_band), high_uj=total * (1 + t.energy_band))


def mac_pj(t: Target, weight_bits: int = 8) -> float:
    """Picojoules of one multiply-accumulate with 8- or 4-bit weights."""
    return t.mac_pj * (t.w4a8_energy_ratio if weight_bits == 4 else 1.0)


def sram_pj_per_byte(t: Target) -> float:
    """Picojoules per byte of the core's SRAM: longer wires in a larger one."""
    return t.sram_pj_per_byte + t.sram_pj_per_byte_root_kib * math.sqrt(t.sram_bytes / 1024)
