"""Program: exactly what an .edgeq file holds. Writing is here; `csrc/program.c` checks the bytes."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.errors import ProgramError
from edgeq.runtime import isa


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """Commands, constants, tensors and the metadata of one compiled model.

    `meta` is JSON-able: "name", "card" (task card or null), "provenance", "inputs" and "outputs"
    (lists of {"name", "shape", "layout"} in tensor order), "stats" (sizes, MACs).
    `tensors` has dtype isa.TENSOR_DTYPE: inputs first, then outputs, then the rest.
    `debug` is JSON-able: one {"node", "op", "macs"} per command, or per layer where `timing` tells
    the layer of each command.
    """

    meta: Mapping[str, Any]
    commands: bytes
    constants: bytes
    qparams: bytes
    luts: bytes
    tensors: NDArray[Any]
    strings: bytes
    debug: list[dict[str, Any]]
    arena_bytes: int
    timing: NDArray[Any] | None = None  # isa.TIMING_DTYPE, one row per command; None for the cpu
    sram_bytes: int = 0  # scratch of one core
    cores: int = 0

    def to_bytes(self) -> bytes:
        """Serialise: header, section table, then 64-byte-aligned sections with a CRC-32 each."""
        bodies = {
            "META": _json(self.meta),
            "COMMANDS": self.commands,
            "CONSTANTS": self.constants,
            "QPARAMS": self.qparams,
            "LUTS": self.luts,
            "TENSORS": self.tensors.tobytes(),
            "STRINGS": self.strings,
            "DEBUG": _json(self.debug),
        }
        if self.timing is not None:
            bodies["TIMING"] = self.timing.tobytes()
        if len(bodies["META"]) > isa.MAX_META_BYTES:
            raise ProgramError(
                f"META: at most {isa.MAX_META_BYTES} bytes, got {len(bodies['META'])}. Shorten the task card."
            )
        table = np.zeros(len(bodies), isa.SECTION_DTYPE)
        at = _align(isa.HEADER_DTYPE.itemsize + table.nbytes)
        for row, (name, body) in zip(table, bodies.items(), strict=True):
            row["kind"], row["crc"], row["offset"], row["bytes"] = (
                isa.SECTIONS[name],
                zlib.crc32(body),
                at,
                len(body),
            )
            at = _align(at + len(body))
        header = np.zeros(1, isa.HEADER_DTYPE)
        header["magic"], header["format_version"], header["isa_version"] = (
            isa.MAGIC,
            isa.FORMAT_VERSION,
            isa.ISA_VERSION,
        )
        header["sections"], header["file_bytes"], header["arena_bytes"] = (
            len(table),
            at,
            self.arena_bytes,
        )
        header["sram_bytes"], header["cores"] = self.sram_bytes, self.cores
        header["npu_crc"] = _npu_crc(self.sram_bytes, self.cores)
        header["inputs"], header["outputs"] = len(self.meta["inputs"]), len(self.meta["outputs"])
        header["table_crc"] = _table_crc(header.tobytes(), table.tobytes())
        out = bytearray(at)
        out[: header.nbytes] = header.tobytes()
        out[header.nbytes : header.nbytes + table.nbytes] = table.tobytes()
        for row, body in zip(table, bodies.values(), strict=True):
            out[int(row["offset"]) : int(row["offset"]) + len(body)] = body
        return bytes(out)

    @classmethod
    def from_bytes(cls, body: bytes) -> Program:
        """Read a file's sections for inspection on the host; running a file goes through the C loader.

        Raises ProgramError when the header, the section table or a checksum is wrong.
        """
        if len(body) < isa.HEADER_DTYPE.itemsize or body[: len(isa.MAGIC)] != isa.MAGIC:
            raise ProgramError(
                "header: an .edgeq file starts with its magic bytes, these do not. Is it another kind of file?"
            )
        header = np.frombuffer(body, isa.HEADER_DTYPE, 1)[0]
        if (
            int(header["format_version"]) > isa.FORMAT_VERSION
            or int(header["isa_version"]) > isa.ISA_VERSION
        ):
            raise ProgramError(
                "header: the file was written by a newer edgeq. Update edgeq, or compile the model again."
            )
        count = int(header["sections"])
        if int(header["file_bytes"]) != len(body) or not 0 < count <= 64:
            raise ProgramError(
                f"header: {int(header['file_bytes'])} bytes were written, {len(body)} are here. Copy the file again."
            )
        end = isa.HEADER_DTYPE.itemsize + count * isa.SECTION_DTYPE.itemsize
        rows = body[isa.HEADER_DTYPE.itemsize : end]
        if end > len(body) or _table_crc(body, rows) != int(header["table_crc"]):
            raise ProgramError("header: its checksum is wrong. Copy the file again.")
        if int(header["npu_crc"]) != _npu_crc(int(header["sram_bytes"]), int(header["cores"])):
            raise ProgramError("header: its checksum is wrong. Copy the file again.")
        table = np.frombuffer(body, isa.SECTION_DTYPE, count, isa.HEADER_DTYPE.itemsize)
        parts: dict[str, bytes] = {}
        names = {number: name for name, number in isa.SECTIONS.items()}
        for row in table:
            name = names.get(int(row["kind"]), "?")
            part = body[int(row["offset"]) : int(row["offset"]) + int(row["bytes"])]
            if len(part) != int(row["bytes"]) or zlib.crc32(part) != int(row["crc"]):
                raise ProgramError(f"section {name}: its checksum is wrong. Copy the file again.")
            parts[name] = part
        missing = [n for n in isa.SECTIONS if n not in parts and n not in isa.OPTIONAL_SECTIONS]
        if missing or len(parts["TENSORS"]) % isa.TENSOR_DTYPE.itemsize:
            raise ProgramError(
                f"section table: sections {', '.join(missing) or 'TENSORS'} are missing or incomplete."
            )
        try:
            meta, debug = json.loads(parts["META"]), json.loads(parts["DEBUG"])
        except ValueError as e:
            raise ProgramError(f"section META or DEBUG: it must be JSON ({e}).") from e
        tensors = np.frombuffer(parts["TENSORS"], isa.TENSOR_DTYPE)
        return cls(
            meta=meta,
            commands=parts["COMMANDS"],
            constants=parts["CONSTANTS"],
            qparams=parts["QPARAMS"],
            luts=parts["LUTS"],
            tensors=tensors,
            strings=parts["STRINGS"],
            debug=debug,
            arena_bytes=int(header["arena_bytes"]),
            timing=np.frombuffer(parts["TIMING"], isa.TIMING_DTYPE) if "TIMING" in parts else None,
            sram_bytes=int(header["sram_bytes"]),
            cores=int(header["cores"]),
        )

    def float_islands(self) -> list[str]:
        """Return the nodes whose commands touch a float tensor, read off the commands themselves."""
        heads = np.frombuffer(self.commands, isa.COMMAND_DTYPES["END"])
        dtypes = self.tensors["dtype"]
        found = []
        for entry, head in zip(self.debug, heads, strict=False):
            ids = [int(head[k]) for k in ("in0", "in1", "out") if head[k] != isa.NONE16]
            if any(dtypes[i] == isa.DTYPES["float32"] for i in ids):
                found.append(str(entry["node"]))
        return found

    def save(self, path: str | os.PathLike[str]) -> int:
        """Write the file atomically (temporary file, fsync, rename); return its size in bytes."""
        body = self.to_bytes()
        write_atomic(path, body)
        return len(body)


def write_atomic(path: str | os.PathLike[str], body: bytes) -> None:
    """Write `body` so that `path` holds either the old content or all of the new.

    Raises OSError when the folder cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    fd, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(fd, "wb") as f:
            f.write(body)
            f.flush()
            os.fsync(f.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, target)
    except BaseException:
        os.unlink(temporary)
        raise


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _table_crc(header: bytes, table: bytes) -> int:
    """CRC-32 of the header up to the checksum itself, then of the section table."""
    assert isa.HEADER_DTYPE.fields is not None
    return zlib.crc32(table, zlib.crc32(header[: isa.HEADER_DTYPE.fields["table_crc"][1]]))


def _npu_crc(sram_bytes: int, cores: int) -> int:
    return zlib.crc32(np.array([sram_bytes, cores], "<u4").tobytes()) if cores else 0


def _json(value: Any) -> bytes:
    return json.dumps(
        value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
    ).encode()


def _align(n: int) -> int:
    return -(-n // isa.ALIGN) * isa.ALIGN
