"""Every exception edgeq raises on purpose.

Message form: *where: rule, actual. Fix.* — "node conv_12 (Conv): stride must be 1..3, got 4. Re-export it."
The command line turns an EdgeqError into one sentence and exit code 2.
"""

from __future__ import annotations


class EdgeqError(Exception):
    """Base of all errors that a user can cause and mend."""


class ModelError(EdgeqError):
    """The model file or graph is damaged or breaks a rule."""


class UnsupportedOp(ModelError):
    """The model holds operators that edgeq does not know; the text lists every one."""


class QuantizeError(EdgeqError):
    """The model cannot be quantized with this recipe or these statistics."""


class CompileError(EdgeqError):
    """The quantized graph cannot become a program for this target."""


class ProgramError(EdgeqError):
    """The .edgeq file is damaged, too new, or not an .edgeq file."""


class DeviceError(EdgeqError):
    """The program cannot run here, or was called with the wrong arrays."""


class DataError(EdgeqError):
    """A picture, folder or data file is missing, damaged or of the wrong kind."""


class CardError(EdgeqError):
    """The task card is missing, broken or does not fit the model."""


class ZooError(EdgeqError):
    """A zoo model is unknown, cannot be fetched or has the wrong checksum."""
