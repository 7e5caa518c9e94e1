from __future__ import annotations

import functools
import gzip
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
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


def raw_file(path: Path | str, url: str | None = None) -> RawFile:
    return RawFile(str(path), "copies", url)


def only(file: RawFile) -> Path:
    (path,) = file.load()
    return path


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


def cause(error: pytest.ExceptionInfo[DatasetError]) -> str:
    assert isinstance(error.value.__cause__, SidiffError)
    return str(error.value.__cause__)


def test_lines_come_back_from_the_path(tmp_path: Path) -> None:
    file = raw_file(tmp_path / "deep" / "reviews.json.gz")
    assert not file.exists()
    file.save(LINES)
    assert file.exists()
    assert gzip.decompress(only(file).read_bytes()).decode() == (
        '{"a": 1}\n{"title": "crème"}\n'
    )


def test_same_lines_make_the_same_bytes(tmp_path: Path) -> None:
    first, second = (raw_file(tmp_path / name) for name in ("a.gz", "b.gz"))
    first.save(LINES)
    second.save(LINES)
    assert only(first).read_bytes() == only(second).read_bytes()


def test_a_failed_save_leaves_the_old_file(tmp_path: Path) -> None:
    file = raw_file(tmp_path / "reviews.json.gz")
    file.save(LINES)
    before = only(file).read_bytes()
    with pytest.raises(DatasetError):
        file.save(["fine", None])  # type: ignore[list-item]
    assert only(file).read_bytes() == before


def test_absent_without_an_address_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as error:
        raw_file(tmp_path / "reviews.json.gz").load()
    assert "--params=raw_reviews=PATH,raw_metadata=PATH" in cause(error)


def test_a_folder_stands_for_the_data_files_below_it(tmp_path: Path) -> None:
    touch(tmp_path, "day=2/part-0.csv", "day=1/part-0.csv", "last.csv")
    touch(tmp_path, "_SUCCESS", ".crc", "_temporary/part-1.csv")
    (tmp_path / "day=1" / "part-1.csv").touch()
    found = [str(path.relative_to(tmp_path)) for path in raw_file(tmp_path).load()]
    assert found == ["day=1/part-0.csv", "day=2/part-0.csv", "last.csv"]


def test_a_pattern_stands_for_what_it_matches(tmp_path: Path) -> None:
    touch(tmp_path, "b.csv", "a.csv", "a.txt", "deep/c.csv", "folder.csv/d.txt")
    assert raw_file(tmp_path / "*.csv").load() == [
        tmp_path / "a.csv",
        tmp_path / "b.csv",
    ]
    assert tmp_path / "deep" / "c.csv" in raw_file(tmp_path / "**" / "*.csv").load()
    touch(tmp_path, "odd[1].csv")
    assert only(raw_file(tmp_path / "odd[1].csv")).name == "odd[1].csv"


@pytest.mark.parametrize("name", ["empty", "*.parquet"])
def test_nothing_found_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError) as error:
        raw_file(tmp_path / name).load()
    assert "There are no files in" in cause(error)


@pytest.fixture
def bucket() -> Iterator[fsspec.AbstractFileSystem]:
    files = fsspec.filesystem("memory")
    files.pipe("/bucket/logs/b.csv", b"2")
    files.pipe("/bucket/logs/a.csv", b"1")
    files.pipe("/bucket/logs/_SUCCESS", b"1")
    files.pipe("/bucket/logs/c.csv", b"")
    yield files
    files.rm("/bucket", recursive=True)


def test_an_address_is_copied_here(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    for address in ("memory://bucket/logs", "memory://bucket/logs/*.csv"):
        paths = RawFile(address, str(tmp_path)).load()
        assert [path.name for path in paths] == ["a.csv", "b.csv"]
        assert [path.read_bytes() for path in paths] == [b"1", b"2"]
    first = only(RawFile("memory://bucket/logs/a.csv", str(tmp_path)))
    assert first == paths[0]


def test_an_address_is_copied_again_only_when_it_changed(
    bucket: fsspec.AbstractFileSystem, tmp_path: Path
) -> None:
    file = RawFile("memory://bucket/logs/a.csv", str(tmp_path))
    copied = only(file)
    copied.write_bytes(b"as it was")
    assert only(file).read_bytes() == b"as it was"
    bucket.pipe("/bucket/logs/a.csv", b"new")
    assert only(file).read_bytes() == b"new"


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("memory://bucket/absent.csv", "correct the address"),
        ("memory://bucket/absent/*.csv", "there are no files"),
        ("nosuch://bucket/logs", "install what its file system needs"),
    ],
)
def test_an_address_that_cannot_be_read(
    tmp_path: Path, address: str, sentence: str
) -> None:
    with pytest.raises(DatasetError) as error:
        RawFile(address, str(tmp_path)).load()
    assert sentence in cause(error)


def test_one_file_by_http(tmp_path: Path, address: str) -> None:
    touch(tmp_path / "remote", "log.csv")
    file = RawFile(f"{address}/log.csv", str(tmp_path / "copies"))
    assert only(file).read_text() == "log.csv"


def test_absent_with_an_address_is_fetched_once(tmp_path: Path, address: str) -> None:
    remote = tmp_path / "remote" / "reviews.json.gz"
    remote.write_bytes(gzip.compress(b"{}\n"))
    file = raw_file(tmp_path / "local" / "r.json.gz", f"{address}/reviews.json.gz")
    assert only(file).read_bytes() == remote.read_bytes()
    remote.unlink()
    assert only(file).is_file()


def test_an_address_without_the_file_is_one_sentence(
    tmp_path: Path, address: str
) -> None:
    with pytest.raises(DatasetError) as error:
        raw_file(tmp_path / "r.json.gz", f"{address}/nothing.gz").load()
    assert "404" in cause(error)
    assert not (tmp_path / "r.json.gz").exists()
