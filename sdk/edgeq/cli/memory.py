"""Peak memory of this process."""

from __future__ import annotations

import sys
from pathlib import Path


def peak_rss_mb() -> float:
    """Return the largest resident size so far in megabytes (10^6 bytes).

    Linux: VmHWM, which starts anew at exec; ru_maxrss would inherit the parent's size.
    """
    try:
        for row in Path("/proc/self/status").read_text().splitlines():
            if row.startswith("VmHWM:"):
                return round(int(row.split()[1]) * 1024 / 1e6, 1)
    except (OSError, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak * (1 if sys.platform == "darwin" else 1024) / 1e6, 1)
