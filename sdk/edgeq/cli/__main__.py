"""`python -m edgeq.cli` is `edgeq`."""

from __future__ import annotations

from edgeq.cli import main

if __name__ == "__main__":
    main()
