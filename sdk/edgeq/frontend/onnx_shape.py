"""ONNX ops that move elements: Reshape, Transpose, Concat, Split, Slice, Pad, Gather and their kin."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from edgeq.frontend.importing import Call, Unsupported, onnx_op

BIG = 2**31
FLOATS = (1, 10, 11, 16)  # TensorProto: FLOAT, FLOAT16, DOUBLE, BFLOAT16


@onnx_op("Identity", "Dropout")
def identity(c: Call) -> str:
    if c.op == "Dropout" and c.has(2) and bool(c.const(2, "training_mode").any()):
        raise Unsupported("training mode is not inference. Export the model in eval mode")
    if len([o for o in c.proto.output if o]) > 1:
        raise Unsupported("the mask output is not available")
    return c.x()


@onnx_op("Cast", "CastLike")
def cast(c: Call) -> str:
    """Casts between float types change nothing here; a computed integer is not available."""
    if c.op == "Cast" and int(c.attrs["to"]) not in FLOATS:
        raise Unsupported("a computed value can only be cast to float")
    return c.x()


@onnx_op("Reshape")
def reshape(c: Call) -> str:
    shape = list(c.shape())
    wanted = c.ints(1, "shape", "the shape") or []
    if not c.attrs.get("allowzero", 0):
        if any(d == 0 and i >= len(shape) for i, d in enumerate(wanted)):
            raise Unsupported(f"shape {wanted} copies an axis that {shape} does not have")
        wanted = [shape[i] if d == 0 else d for i, d in enumerate(wanted)]
    if wanted.count(-1) > 1 or any(d < -1 for d in wanted):
        raise Unsupported(f"shape {wanted} must have at most one -1")
    rest = math.prod(d for d in wanted if d != -1)
    if -1 in wanted:
        if rest == 0 or math.prod(shape) % rest:
            raise Unsupported(f"shape {wanted} must divide {math.prod(shape)} elements")
        wanted[wanted.index(-1)] = math.prod(shape) // rest
    return c.reshape(c.x(), wanted, last=True)


@onnx_op("Flatten")
def flatten(c: Call) -> str:
    shape = c.shape()
    axis = int(c.attrs.get("axis", 1))
    axis = axis + len(shape) if axis < 0 else axis
    return c.reshape(c.x(), (math.prod(shape[:axis]), math.prod(shape[axis:])), last=True)


@onnx_op("Squeeze")
def squeeze(c: Call) -> str:
    shape = c.shape()
    axes = c.ints(1, "axes", "axes")
    gone = (
        {c.axis(a, len(shape)) for a in axes}
        if axes
        else {i for i, d in enumerate(shape) if d == 1}
    )
    if any(shape[a] != 1 for a in gone):
        raise Unsupported(f"axes {sorted(gone)} of {shape} must have size 1")
    return c.reshape(c.x(), [d for i, d in enumerate(shape) if i not in gone], last=True)


@onnx_op("Unsqueeze")
def unsqueeze(c: Call) -> str:
    shape = list(c.shape())
    axes = c.ints(1, "axes", "axes") or []
    for a in sorted(c.axis(a, len(shape) + len(axes)) for a in axes):
        shape.insert(a, 1)
    return c.reshape(c.x(), shape, last=True)


@onnx_op("Transpose")
def transpose(c: Call) -> str:
    rank = len(c.shape())
    perm = tuple(int(p) for p in c.attrs.get("perm", range(rank - 1, -1, -1)))
    return c.emit("Transpose", [c.x()], {"perm": perm}, last=True)


@onnx_op("Concat")
def concat(c: Call) -> str:
    axis = c.axis(int(c.attrs["axis"]), len(c.shape()))
    xs = [c.x(i) for i in range(len(c.proto.input)) if 0 not in c.shape(i)]
    return c.emit("Concat", xs, {"axis": axis}, last=True)


@onnx_op("Split")
def split(c: Call) -> Sequence[str]:
    """One Slice per output."""
    shape = c.shape()
    axis = c.axis(int(c.attrs.get("axis", 0)), len(shape))
    sizes = c.ints(1, "split", "the sizes")
    if sizes is None:
        count = int(c.attrs.get("num_outputs", len(c.proto.output)))
        part = -(-shape[axis] // count)
        sizes = [part] * (count - 1) + [shape[axis] - part * (count - 1)]
    if sum(sizes) != shape[axis] or min(sizes) < 1 or len(sizes) != len(c.proto.output):
        raise Unsupported(f"sizes {sizes} must fill axis {axis} of {shape}")
    outs, at = [], 0
    for out, size in zip(c.proto.output, sizes, strict=True):
        starts, ends = [0] * len(shape), list(shape)
        starts[axis], ends[axis] = at, at + size
        at += size
        if not out:
            outs.append("")
            continue
        attrs = {"starts": tuple(starts), "ends": tuple(ends), "steps": (1,) * len(shape)}
        outs.append(c.scope.builder.emit("Slice", [c.x()], attrs, out=out, name=out))
    return outs


@onnx_op("Slice")
def slice_(c: Call) -> str:
    """Starts and ends are clamped to the shape, as numpy does."""
    shape = c.shape()
    rank = len(shape)
    given_starts = c.ints(1, "starts", "starts") or []
    given_ends = c.ints(2, "ends", "ends") or []
    axes = c.ints(3, "axes", "axes")
    axes = list(range(len(given_starts))) if axes is None else axes
    given_steps = (c.ints(4, "steps", "steps") if c.opset >= 10 else None) or [1] * len(axes)
    if (
        not len(axes) == len(given_starts) == len(given_ends) == len(given_steps)
        or 0 in given_steps
    ):
        raise Unsupported("starts, ends, axes and non-zero steps must have equal length")
    starts, ends, steps = [0] * rank, list(shape), [1] * rank
    for a, s, e, step in zip(axes, given_starts, given_ends, given_steps, strict=True):
        i = c.axis(a, rank)
        starts[i], ends[i], steps[i] = slice(s, e, step).indices(shape[i])
    attrs = {"starts": tuple(starts), "ends": tuple(ends), "steps": tuple(steps)}
    return c.emit("Slice", [c.x()], attrs, last=True)


@onnx_op("Pad")
def pad(c: Call) -> str:
    mode = str(c.attrs.get("mode", "constant"))
    if mode != "constant":
        raise Unsupported(f"mode must be constant, got {mode}")
    rank = len(c.shape())
    given = c.ints(1, "pads", "pads") or []
    axes = (
        [c.axis(a, rank) for a in (c.ints(3, "", "axes") or [])] if c.has(3) else list(range(rank))
    )
    if len(given) != 2 * len(axes):
        raise Unsupported(f"pads must have {2 * len(axes)} entries, got {len(given)}")
    pads = [(0, 0)] * rank
    for k, a in enumerate(axes):
        pads[a] = (given[k], given[k + len(axes)])
    value = c.scalar(2, "value", 0.0)
    attrs = {"pads": tuple(pads), "mode": "constant", "value": value}
    return c.emit("Pad", [c.x()], attrs, last=True)


@onnx_op("Gather")
def gather(c: Call) -> str:
    shape = c.shape()
    axis = c.axis(int(c.attrs.get("axis", 0)), len(shape))
    indices = c.const(1, "the indices")
    flat = [int(i) for i in indices.reshape(-1)]
    if not flat or min(flat) < -shape[axis] or max(flat) >= shape[axis]:
        raise Unsupported(f"indices must lie in axis {axis} of {shape}")
    flat = [i % shape[axis] for i in flat]
    attrs = {
        "axis": axis,
        "indices": tuple(flat),
        "index_shape": tuple(int(d) for d in indices.shape),
    }
    return c.emit("Gather", [c.x()], attrs, last=True)


@onnx_op("DepthToSpace", "SpaceToDepth")
def depth_space(c: Call) -> str:
    """Reshape, Transpose, Reshape, as the ONNX definition writes it."""
    shape = c.shape()
    b = int(c.attrs["blocksize"])
    if len(shape) != 4 or b < 1:
        raise Unsupported(
            f"an input with 4 axes and a block of 1 or more are needed, got {shape}, {b}"
        )
    n, ch, h, w = shape
    if c.op == "SpaceToDepth":
        if h % b or w % b:
            raise Unsupported(f"block {b} must divide {h} x {w}")
        y = c.reshape(c.x(), (n, ch, h // b, b, w // b, b))
        y = c.emit("Transpose", [y], {"perm": (0, 3, 5, 1, 2, 4)})
        return c.reshape(y, (n, ch * b * b, h // b, w // b), last=True)
    if ch % (b * b):
        raise Unsupported(f"block {b} squared must divide {ch} channels")
    if str(c.attrs.get("mode", "DCR")) == "DCR":
        y = c.reshape(c.x(), (n, b, b, ch // (b * b), h, w))
        y = c.emit("Transpose", [y], {"perm": (0, 3, 4, 1, 5, 2)})
    else:
        y = c.reshape(c.x(), (n, ch // (b * b), b, b, h, w))
        y = c.emit("Transpose", [y], {"perm": (0, 1, 4, 2, 5, 3)})
    return c.reshape(y, (n, ch // (b * b), h * b, w * b), last=True)


@onnx_op("Expand", "Tile")
def repeat(c: Call) -> str:
    """Copies side by side: one Concat per axis that grows."""
    shape = c.shape()
    given = c.ints(1, "", "the shape") or []
    x = c.x()
    if c.op == "Expand":
        target = [int(d) for d in np.broadcast_shapes(shape, tuple(given))]
        full = (1,) * (len(target) - len(shape)) + shape
        times = [t // d for t, d in zip(target, full, strict=True)]
        if len(full) != len(shape):
            x = c.reshape(x, full)
    else:
        times = given
    if math.prod(times) > 4096 or min(times, default=1) < 1:
        raise Unsupported(f"repeats {times} must be 1 or more and at most 4096 in all")
    for axis, n in enumerate(times):
        if n > 1:
            x = c.emit("Concat", [x] * n, {"axis": axis})
    return x
