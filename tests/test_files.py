"""A file is whole or absent, and a full disk is one sentence."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sidiff.errors import SidiffError
from sidiff.files import atomic_file


@contextmanager
def small_disk() -> Iterator[None]:
    """No file may grow beyond 4 KiB, as on a disk that is full.

    Not a fixture: pytest itself may write to a file between two tests.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_the_old_content_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"
    with atomic_file(path) as part:
        part.write_bytes(b"old")
    with atomic_file(path) as part:
        part.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_an_error_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail() -> None:
        with atomic_file(path) as part:
            part.write_bytes(b"half")
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with (
        small_disk(),
        pytest.raises(SidiffError, match=r"file cannot be written \(File too large\)"),
        atomic_file(path) as part,
    ):
        part.write_bytes(b"x" * 10_000)
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_no_space_left(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    (tmp_path / "file.part").symlink_to("/dev/full")
    with (
        pytest.raises(SidiffError, match=r"\(No space left on device\); free some"),
        atomic_file(path) as part,
    ):
        part.write_bytes(b"new")
    assert path.read_bytes() == b"old"
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_file_in_the_place_of_a_folder_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "folder").write_bytes(b"")
    with (
        pytest.raises(SidiffError, match="cannot be written"),
        atomic_file(tmp_path / "folder" / "file") as part,
    ):
        part.write_bytes(b"x")
