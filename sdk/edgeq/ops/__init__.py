"""Every operator of the graph, by name. An operator is one class: shape, float law, integer law."""

from __future__ import annotations

from edgeq.ops.arithmetic import Add, Div, Mul, PRelu, Sub
from edgeq.ops.base import Op
from edgeq.ops.conv import Conv
from edgeq.ops.conv_transpose import ConvTranspose
from edgeq.ops.depthwise_conv import DepthwiseConv
from edgeq.ops.fully_connected import FullyConnected
from edgeq.ops.matmul import MatMul
from edgeq.ops.movement import Concat, Gather, Pad, Reshape, Slice, Transpose
from edgeq.ops.pool import AvgPool, MaxPool
from edgeq.ops.reduce_mean import ReduceMean
from edgeq.ops.requantize import Requantize
from edgeq.ops.resize import Resize
from edgeq.ops.softmax import Softmax
from edgeq.ops.unary import Unary

OPS: dict[str, type[Op]] = {
    op.name: op
    for op in (
        Add, AvgPool, Concat, Conv, ConvTranspose, DepthwiseConv, Div, FullyConnected, Gather, MatMul, MaxPool, Mul,
        PRelu, Pad, ReduceMean, Requantize, Reshape, Resize, Slice, Softmax, Sub, Transpose, Unary,
    )
}  # fmt: skip

__all__ = ["OPS", "Op"]
