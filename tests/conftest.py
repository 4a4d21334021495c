"""Shared fixtures."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("edgeq", deadline=None)  # a busy machine is no failure
settings.load_profile("edgeq")

SHARED = Path(os.environ.get("EDGEQ_SHARED", Path(__file__).resolve().parents[2] / "shared"))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real models and labelled pictures; skips loudly where it is absent."""
    if not (SHARED / "models").is_dir():
        warnings.warn(f"{SHARED} is absent: tests on real models are SKIPPED", stacklevel=1)
        pytest.skip(f"no real models: {SHARED} is absent (set EDGEQ_SHARED)")
    return SHARED
