"""The NPU model: the clock beside the kernels, and what it tells about a program."""

from __future__ import annotations

from edgeq.runtime.npu.energy import Energy, energy
from edgeq.runtime.npu.profile import LayerProfile, Profile, profile
from edgeq.runtime.npu.timeline import Timeline, run_clock

__all__ = ["Energy", "LayerProfile", "Profile", "Timeline", "energy", "profile", "run_clock"]
