from __future__ import annotations

import functools
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from kedro.io import DatasetError

from sidiff.datasets import RawFile
from sidiff.errors import SidiffError

LINES = ['{"a": 1}', '{"title": "crème"}']


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """A local HTTP server over ``tmp_path/remote``."""
    root = tmp_path / "remote"
    root.mkdir()
    handler = functools.partial(
        http.server.SimpleHTTPRequestHandler, directory=str(root)
    )
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def cause(error: pytest.ExceptionInfo[DatasetError]) -> str:
    assert isinstance(error.value.__cause__, SidiffError)
    return str(error.value.__cause__)


def test_lines_come_back_from_the_path(tmp_path: Path) -> None:
    file = RawFile(str(tmp_path / "deep" / "reviews.json.gz"))
    assert not file.exists()
    file.save(LINES)
    assert file.exists()
    assert gzip.decompress(file.load().read_bytes()).decode() == (
        '{"a": 1}\n{"title": "crème"}\n'
    )


def test_same_lines_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = (RawFile(str(tmp_path / name)) for name in ("a.gz", "b.gz"))
    first.save(LINES)
    second.save(LINES)
    assert first.load().read_bytes() == second.load().read_bytes()


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    file = RawFile(str(tmp_path / "reviews.json.gz"))
    file.save(LINES)
    before = file.load().read_bytes()
    with pytest.raises(DatasetError):
        file.save(["fine", None])  # type: ignore[list-item]
    assert file.load().read_bytes() == before


def test_absent_without_an_address_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        RawFile(str(tmp_path / "reviews.json.gz")).load()
    assert "--params=raw_reviews=PATH,raw_metadata=PATH" in cause(error)


def test_a_folder_is_not_a_file(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        RawFile(str(tmp_path)).load()
    assert "is a folder" in cause(error)


def test_absent_with_an_address_is_fetched_once(tmp_path: Path, address: str) -> None:
    remote = tmp_path / "remote" / "reviews.json.gz"
    remote.write_bytes(gzip.compress(b"{}\n"))
    file = RawFile(str(tmp_path / "local" / "r.json.gz"), f"{address}/reviews.json.gz")
    assert file.load().read_bytes() == remote.read_bytes()
    remote.unlink()
    assert file.load().is_file()


def test_an_address_without_the_file_is_one_sentence(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(DatasetError) as error:
        RawFile(str(tmp_path / "r.json.gz"), f"{address}/nothing.gz").load()
    assert "404" in cause(error)
    assert not (tmp_path / "r.json.gz").exists()
