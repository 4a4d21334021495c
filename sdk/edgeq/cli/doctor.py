"""`edgeq doctor`: what this machine offers, what was chosen and why, what is missing."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import sys
from pathlib import Path
from typing import Any

from edgeq.cli.console import Out, verb
from edgeq.cli.tables import facts, size, table

# distribution names that satisfy an import, what it is for, the pip command
_PACKAGES = {
    "numpy": (("numpy",), "everything", "pip install edgeq"),
    "cv2": (
        (
            "opencv-python-headless",
            "opencv-python",
            "opencv-contrib-python",
            "opencv-contrib-python-headless",
        ),
        "pictures and video",
        "pip install 'edgeq[vision]'",
    ),
    "onnx": (("onnx",), "reading and writing ONNX", "pip install 'edgeq[host]'"),
    "onnxruntime": (("onnxruntime",), "float accuracy, comparison", "pip install 'edgeq[host]'"),
    "rich": (("rich",), "progress bars", "pip install 'edgeq[host]'"),
}


@verb
def doctor(out: Out) -> None:
    """Show what this machine offers and how to mend what is missing."""
    import edgeq
    from edgeq import zoo

    packages = [_package(name, *about) for name, about in _PACKAGES.items()]
    missing = [one for one in packages if one["version"] is None]
    kernels = _kernels()
    mirror = os.environ.get("EDGEQ_ZOO_MIRROR")
    cache = zoo.cache_dir()
    out.document = {
        "edgeq": edgeq.__version__,
        "python": platform.python_version(),
        "machine": machine(),
        "kernels": kernels,
        "packages": packages,
        "cache": {"folder": str(cache), "bytes": _bytes(cache)},
        "zoo_mirror": mirror,
        "missing": [{"package": one["package"], "fix": one["fix"]} for one in missing],
    }
    about = machine()
    fact = [
        ("edgeq", f"{edgeq.__version__} in {Path(edgeq.__file__).parent}"),
        ("python", f"{platform.python_version()} ({sys.executable})"),
        ("machine", f"{about['cpu']}, {about['system']}"),
        ("cores", f"{about['cores']} usable of {os.cpu_count()}"),
        ("memory", size(about["memory_bytes"]) if about["memory_bytes"] else None),
    ]
    fact += [
        ("CPU features", ", ".join(kernels["features"]) or "none that edgeq uses"),
        ("kernels", kernels["why"]),
        ("also here", ", ".join(k for k in kernels["available"] if k != kernels["chosen"])),
        ("cache", f"{cache} ({size(_bytes(cache))})"),
        ("zoo mirror", _mirror(mirror)),
    ]
    out.line(facts(fact))
    out.line()
    rows = [(p["package"], p["version"] or "MISSING", p["for"]) for p in packages]
    out.line(table(("package", "version", "needed for"), rows))
    out.line()
    fixes = sorted({one["fix"] for one in missing})
    if mirror and not Path(mirror).is_dir():
        fixes.append("point EDGEQ_ZOO_MIRROR at a folder that exists")
    if fixes:
        out.line("To mend:")
        for fix in fixes:
            out.line(f"  {fix}")
    else:
        out.line("Nothing is missing.")


def machine() -> dict[str, Any]:
    """Describe the machine for a report: cpu, system, cores, memory."""
    return {
        "cpu": _cpu_name(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": _memory(),
        "python": platform.python_version(),
    }


def _cpu_name() -> str:
    try:
        for row in Path("/proc/cpuinfo").read_text().splitlines():
            key, _, value = row.partition(":")
            if key.strip() in ("model name", "Model", "Hardware") and value.strip():
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _package(name: str, distributions: tuple[str, ...], purpose: str, fix: str) -> dict[str, Any]:
    version = None
    if importlib.util.find_spec(name):
        version = "present"
        for distribution in distributions:
            try:
                version = importlib.metadata.version(distribution)
                break
            except importlib.metadata.PackageNotFoundError:
                continue
    return {"package": distributions[0], "version": version, "for": purpose, "fix": fix}


def _kernels() -> dict[str, Any]:
    from edgeq import runtime

    return {
        "chosen": runtime.isa_name(),
        "why": runtime.isa_reason(),
        "available": runtime.isa_list(),
        "features": runtime.cpu_features(),
        "forced": os.environ.get("EDGEQ_ISA"),
    }


def _mirror(mirror: str | None) -> str:
    if not mirror:
        return "none (EDGEQ_ZOO_MIRROR is not set)"
    return mirror if Path(mirror).is_dir() else f"{mirror}: DOES NOT EXIST"


def _bytes(folder: Path) -> int:
    return (
        sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        if folder.is_dir()
        else 0
    )
