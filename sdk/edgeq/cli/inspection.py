"""`edgeq inspect`: what is inside an .edgeq file."""

from __future__ import annotations

import contextlib
import tomllib
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from edgeq.cli.console import Out, verb
from edgeq.cli.models import require_file
from edgeq.cli.tables import count, facts, size, table
from edgeq.errors import ProgramError

if TYPE_CHECKING:
    from edgeq.runtime.program import Program

FileArg = Annotated[Path, typer.Argument(metavar="FILE", help="An .edgeq file.")]
Commands = Annotated[bool, typer.Option("--commands", help="List every command.")]


@verb
def inspect(out: Out, file: FileArg, commands: Commands = False) -> None:
    """Show what an .edgeq file holds: inputs, commands, sizes, card, provenance."""
    from edgeq.runtime.program import Program

    require_file(file, ProgramError)
    body = file.read_bytes()
    try:
        program = Program.from_bytes(body)
    except ProgramError as broken:
        raise ProgramError(f"{file}: {broken}") from None
    rows = _commands(program)
    out.document = {
        "file": str(file),
        "bytes": len(body),
        **_header(body),
        "name": program.meta["name"],
        "target": program.meta.get("target", "cpu"),
        "sections": _sections(body),
        "inputs": _ports(program, 0, program.meta["inputs"]),
        "outputs": _ports(program, len(program.meta["inputs"]), program.meta["outputs"]),
        "stats": program.meta["stats"],
        "ops": dict(Counter(row["op"] for row in rows)),
        "weight_bits": dict(
            Counter(str(row["weight_bits"]) for row in rows if "weight_bits" in row)
        ),
        "weights": _weights(program),
        "float_islands": program.float_islands(),
        "card": program.meta["card"],
        "provenance": program.meta["provenance"],
    }
    if commands:
        out.document["commands"] = rows
    if not out.as_json:
        _print(out, out.document, rows if commands else [])


def _header(body: bytes) -> dict[str, Any]:
    from edgeq.runtime import isa

    header = np.frombuffer(body, isa.HEADER_DTYPE, 1)[0]
    return {
        "format_version": int(header["format_version"]),
        "isa_version": int(header["isa_version"]),
    }


def _sections(body: bytes) -> list[dict[str, Any]]:
    from edgeq.runtime import isa

    number = int(np.frombuffer(body, isa.HEADER_DTYPE, 1)[0]["sections"])
    names = {kind: name for name, kind in isa.SECTIONS.items()}
    table = np.frombuffer(body, isa.SECTION_DTYPE, number, isa.HEADER_DTYPE.itemsize)
    return [
        {
            "name": names.get(int(row["kind"]), "?"),
            "offset": int(row["offset"]),
            "bytes": int(row["bytes"]),
        }
        for row in table
    ]


def _ports(program: Program, first: int, specs: Any) -> list[dict[str, Any]]:
    from edgeq.runtime import isa

    kinds = {number: name for name, number in isa.DTYPES.items()}
    ports = []
    for row, spec in zip(program.tensors[first : first + len(specs)], specs, strict=True):
        at, number = int(row["qparams"]), int(row["q_count"])
        scale = np.frombuffer(program.qparams, "<f4", number, at) if number else np.ones(0, "<f4")
        zero = (
            np.frombuffer(program.qparams, "<i4", number, at + 4 * number)
            if number
            else np.zeros(0, "<i4")
        )
        ports.append(
            {
                **spec,
                "dtype": kinds[int(row["dtype"])],
                "scale": scale.tolist(),
                "zero_point": zero.tolist(),
            }
        )
    return ports


def _commands(program: Program) -> list[dict[str, Any]]:
    """Describe each command: source node, op, shapes, bytes that it reads and writes, MACs."""
    from edgeq.runtime import isa

    head = isa.COMMAND_DTYPES["END"]
    names = {op.number: name for name, op in isa.OPCODES.items()}
    rows = []
    codes, sources = np.frombuffer(program.commands, head), program.debug
    if program.timing is not None:  # many commands a layer; the last one is END
        sources = [program.debug[int(row["layer"])] for row in program.timing[:-1]]
    for at, (code, about) in enumerate(zip(codes, sources, strict=False)):
        ins = [_shape(program, int(code[key])) for key in ("in0", "in1")]
        result = _shape(program, int(code["out"]))
        rows.append(
            {
                "index": at,
                "op": names.get(int(code["opcode"]), "?"),
                "node": about["node"],
                "source": about["op"],
                "in": [shape for shape in ins if shape],
                "out": result,
                "bytes": sum(_bytes(program, int(code[key])) for key in ("in0", "in1", "out")),
                "macs": about["macs"],
                **_weight_bits(code),
                **_queue(program, at, code),
            }
        )
    return rows


def _weights(program: Program) -> list[dict[str, Any]]:
    """Of a program for an NPU: how each layer's weights are stored."""
    from edgeq.runtime.npu.weights import stored_weights

    if program.timing is None:
        return []
    stored = stored_weights(program.commands, program.timing, len(program.debug))
    return [
        {
            "node": about["node"],
            "coding": one.coding,
            "bytes": one.bytes,
            "stored": one.stored_bytes,
        }
        for about, one in zip(program.debug, stored, strict=True)
        if one.coding
    ]


def _weight_bits(code: Any) -> dict[str, int]:
    """Of a convolution: the bits of its weights."""
    from edgeq.runtime import isa

    if code["opcode"] not in (isa.OPCODES["CONV"].number, isa.OPCODES["DWCONV"].number):
        return {}
    return {"weight_bits": 4 if code["flags"] & isa.FLAG_WEIGHTS4 else 8}


def _queue(program: Program, at: int, code: Any) -> dict[str, Any]:
    """Of a command for an NPU: its queue, core, tokens, and what the clock knows."""
    from edgeq.runtime import isa

    if program.timing is None:
        return {}
    row = program.timing[at]
    names = {number: name for name, number in isa.QUEUES.items()}
    return {
        "queue": names[int(row["queue"])],
        "core": int(row["core"]),
        "wait": _tokens(int(code["wait"])),
        "signal": _tokens(int(code["signal"])),
        "cycles": int(row["cycles"]),
        "macs": int(row["macs"]),
    }


def _tokens(mask: int) -> list[str]:
    """Tokens as "from>to"."""
    from edgeq.runtime import isa

    names = list(isa.QUEUES)
    return [f"{names[b // 4]}>{names[b % 4]}" for b in range(16) if mask >> b & 1]


def _shape(program: Program, tensor: int) -> list[int]:
    if tensor >= len(program.tensors):
        return []
    row = program.tensors[tensor]
    return [int(d) for d in row["dims"][: int(row["ndim"])]]


def _bytes(program: Program, tensor: int) -> int:
    from edgeq.runtime import isa

    if tensor >= len(program.tensors):
        return 0
    kinds = {number: isa.DTYPE_BYTES[name] for name, number in isa.DTYPES.items()}
    return (
        int(np.prod(_shape(program, tensor), dtype=np.int64))
        * kinds[int(program.tensors[tensor]["dtype"])]
    )


def _print(out: Out, about: dict[str, Any], rows: list[dict[str, Any]]) -> None:
    stats, card, origin = about["stats"], about["card"], about["provenance"]
    arena, bound = stats["arena_bytes"], stats["arena_bound_bytes"]
    islands = ", ".join(map(str, about["float_islands"])) or "none: every operation is on integers"
    fact: list[tuple[str, object]] = [
        ("file", f"{about['file']}, {size(about['bytes'])}"),
        ("model", f"{about['name']} for {about['target']}"),
        ("version", f"format {about['format_version']}, command set {about['isa_version']}"),
        *(("input", _port(one)) for one in about["inputs"]),
        *(("output", _port(one)) for one in about["outputs"]),
        ("work", f"{count(stats['macs'])} MACs in {sum(about['ops'].values())} commands"),
        ("commands", ", ".join(f"{n} {op}" for op, n in Counter(about["ops"]).most_common())),
        (
            "weights",
            ", ".join(f"{n} commands in {b} bits" for b, n in sorted(about["weight_bits"].items())),
        ),
        ("arena", f"{size(arena)}, {arena / max(bound, 1):.3f} of the lower bound"),
        *_sram(stats),
        *_stored(about["weights"]),
        ("in float", islands),
    ]
    if card:
        fact += [
            ("task", f"{card['task']}, {len(card['labels'])} labels, ranked by {card['metric']}"),
            ("picture", "{height}x{width} {color}, {resize}".format(**card["input"])),
            ("decode", card["decode"]["kind"]),
            ("licence", card["licence"] or None),
        ]
    else:
        fact.append(("task", "no card: give --card to run pictures"))
    fact += [(key.replace("_", " "), _inline(key, value)) for key, value in origin.items()]
    out.line(facts(fact))
    out.line()
    out.line(
        table(
            ("section", "offset", "size"),
            [(s["name"], s["offset"], size(s["bytes"])) for s in about["sections"]],
        )
    )
    if rows and about["weights"]:
        out.line()
        coded = [
            (w["node"], w["coding"], size(w["bytes"]), size(w["stored"])) for w in about["weights"]
        ]
        out.line(table(("layer", "coding", "weights", "stored"), coded))
    if rows:
        out.line()
        listing = [
            (r["index"], r["op"], _by(r["out"]), count(r["macs"]), size(r["bytes"]), r["node"])
            for r in rows
        ]
        heads = ("#", "op", "output", "MACs", "bytes", "node")
        if "queue" in rows[0]:
            heads = ("#", "queue", "op", "output", "cycles", "waits for")
            listing = [
                (r["index"], r["queue"], r["op"], _by(r["out"]), r["cycles"], _from(r["wait"]))
                for r in rows
            ]
        out.line(table(heads, listing))


def _from(tokens: list[str]) -> str:
    return ", ".join(token.partition(">")[0] for token in tokens)


def _port(port: dict[str, Any]) -> str:
    scale, zero = port["scale"], port["zero_point"]
    if len(scale) == 1:
        shifted = f"(i {'-' if zero[0] > 0 else '+'} {abs(zero[0])})" if zero[0] else "i"
        law = f"real = {scale[0]:.6g} * {shifted}"
    else:
        law = f"{len(scale)} scales" if scale else "not quantized"
    return f"{port['name']} {_by(port['shape'])} {port['dtype']}, {law}"


def _sram(stats: dict[str, Any]) -> list[tuple[str, object]]:
    if "sram_peak_bytes" not in stats:
        return []
    peak, bound = stats["sram_peak_bytes"], stats["sram_bound_bytes"]
    return [("SRAM", f"{size(peak)}, {peak / max(bound, 1):.3f} of the lower bound")]


def _stored(weights: list[dict[str, Any]]) -> list[tuple[str, object]]:
    if not weights:
        return []
    whole, stored = (sum(w[key] for w in weights) for key in ("bytes", "stored"))
    by_coding = Counter(w["coding"] for w in weights).most_common()
    layers = ", ".join(f"{n} layers {coding}" for coding, n in by_coding)
    return [("weights", f"{size(stored)} stored of {size(whole)}: {layers}")]


def _by(shape: list[int]) -> str:
    return "x".join(map(str, shape)) or "-"


def _inline(key: str, value: Any) -> str:
    """Shorten a line of the provenance: of the recipe (TOML) its name."""
    if key == "recipe":
        with contextlib.suppress(tomllib.TOMLDecodeError):
            return str(tomllib.loads(str(value)).get("name", "custom"))
    return " ".join(str(value).split())
