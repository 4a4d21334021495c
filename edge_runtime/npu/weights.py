"""How the weights of each layer of an NPU program are stored, read off its DMA_WEIGHTS commands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeq.runtime import isa

_NAMES = {number: name.lower() for name, number in isa.CODINGS.items()}


@dataclass(frozen=True, slots=True)
class StoredWeights:
    """One layer: its coding ("huffman", or several joined by +; "" without weights), and bytes in SRAM
    and in the file, each stream once however often it is fetched; bits of a weight (4 where any has 4,
    0 without weights), and the MACs with 4-bit weights."""

    coding: str
    bytes: int
    stored_bytes: int
    bits: int
    macs4: int

    @property
    def saved(self) -> float:
        """Share of the bytes that coding takes off."""
        return 1 - self.stored_bytes / self.bytes if self.bytes else 0.0


def stored_weights(commands: bytes, timing: NDArray[Any], layers: int) -> list[StoredWeights]:
    """The weights of every layer; the commands must be those of `timing`."""
    rows = np.frombuffer(commands, isa.COMMAND_DTYPES["DMA_WEIGHTS"])
    mine = np.flatnonzero(rows["opcode"] == isa.OPCODES["DMA_WEIGHTS"].number)
    _, first = np.unique(rows["constants"][mine], return_index=True)
    found: list[dict[str, int]] = [{} for _ in range(layers)]
    whole, stored = np.zeros(layers, np.int64), np.zeros(layers, np.int64)
    for at in np.sort(mine[first]):
        row, layer = rows[at], int(timing["layer"][at])
        name, count = _NAMES.get(int(row["coding"]), "?"), int(row["bytes"])
        size = count if name == "raw" else int(row["coded"])
        whole[layer], stored[layer] = whole[layer] + count, stored[layer] + size
        found[layer][name] = found[layer].get(name, 0) + count
    names = ["+".join(sorted(one, key=lambda n: (-one[n], n))) for one in found]
    weighted = np.isin(rows["opcode"], [isa.OPCODES[op].number for op in ("CONV", "DWCONV")])
    four = weighted & ((rows["flags"] & isa.FLAG_WEIGHTS4) != 0)
    bits = np.zeros(layers, np.int64)
    bits[timing["layer"][weighted]] = 8
    bits[timing["layer"][four]] = 4
    macs4 = np.zeros(layers, np.int64)
    np.add.at(macs4, timing["layer"][four], timing["macs"][four].astype(np.int64))
    table = zip(names, *(x.tolist() for x in (whole, stored, bits, macs4)), strict=True)
    return [StoredWeights(*one) for one in table]
