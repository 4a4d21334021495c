"""The slow truth of a file: run a Program's commands with numpy, from the same bytes that C reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from edgeq.compiler.weight_codes import Stream, decode
from edgeq.graph.ir import Array
from edgeq.ops.window import taps
from edgeq.runtime import isa, numerics
from edgeq.runtime.program import Program

_TYPES = {number: np.dtype(name) for name, number in isa.DTYPES.items()}
_NAMES = {op.number: name for name, op in isa.OPCODES.items()}
_CODINGS = {number: name for name, number in isa.CODINGS.items()}


def run_program(program: Program, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Run the commands on native-integer inputs (by name); returns native-integer outputs by name.

    The program must have passed the loader: nothing is checked here.
    """
    machine = Machine(program)
    for i, spec in enumerate(program.meta["inputs"]):
        machine.tensor(i)[...] = inputs[spec["name"]]
    for at in range(len(program.commands) // 64):
        machine.step(at)
    return machine.outputs()


class Machine:
    """An arena and typed access to sections."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.arena = np.zeros(program.arena_bytes + 64, np.uint8)
        self.sram = np.zeros((program.cores, program.sram_bytes + 64), np.uint8)
        self.constants = np.frombuffer(program.constants, np.uint8)

    def step(self, at: int) -> None:
        """Run command `at`."""
        head = np.frombuffer(self.program.commands, isa.COMMAND_DTYPES["END"], 1, 64 * at)[0]
        name = _NAMES[int(head["opcode"])]
        if name != "END":
            _RUN[name](
                self, np.frombuffer(self.program.commands, isa.COMMAND_DTYPES[name], 1, 64 * at)[0]
            )

    def outputs(self) -> dict[str, Array]:
        """Native-integer outputs by name."""
        first = len(self.program.meta["inputs"])
        return {
            spec["name"]: self.tensor(first + i).copy().reshape(spec["shape"])
            for i, spec in enumerate(self.program.meta["outputs"])
        }

    def tensor(self, index: int) -> Array:
        """Strided array over the region of tensor `index`."""
        row = self.program.tensors[index]
        flat = self.flat(index)
        dtype, n = flat.dtype, int(row["ndim"])
        strides = [int(s) * dtype.itemsize for s in row["strides"][:n]]
        return np.lib.stride_tricks.as_strided(flat, [int(d) for d in row["dims"][:n]], strides)

    def flat(self, index: int) -> Array:
        """Everything from the start of tensor `index` to the end of its region."""
        row = self.program.tensors[index]
        region = self.arena
        if row["region"] == isa.REGIONS["CONSTANTS"]:
            region = self.constants
        elif row["region"] == isa.REGIONS["SRAM"]:
            region = self.sram[int(row["core"])]
        dtype, flat = _TYPES[int(row["dtype"])], region[int(row["offset"]) :]
        return flat[: len(flat) // dtype.itemsize * dtype.itemsize].view(dtype)

    def weights(self, command: Any, count: int, pad: int) -> tuple[Array, Array]:
        """`count` packed weights as int8 and the pad row: from their copy in SRAM where they have one."""
        four = bool(command["flags"] & isa.FLAG_WEIGHTS4)
        size = count // 2 if four else count
        body = (
            self.constant(command, "i1", size + pad)
            if command["in1"] == isa.NONE16
            else self.tensor(int(command["in1"]))[: size + pad]
        )
        w = body[:size]
        if four:
            w = np.concatenate(
                [  # 64 weights in 32 bytes: all low halves, then all high ones
                    half
                    for i in range(0, size, 32)
                    for half in (w[i : i + 32] << 4 >> 4, w[i : i + 32] >> 4)
                ]
            )
        return w, body[size:]

    def rows(self, at: int, opcode: str, count: int) -> dict[str, Array]:
        """Per-channel arrays of `count` entries (LANES-padded in the file)."""
        out = {}
        for name, kind in isa.OPCODES[opcode].rows:
            out[name] = np.frombuffer(self.program.qparams, "<" + kind, count, at)
            at += isa.lanes(count) * np.dtype(kind).itemsize
        return out

    def constant(self, command: Any, dtype: str, count: int, skip: int = 0) -> Array:
        return np.frombuffer(self.program.constants, dtype, count, int(command["constants"]) + skip)

    def table(self, command: Any) -> Array | None:
        counts = {
            isa.LUT_KINDS["LUT8"]: numerics.LUT8_ENTRIES,
            isa.LUT_KINDS["LUT16"]: numerics.LUT16_ENTRIES,
        }
        count = counts.get(int(command["lut_kind"]))
        return (
            None
            if count is None
            else np.frombuffer(self.program.luts, "<i2", count, int(command["lut"]))
        )


def _bounds(out: Array) -> tuple[int, int]:
    info = np.iinfo(out.dtype)
    return int(info.min), int(info.max)


def _through_table(
    x: Array, table: Array, step: bool, rows: Mapping[str, Array], out: Array
) -> None:
    t = numerics.lut8(x, table) if len(table) == numerics.LUT8_ENTRIES else numerics.lut16(x, table)
    if step:
        out[...] = numerics.requantize(t, rows["r"], rows["zp"], rows["lo"], rows["hi"])
    else:
        out[...] = np.clip(t, *_bounds(out))


def _finish(m: Machine, command: Any, acc: Array, rows: Mapping[str, Array], out: Array) -> None:
    """A convolution's epilogue."""
    table = m.table(command)
    if table is None:
        out[...] = numerics.requantize(acc, rows["m"], rows["zp"], rows["lo"], rows["hi"])
        return
    lo, hi = (-128, 127) if len(table) == numerics.LUT8_ENTRIES else (-32768, 32767)
    pre = numerics.requantize(acc, rows["m"], int(command["pre_zero"]), lo, hi)
    if command["flags"] & isa.FLAG_LUT_GATE:
        tail = rows["zp"], rows["lo"], rows["hi"]
        out[...] = numerics.gate(acc, rows["r"], numerics.lut16(pre, table), *tail)
    else:
        _through_table(pre, table, bool(command["flags"] & isa.FLAG_LUT_STEP), rows, out)


def _add_behind(m: Machine, command: Any, out: Array) -> None:
    """The residual sum behind a convolution, over what its epilogue wrote."""
    if command["flags"] & isa.FLAG_ADD:
        r = m.rows(int(command["add_rows"]), "ELEMENTWISE", out.shape[3])
        tail = r["zp"], r["lo"], r["hi"]
        b = m.tensor(int(command["addend"]))
        out[...] = numerics.add(out, b, r["ra"], r["rb"], r["za"], r["zb"], *tail)


def _slabs(command: Any, x: Array, out: Array, fill: Array | int) -> Any:
    kernel = int(command["kh"]), int(command["kw"])
    strides = int(command["sh"]), int(command["sw"])
    dilations = int(command["dh"]), int(command["dw"])
    top, left = int(command["pt"]), int(command["pl"])
    need = [
        (out.shape[1 + i] - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 for i in range(2)
    ]
    crop = x[:, max(-top, 0) :, max(-left, 0) :]
    top, left = max(top, 0), max(left, 0)
    crop = crop[:, : max(need[0] - top, 0), : max(need[1] - left, 0)]
    bottom, right = need[0] - top - crop.shape[1], need[1] - left - crop.shape[2]
    return taps(crop, kernel, strides, (top, left, bottom, right), dilations, fill)


def _conv(m: Machine, command: Any) -> None:
    x, out, groups = (
        m.tensor(int(command["in0"])),
        m.tensor(int(command["out"])),
        int(command["groups"]),
    )
    kh, kw = int(command["kh"]), int(command["kw"])
    per, icg = out.shape[3] // groups, x.shape[3] // groups
    lanes, deep = isa.lanes(per), -(-icg // 4) * 4
    count = groups * lanes * kh * kw * deep
    w, pads = m.weights(command, count, x.shape[3])
    w = w.reshape(groups, lanes // 16, kh, kw, deep // 4, 16, 4)
    w = w.transpose(0, 1, 5, 2, 3, 4, 6).reshape(groups, lanes, kh, kw, deep)[:, :per, :, :, :icg]
    rows = m.rows(int(command["qparams"]), "CONV", groups * lanes)
    acc = np.zeros((*out.shape[:3], groups, per), np.float64)
    for ky, kx, slab in _slabs(command, x, out, pads):
        for g in range(groups):
            part = slab[..., g * icg : (g + 1) * icg].astype(np.float64)
            acc[..., g, :] += part @ w[g, :, ky, kx].astype(np.float64).T
    rows = {k: r.reshape(groups, lanes)[:, :per].reshape(-1) for k, r in rows.items()}
    _finish(m, command, acc.reshape(out.shape).astype(np.int64) + rows["bias"], rows, out)
    _add_behind(m, command, out)


def _depthwise(m: Machine, command: Any) -> None:
    x, out = m.tensor(int(command["in0"])), m.tensor(int(command["out"]))
    c, kh, kw = x.shape[3], int(command["kh"]), int(command["kw"])
    w, pads = m.weights(command, kh * kw * isa.lanes(c), c)
    w = w.reshape(kh, kw, -1)[..., :c].astype(np.int64)
    rows = m.rows(int(command["qparams"]), "DWCONV", c)
    acc = rows["bias"] + sum(slab * w[ky, kx] for ky, kx, slab in _slabs(command, x, out, pads))
    _finish(m, command, acc, rows, out)
    _add_behind(m, command, out)


def _gemm(m: Machine, command: Any) -> None:
    a, b, out = (m.tensor(int(command[k])) for k in ("in0", "in1", "out"))
    if command["flags"] & isa.FLAG_TRANSPOSE_B:
        b = b.swapaxes(-1, -2)
    rows = m.rows(int(command["qparams"]), "GEMM", out.shape[-1])
    acc = (a.astype(np.float64) - int(command["za"])) @ (b.astype(np.float64) - int(command["zb"]))
    out[...] = numerics.requantize(
        acc.astype(np.int64), rows["m"], rows["zp"], rows["lo"], rows["hi"]
    )


def _mean(total: Array, count: Array, rows: Mapping[str, Array], x: Array, out: Array) -> None:
    m = rows["ratio"] / count.astype(np.float64)
    if x.dtype == np.int16:
        out[...] = numerics.requantize64(total, m, rows["zp"], rows["lo"], rows["hi"]).reshape(
            out.shape
        )
    else:
        out[...] = numerics.requantize(
            total, m.astype(np.float32), rows["zp"], rows["lo"], rows["hi"]
        ).reshape(out.shape)


def _pool(m: Machine, command: Any) -> None:
    x, out = m.tensor(int(command["in0"])), m.tensor(int(command["out"]))
    if command["kind"] == isa.POOL_KINDS["MAX"]:
        best = np.full(out.shape, np.iinfo(x.dtype).min, x.dtype)
        for _, _, slab in _slabs(command, x, out, np.iinfo(x.dtype).min):
            best = np.maximum(best, slab)
        out[...] = best
        return
    rows = m.rows(int(command["qparams"]), "POOL", out.shape[3])
    total = sum(slab for _, _, slab in _slabs(command, x.astype(np.int64) - rows["zx"], out, 0))
    count = np.full((1, 1, 1, 1), int(command["kh"]) * int(command["kw"]))
    if not command["flags"] & isa.FLAG_COUNT_PAD:
        count = np.asarray(
            sum(s for _, _, s in _slabs(command, np.ones((1, *x.shape[1:3], 1), np.int64), out, 0))
        )
    _mean(np.asarray(total), count, rows, x, out)


def _reduce(m: Machine, command: Any) -> None:
    x, out = m.tensor(int(command["in0"])), m.tensor(int(command["out"]))
    axes = tuple(i for i in range(x.ndim) if int(command["axes"]) >> i & 1)
    rows = m.rows(int(command["qparams"]), "REDUCE", 1 if x.ndim - 1 in axes else x.shape[-1])
    total = (x.astype(np.int64) - rows["zx"]).sum(axis=axes)
    _mean(total, np.asarray(np.prod([x.shape[a] for a in axes])), rows, x, out)


def _elementwise(m: Machine, command: Any) -> None:
    a, out = m.tensor(int(command["in0"])), m.tensor(int(command["out"]))
    r = m.rows(int(command["qparams"]), "ELEMENTWISE", out.shape[-1] if out.ndim else 1)
    kinds = {number: name for name, number in isa.ELEMENTWISE_KINDS.items()}
    kind, tail = kinds[int(command["kind"])], (r["zp"], r["lo"], r["hi"])
    if kind in ("PRELU", "REQUANT"):
        v = (a.astype(np.int32) - r["za"]).astype(np.float32)
        out[...] = numerics.rint_clamp(
            v * (np.where(v < 0, r["rb"], r["ra"]) if kind == "PRELU" else r["ra"]), *tail
        )
        return
    b = m.tensor(int(command["in1"]))
    if kind == "ADD":
        out[...] = numerics.add(a, b, r["ra"], r["rb"], r["za"], r["zb"], *tail)
    else:
        law = numerics.mul if kind == "MUL" else numerics.div
        out[...] = law(a, b, r["ra"], r["za"], r["zb"], *tail)


def _lut(m: Machine, command: Any) -> None:
    x, out, table = m.tensor(int(command["in0"])), m.tensor(int(command["out"])), m.table(command)
    assert table is not None
    rows = m.rows(int(command["qparams"]), "LUT", out.shape[-1] if out.ndim else 1)
    _through_table(x, table, bool(command["flags"] & isa.FLAG_LUT_STEP), rows, out)


def _softmax(m: Machine, command: Any) -> None:
    x, out = m.tensor(int(command["in0"])), m.tensor(int(command["out"]))
    fine, coarse = np.frombuffer(m.program.luts, "<u4", 512, int(command["lut"])).reshape(2, 256)
    out[...] = numerics.softmax(
        x, fine, coarse, float(command["inv_scale"]), int(command["zp"]), *_bounds(out)
    )


def _resize(m: Machine, command: Any) -> None:
    x, out = m.tensor(int(command["in0"])), m.tensor(int(command["out"]))
    oh, ow = out.shape[1:3]
    if command["kind"] == isa.RESIZE_KINDS["NEAREST"]:
        table = m.constant(command, "<i4", oh + ow)
        out[...] = x[:, table[:oh]][:, :, table[oh:]]
        return
    table = m.constant(command, "<i4", 3 * (oh + ow))
    rows, columns = table[: 3 * oh].reshape(3, oh), table[3 * oh :].reshape(3, ow)
    out[...] = numerics.lerp(x, (rows[0], rows[1], rows[2]), (columns[0], columns[1], columns[2]))


def _layout(m: Machine, command: Any) -> None:
    table = m.constant(command, "<i4", 20)
    dims, source, target = (table[i * 6 : i * 6 + 6].astype(np.int64) for i in range(3))
    grids = np.indices(tuple(int(d) for d in dims))
    where_x = np.tensordot(source, grids, 1) + int(table[18])
    where_y = np.tensordot(target, grids, 1) + int(table[19])
    m.flat(int(command["out"]))[where_y] = m.flat(int(command["in0"]))[where_x]


def _dma(m: Machine, command: Any) -> None:
    m.tensor(int(command["out"]))[...] = m.tensor(int(command["in0"]))


def _dma_weights(m: Machine, command: Any) -> None:
    coding = _CODINGS[int(command["coding"])]
    count = int(command["bytes" if coding == "RAW" else "coded"])
    table = b""
    if coding == "HUFFMAN":
        table = m.program.luts[int(command["lut"]) :][: isa.CODE_TABLE_BYTES]
    stored = m.constant(command, "u1", count).tobytes()
    stream = Stream(coding, stored, int(command["body"]), int(command["bytes"]), table)
    m.tensor(int(command["out"]))[...] = np.frombuffer(decode(stream), np.int8)


def _sync(m: Machine, command: Any) -> None:
    """Commands lie in an order that is valid as it is."""


def _fill(m: Machine, command: Any) -> None:
    out = m.tensor(int(command["out"]))
    out[...] = m.rows(int(command["qparams"]), "FILL", out.shape[-1])["value"]


def _gather(m: Machine, command: Any) -> None:
    x, out, axis = (
        m.tensor(int(command["in0"])),
        m.tensor(int(command["out"])),
        int(command["axis"]),
    )
    out[...] = np.take(x, m.constant(command, "<i4", out.shape[axis]), axis=axis)


_RUN: dict[str, Callable[[Machine, Any], None]] = {
    "CONV": _conv,
    "DMA_LOAD": _dma,
    "DMA_STORE": _dma,
    "DMA_WEIGHTS": _dma_weights,
    "DWCONV": _depthwise,
    "ELEMENTWISE": _elementwise,
    "FILL": _fill,
    "GATHER": _gather,
    "GEMM": _gemm,
    "LAYOUT": _layout,
    "LUT": _lut,
    "POOL": _pool,
    "REDUCE": _reduce,
    "RESIZE": _resize,
    "SOFTMAX": _softmax,
    "SYNC": _sync,
}
