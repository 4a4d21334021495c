"""One ONNX node being imported: its inputs as graph values or constants, its attributes, its output name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import ArrayLike

from edgeq.errors import ModelError
from edgeq.graph.ir import Array, Shape
from edgeq.passes.axes import TO_NCHW, TO_NHWC
from edgeq.passes.rewrite import Builder

Handler = Callable[["Call"], "str | Sequence[str]"]
HANDLERS: dict[str, Handler] = {}


class Unsupported(Exception):
    """This node cannot be imported; the text is the reason. The reader collects them all."""


def onnx_op(*names: str) -> Callable[[Handler], Handler]:
    """Register the function that imports these ONNX operators."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


@dataclass(slots=True)
class Scope:
    """What ONNX names stand for so far: a computed graph value (by name) or a constant array."""

    builder: Builder
    opset: int
    known: dict[str, str | Array] = field(default_factory=dict)
    constants: dict[str, str] = field(default_factory=dict)

    def shape(self, name: str) -> Shape:
        v = self.known[name]
        return self.builder.shape(v) if isinstance(v, str) else tuple(int(d) for d in v.shape)

    def value(self, name: str) -> str:
        """Return the graph value, making a float32 constant where it is one."""
        v = self.known[name]
        if isinstance(v, str):
            return v
        if name not in self.constants:
            self.constants[name] = self.builder.const(name, as_float(name, v))
        return self.constants[name]


@dataclass(slots=True)
class Call:
    """One ONNX node. Handlers return the graph value(s) that its output(s) are."""

    scope: Scope
    proto: onnx.NodeProto
    attrs: Mapping[str, Any]
    parts: int = 0

    @property
    def op(self) -> str:
        return str(self.proto.op_type)

    @property
    def opset(self) -> int:
        return self.scope.opset

    @property
    def out(self) -> str:
        return str(self.proto.output[0])

    def has(self, i: int) -> bool:
        return i < len(self.proto.input) and bool(self.proto.input[i])

    def x(self, i: int = 0) -> str:
        """Return input i as a graph value."""
        if not self.has(i):
            raise Unsupported(f"input {i} is missing")
        return self.scope.value(self.proto.input[i])

    def shape(self, i: int = 0) -> Shape:
        if not self.has(i):
            raise Unsupported(f"input {i} is missing")
        return self.scope.shape(self.proto.input[i])

    def const(self, i: int, what: str) -> Array:
        """Return input i as an array; the node is unsupported when it is computed."""
        found = self.maybe(i)
        if found is None:
            raise Unsupported(f"{what} must be constant")
        return found

    def maybe(self, i: int) -> Array | None:
        """Return input i as an array, or None if it is absent or computed."""
        v = self.scope.known[self.proto.input[i]] if self.has(i) else None
        return None if v is None or isinstance(v, str) else v

    def weights(self, i: int, what: str) -> Array:
        return as_float(self.proto.input[i] if self.has(i) else what, self.const(i, what))

    def ints(self, i: int, attr: str, what: str) -> list[int] | None:
        """Return a list of integers from attribute `attr` (older opsets) or input i; None if absent."""
        if attr in self.attrs:
            value = self.attrs[attr]
            return [int(v) for v in value] if isinstance(value, list | tuple) else [int(value)]
        return [int(v) for v in self.const(i, what).reshape(-1)] if self.has(i) else None

    def scalar(self, i: int, attr: str, default: float) -> float:
        """Return one number from attribute `attr` (older opsets) or input i."""
        if attr in self.attrs:
            return float(self.attrs[attr])
        if not self.has(i):
            return default
        data = self.const(i, attr)
        if data.size != 1:
            raise Unsupported(f"{attr} must be one number, got shape {data.shape}")
        return float(data.reshape(-1)[0])

    def axis(self, value: int, rank: int) -> int:
        if not -rank <= value < rank:
            raise Unsupported(f"axis must be within -{rank}..{rank - 1}, got {value}")
        return int(value) % rank

    def emit(
        self,
        op: str,
        inputs: Sequence[str],
        attrs: Mapping[str, Any] | None = None,
        *,
        last: bool = False,
    ) -> str:
        """Append a graph node; with `last` its value carries the ONNX output's name."""
        b = self.scope.builder
        name = self.out if last else b.fresh(f"{self.out}.{self.parts}")
        self.parts += not last
        label = self.proto.name or self.out
        return b.emit(
            op, inputs, attrs, out=name, name=label if last else f"{label}.{self.parts - 1}"
        )

    def layer(
        self, op: str, inputs: Sequence[str], attrs: Mapping[str, Any], *, last: bool = True
    ) -> str:
        """Append an NHWC op between two Transposes: NCHW in, NCHW out. inputs[0] is the picture."""
        x = self.emit("Transpose", [inputs[0]], {"perm": TO_NHWC})
        b = self.scope.builder
        y = b.fresh(f"{self.out}~")
        b.emit(op, [x, *inputs[1:]], attrs, out=y, name=self.proto.name or self.out)
        return self.emit("Transpose", [y], {"perm": TO_NCHW}, last=last)

    def const_value(self, base: str, data: ArrayLike) -> str:
        return self.scope.builder.const(base, data)

    def reshape(self, x: str, shape: Sequence[int], *, last: bool = False) -> str:
        return self.emit("Reshape", [x], {"shape": tuple(int(d) for d in shape)}, last=last)


def as_float(name: str, data: Array) -> Array:
    """Return float32 data; NaN and infinities are refused. Raises ModelError."""
    if data.dtype.kind in "OSUc":
        raise ModelError(
            f"constant {name}: it must hold real numbers, got {data.dtype}. Export it again."
        )
    with np.errstate(all="ignore"):
        out: Array = np.asarray(data).astype(np.float32)
    if not np.isfinite(out).all():
        count = int(out.size - np.isfinite(out).sum())
        raise ModelError(
            f"constant {name}: every number must be finite in float32, {count} of {out.size} are not. "
            "Train or export the model again."
        )
    return out
