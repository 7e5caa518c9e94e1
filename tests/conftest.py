"""What tests of several packages share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import settings

from tests.s3 import Store, running_store

# A busy machine is not a failure. The networks here are small: several threads would
# mostly wait for each other, on a busy machine for minutes.
torch.set_num_threads(1)
settings.register_profile("sidiff", deadline=None)
settings.load_profile("sidiff")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int | None:
    """No workers for chosen tests, which would start sooner than these; else as many as
    there are cores.
    """
    return None if config.args == config.getini("testpaths") else 0


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder SIDIFF_REAL_DATA of real review files; skipped where there is none."""
    folder = os.environ.get("SIDIFF_REAL_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("no real review files (set SIDIFF_REAL_DATA to their folder)")
    return Path(folder)


@pytest.fixture(scope="session")
def store() -> Iterator[Store]:
    """An S3 server of this machine with a bucket."""
    with running_store() as store:
        yield store
