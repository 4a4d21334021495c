"""Types of the compiled clock."""

from typing import Any

from numpy.typing import NDArray

def simulate(
    queue: NDArray[Any],
    core: NDArray[Any],
    wait: NDArray[Any],
    signal: NDArray[Any],
    cycles: NDArray[Any],
    dram: NDArray[Any],
    sync: NDArray[Any],
    cores: int,
    start: NDArray[Any],
    finish: NDArray[Any],
    cause: NDArray[Any],
) -> None: ...
