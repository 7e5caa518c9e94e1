from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sidiff.errors import SidiffError
from sidiff.reviews import download
from sidiff.reviews.download import fetch

CONTENT = random.Random(7).randbytes(300_000)
LOCAL_FILES = "--params=raw_reviews=PATH,raw_metadata=PATH"


@dataclass
class Shelf:
    """What the server has, how it behaves, and what it was asked for."""

    content: bytes = CONTENT
    etag: str | None = '"one"'
    date: str | None = None
    ranges: bool = True
    length: bool = True
    cut_after: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    location: str | None = None
    asked: list[str | None] = field(default_factory=list)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    shelf: Shelf

    def log_message(self, *_: object) -> None:
        """Keep the console quiet."""

    def do_GET(self) -> None:
        shelf = self.shelf
        asked = self.headers["Range"]
        shelf.asked.append(asked)
        if shelf.location:
            self.send_response(302)
            self.send_header("Location", shelf.location)
            self.end_headers()
            return
        if shelf.answers and (answer := shelf.answers.pop(0)) != 200:
            self.send_error(answer)
            return
        strong = None if (shelf.etag or "").startswith("W/") else shelf.etag
        vouched = self.headers["If-Range"] in (None, strong, shelf.date)
        if asked and shelf.ranges and vouched:
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            if start >= len(shelf.content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(shelf.content)}")
                self.end_headers()
                return
            self.send_response(206)
            last, size = len(shelf.content) - 1, len(shelf.content)
            self.send_header("Content-Range", f"bytes {start}-{last}/{size}")
        else:
            start = 0
            self.send_response(200)
        self._send(shelf.content[start:])

    def _send(self, body: bytes) -> None:
        shelf = self.shelf
        if shelf.length:
            self.send_header("Content-Length", str(len(body)))
        if shelf.etag:
            self.send_header("ETag", shelf.etag)
        if shelf.date:
            self.send_header("Last-Modified", shelf.date)
        self.end_headers()
        self.wfile.write(body[: shelf.cut_after.pop(0)] if shelf.cut_after else body)


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[Shelf]:
    monkeypatch.setattr(download, "_WAITS_SECONDS", (0.0, 0.0, 0.0))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    shelf = Shelf()
    handler = type("ShelfHandler", (Handler,), {"shelf": shelf})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        shelf.url = f"http://127.0.0.1:{server.server_port}/reviews.json.gz"
        yield shelf
        server.shutdown()
        thread.join()


def only_file(folder: Path) -> bytes:
    """Content of the one file left in the folder."""
    (path,) = folder.iterdir()
    return path.read_bytes()


def test_a_whole_file_in_one_go(shelf: Shelf, tmp_path: Path) -> None:
    destination = tmp_path / "raw" / "reviews.json.gz"
    assert fetch(shelf.url, destination) == destination
    assert only_file(destination.parent) == CONTENT
    assert shelf.asked == [None]


def test_an_existing_file_is_not_asked_for(shelf: Shelf, tmp_path: Path) -> None:
    destination = tmp_path / "reviews"
    destination.write_bytes(b"mine")
    fetch(shelf.url, destination)
    assert destination.read_bytes() == b"mine"
    assert shelf.asked == []


def test_a_cut_transfer_resumes_where_it_stopped(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cut_after = [100_000, 50_000]
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT
    assert shelf.asked == [None, "bytes=100000-", "bytes=150000-"]


def test_a_later_call_resumes(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cut_after, shelf.answers = [120_000], [200, 503, 503, 503]
    with pytest.raises(SidiffError):
        fetch(shelf.url, tmp_path / "reviews")
    assert not (tmp_path / "reviews").exists()
    assert (tmp_path / "reviews.part").stat().st_size == 120_000
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT
    assert shelf.asked[-1] == "bytes=120000-"


def test_a_date_vouches_where_there_is_no_etag(shelf: Shelf, tmp_path: Path) -> None:
    shelf.etag, shelf.date = None, "Wed, 21 Oct 2015 07:28:00 GMT"
    shelf.cut_after = [100_000]
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT
    assert shelf.asked == [None, "bytes=100000-"]


def test_a_weak_etag_does_not_vouch(shelf: Shelf, tmp_path: Path) -> None:
    shelf.etag, shelf.cut_after = 'W/"one"', [100_000]
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT


def test_a_file_changed_meanwhile_starts_again(shelf: Shelf, tmp_path: Path) -> None:
    shelf.cut_after, shelf.answers = [120_000], [200, 503, 503, 503]
    with pytest.raises(SidiffError):
        fetch(shelf.url, tmp_path / "reviews")
    shelf.content, shelf.etag = CONTENT[::-1], '"two"'
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT[::-1]


@pytest.mark.parametrize("etag", ['"one"', None])
def test_a_server_without_ranges_starts_again(
    shelf: Shelf, tmp_path: Path, etag: str | None
) -> None:
    shelf.ranges, shelf.etag, shelf.cut_after = False, etag, [100_000, 50_000]
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT
    assert len(shelf.asked) == 3


def test_a_part_of_unknown_origin_starts_again(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "reviews.part").write_bytes(b"of something else")
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT


def test_a_part_longer_than_the_file_starts_again(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "reviews.part").write_bytes(CONTENT + b"more")
    (tmp_path / "reviews.part.version").write_text('"one"')
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT


def test_a_size_that_never_fits(shelf: Shelf, tmp_path: Path) -> None:
    shelf.ranges, shelf.cut_after = False, [1000] * 20
    with pytest.raises(SidiffError, match=r"1,000 of 300,000 bytes arrived") as caught:
        fetch(shelf.url, tmp_path / "reviews")
    assert LOCAL_FILES in str(caught.value)
    assert not (tmp_path / "reviews").exists()
    assert len(shelf.asked) == 4


def test_no_announced_size(shelf: Shelf, tmp_path: Path) -> None:
    shelf.length = False
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT


def test_a_busy_server_is_asked_again(shelf: Shelf, tmp_path: Path) -> None:
    shelf.answers = [503, 429]
    fetch(shelf.url, tmp_path / "reviews")
    assert only_file(tmp_path) == CONTENT


@pytest.mark.parametrize("answer", [404, 403])
def test_a_refusal_is_final(shelf: Shelf, tmp_path: Path, answer: int) -> None:
    shelf.answers = [answer]
    with pytest.raises(SidiffError, match=rf"answers {answer} .*{LOCAL_FILES}"):
        fetch(shelf.url, tmp_path / "reviews")
    assert len(shelf.asked) == 1


def test_nobody_listens(shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(SidiffError, match=f"check the connection, or .*{LOCAL_FILES}"):
        fetch("http://127.0.0.1:1/reviews", tmp_path / "reviews")


@pytest.mark.parametrize(
    "url",
    [
        "file:///etc/hostname",
        "ftp://host/file",
        "reviews.json.gz",
        "http:///file",
        "http://host:port/file",
        "http://[::1/file",
        "http://host/a b",
    ],
)
def test_only_http_addresses(shelf: Shelf, tmp_path: Path, url: str) -> None:
    with pytest.raises(SidiffError, match="correct the url"):
        fetch(url, tmp_path / "reviews")


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://127.0.0.1/file"])
def test_no_redirect_leaves_http(shelf: Shelf, tmp_path: Path, target: str) -> None:
    shelf.location = target
    with pytest.raises(SidiffError):
        fetch(shelf.url, tmp_path / "reviews")
    assert not (tmp_path / "reviews").exists()


def test_a_full_disk(shelf: Shelf, tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("no device that is always full")
    (tmp_path / "reviews.part").symlink_to(full)
    with pytest.raises(SidiffError, match=r"No space left on device.*free some space"):
        fetch(shelf.url, tmp_path / "reviews")
    assert len(shelf.asked) == 1


def test_a_place_that_cannot_be_written(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "raw").write_text("a file, no folder")
    with pytest.raises(SidiffError, match="cannot be written"):
        fetch(shelf.url, tmp_path / "raw" / "reviews")
