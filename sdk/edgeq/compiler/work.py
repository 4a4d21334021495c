"""Work: one operation or tile as plain numbers. What the clock reads; it knows no graph and no target."""

from __future__ import annotations

from dataclasses import dataclass

KINDS = ("conv", "depthwise", "gemm", "pool_max", "pool_avg", "reduce_sum", "elementwise")
FUNCTIONS = (
    "output",
    "relu",
    "lut",
    "add",
    "mul",
    "reduce",
    "softmax",
    "copy",
    "int32_unary",
    "int32_binary",
)


@dataclass(frozen=True, slots=True)
class Work:
    """Input (ih, iw, ic), output (oh, ow, oc), window, and what ends the operation.

    `kind` is one of KINDS; a gemm of M rows has oh = 1, ow = M. `function` is one of FUNCTIONS: the
    output stage behind an array operation, or what an elementwise operation computes. A convolution in
    groups is one Work per group. `bits` are those of the input, `weight_bits` 8 or 4, `sparse` 2:4.
    """

    kind: str
    ih: int
    iw: int
    ic: int
    oh: int
    ow: int
    oc: int
    kh: int = 1
    kw: int = 1
    sh: int = 1
    sw: int = 1
    dh: int = 1
    dw: int = 1
    bits: int = 8
    weight_bits: int = 8
    sparse: bool = False
    function: str = "output"
    bias: bool = False  # the output stage reads a scale and a bias per channel
    operands: int = 1  # feature maps read by an elementwise operation

    @property
    def taps(self) -> int:
        return self.kh * self.kw

    @property
    def pixels(self) -> int:
        return self.oh * self.ow

    @property
    def outputs(self) -> int:
        return self.oh * self.ow * self.oc

    @property
    def weighted(self) -> bool:
        return self.kind in ("conv", "depthwise", "gemm")

    @property
    def macs(self) -> int:
        """Multiply-accumulates; 0 for what has no weights and no products."""
        if self.kind == "depthwise":
            return self.outputs * self.taps
        return self.outputs * self.taps * self.ic if self.kind in ("conv", "gemm") else 0

    @property
    def equal_depth(self) -> bool:
        """Output channel c reads input channel c only."""
        return self.kind in ("depthwise", "pool_max", "pool_avg", "elementwise")

    @property
    def weight_count(self) -> int:
        if self.kind == "depthwise":
            return self.taps * self.oc
        return self.taps * self.ic * self.oc if self.kind in ("conv", "gemm") else 0
