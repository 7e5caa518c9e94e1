"""Snapshots come back as they were written, or not at all."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest

from sidiff.errors import SidiffError
from sidiff.snapshots import Snapshot, SnapshotFolder
from tests.test_files import small_disk


def snapshot(value: float = 0.1) -> Snapshot:
    arrays = {
        "matrix": np.full((3, 2), value, dtype=np.float32),
        "scalar": np.array(value, dtype=np.float32),
        "bytes": np.arange(5, dtype=np.uint8),
        "none": np.empty((0, 4), dtype=np.int64),
    }
    state = {"score": float("-inf"), "loss": value, "text": 'a "sha256":"0" b', "n": 3}
    return Snapshot(arrays, state)


def test_bit_for_bit(tmp_path: Path) -> None:
    folder = SnapshotFolder(tmp_path / "work")
    assert folder.read("one") is None
    folder.write("one", snapshot())
    found = folder.read("one")
    assert found is not None
    assert found.metadata == snapshot().metadata
    for name, array in snapshot().arrays.items():
        assert found.arrays[name].dtype == array.dtype
        assert found.arrays[name].shape == array.shape
        assert found.arrays[name].tobytes() == array.tobytes()
    assert folder.names() == ["one"]


def test_every_damaged_byte_is_noticed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = SnapshotFolder(tmp_path)
    folder.write("one", snapshot())
    content = (tmp_path / "one.snapshot").read_bytes()
    for place in [*range(0, len(content), 7), len(content) - 1]:
        flipped = bytes([content[place] ^ 1])
        damaged = content[:place] + flipped + content[place + 1 :]
        (tmp_path / "one.snapshot").write_bytes(damaged)
        assert folder.read("one") is None, place
        assert folder.names() == []
    assert "damaged" in caplog.text
    assert (tmp_path / "one.damaged").exists()


@pytest.mark.parametrize("size", [0, 1, 8, 9, 200])
def test_a_cut_file_is_noticed(tmp_path: Path, size: int) -> None:
    folder = SnapshotFolder(tmp_path)
    folder.write("one", snapshot())
    path = tmp_path / "one.snapshot"
    path.write_bytes(path.read_bytes()[:size])
    assert folder.read("one") is None


def test_clearing_takes_only_what_was_used(tmp_path: Path) -> None:
    SnapshotFolder(tmp_path).write("other", snapshot())
    folder = SnapshotFolder(tmp_path)
    folder.write("one", snapshot())
    folder.clear()
    assert folder.names() == ["other"]
    folder.read("other")
    folder.clear()
    assert not tmp_path.exists()


def test_a_full_disk_leaves_the_last_good_one(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = SnapshotFolder(tmp_path)
    folder.write("one", snapshot())
    big = Snapshot({"matrix": np.ones((100, 100), dtype=np.float32)}, {})
    with small_disk(), pytest.raises(SidiffError, match="cannot be written"):
        folder.write("one", big)
    caplog.set_level(logging.WARNING)
    found = folder.read("one")
    assert found is not None
    assert found.metadata == snapshot().metadata
    assert not caplog.records
