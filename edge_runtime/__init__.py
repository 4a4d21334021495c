"""edgeq.runtime: run an .edgeq program on this machine. numpy is the only import."""

from __future__ import annotations

from edgeq.runtime._engine import cpu_features, isa_list, isa_reason
from edgeq.runtime._engine import isa as isa_name
from edgeq.runtime.session import Session, TensorSpec, load

__all__ = ["Session", "TensorSpec", "cpu_features", "isa_list", "isa_name", "isa_reason", "load"]
