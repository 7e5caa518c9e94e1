"""What tests of several packages share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real review files; the test is skipped where there is none."""
    default = _ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("SIDIFF_REAL_DATA", default))
    if not folder.is_dir():
        pytest.skip(f"no real review files in {folder} (set SIDIFF_REAL_DATA)")
    return folder
