"""The quantizer: float Graph + Statistics + Recipe -> Graph of integers."""

from __future__ import annotations

from edgeq.quantizer.calibrate import calibrate
from edgeq.quantizer.check import verify_quantized
from edgeq.quantizer.quantize import float_islands, quantize
from edgeq.quantizer.recipe import Recipe
from edgeq.quantizer.statistics import Statistics

__all__ = ["Recipe", "Statistics", "calibrate", "float_islands", "quantize", "verify_quantized"]
