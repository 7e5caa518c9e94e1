"""Fetch a raw file: streamed, resumable, complete or absent.

The bytes go to ``<destination>.part`` and take their final name only when all of them
are on the disk. A later attempt resumes the part, but only if the server vouches that
the file is still the same (its ETag or date, kept in ``<destination>.part.version``).
"""

from __future__ import annotations

import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sidiff.errors import SidiffError
from sidiff.files import sync
from sidiff.storage import redacted

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30.0
# Waits before a further attempt; they start anew whenever one got further than all
# before it.
_WAITS_SECONDS = (1.0, 2.0, 4.0)
_OK, _PARTIAL, _RANGE_REFUSED = 200, 206, 416
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_LOCAL_FILES = "give local files with --params=raw_reviews=PATH,raw_metadata=PATH"


class _InterruptedError(Exception):
    """The transfer stopped for a reason that may pass; the message is the reason."""


class _Part:
    """The unfinished file and what is known of its origin."""

    def __init__(self, destination: Path) -> None:
        self.path = destination.with_name(destination.name + ".part")
        self.version_path = destination.with_name(destination.name + ".part.version")

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def version(self) -> str:
        """The server's name for the file's state, empty if there is none to trust."""
        if not self.size() or not self.version_path.exists():
            return ""
        return self.version_path.read_text(encoding="latin-1")

    def clear(self, version: str) -> None:
        """Start from nothing, with a file of this version."""
        self.path.write_bytes(b"")
        self.version_path.write_text(version, encoding="latin-1")


def fetch(url: str, destination: Path) -> Path:
    """Download a http or https address to ``destination`` unless that exists.

    Missing folders are made.

    Raises:
        SidiffError: the address is wrong or not reachable, the size is not the
            announced one, or the disk refuses; says how to give local files.
    """
    if destination.exists():
        return destination
    if not re.match(r"https?://[^/]", url, re.IGNORECASE):
        raise SidiffError(f"{url!r} is no http or https address: correct the url.")
    part = _Part(destination)
    try:
        destination.parent.mkdir(parents=True, exist_ok=True)
        _transfer(url, part)
        os.replace(part.path, destination)
        part.version_path.unlink(missing_ok=True)
        sync(destination.parent)
    except OSError as error:
        raise SidiffError(
            f"{destination} cannot be written ({error.strerror}): free some space or "
            "choose another place."
        ) from error
    logger.info(
        "Downloaded %s (%s bytes)", redacted(url), f"{destination.stat().st_size:,}"
    )
    return destination


def _transfer(url: str, part: _Part) -> None:
    """Attempt after attempt until the part is whole."""
    furthest = part.size()
    waits = iter(_WAITS_SECONDS)
    while True:
        try:
            _attempt(url, part)
            return
        except _InterruptedError as error:
            if part.size() > furthest:
                furthest, waits = part.size(), iter(_WAITS_SECONDS)
            wait = next(waits, None)
            if wait is None:
                raise SidiffError(
                    f"{url} could not be downloaded ({error}): check the connection, "
                    f"or {_LOCAL_FILES}."
                ) from error
            logger.info(
                "%s stopped (%s), trying again in %.0f s", redacted(url), error, wait
            )
            time.sleep(wait)


def _attempt(url: str, part: _Part) -> None:
    headers = {"Accept-Encoding": "identity", "User-Agent": "sidiff"}
    version = part.version()
    if version:
        headers |= {"Range": f"bytes={part.size()}-", "If-Range": version}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked
        response = _opener().open(request, timeout=_TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED and version:
            if error.headers.get("Content-Range") == f"bytes */{part.size()}":
                return  # An earlier attempt ended between last byte and rename.
            part.clear("")
        elif error.code not in _TRANSIENT:
            raise SidiffError(
                f"{url} answers {error.code} {error.reason}: correct the url, or "
                f"{_LOCAL_FILES}."
            ) from error
        raise _InterruptedError(f"{error.code} {error.reason}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise SidiffError(f"{url!r} is no valid address: correct the url.") from error
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(_reason(error)) from error
    with response:
        _receive(response, part)


def _receive(response: Any, part: _Part) -> None:
    """Append the body to the part and check that it is now whole."""
    total = _announced_size(response, part)
    with (
        part.path.open("ab") as file,
        tqdm(
            total=total,
            initial=file.tell(),
            desc=part.path.stem,
            unit="B",
            unit_scale=True,
        ) as bar,
    ):
        while chunk := _read(response):
            file.write(chunk)
            bar.update(len(chunk))
        file.flush()
        os.fsync(file.fileno())
    if total is not None and (size := part.size()) != total:
        if size > total:
            part.clear("")  # No resuming makes a part shorter.
        raise _InterruptedError(f"{size:,} of {total:,} bytes arrived")


def _announced_size(response: Any, part: _Part) -> int | None:
    """Make the part ready for the body; return the whole file's size if announced."""
    if response.status == _PARTIAL:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found and int(found[1]) == part.size():
            return int(found[2])
        part.clear("")
        raise _InterruptedError("the server sent another range than asked for")
    if response.status != _OK:
        raise _InterruptedError(f"{response.status} {response.reason}")
    # A validator that If-Range accepts; weak ETags do not vouch for bytes.
    etag = str(response.headers.get("ETag") or "")
    dated = str(response.headers.get("Last-Modified") or "")
    part.clear(etag if etag.startswith('"') else dated)
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else None


def _read(response: Any) -> bytes:
    # Told apart from the disk's own errors, which do not pass by trying again.
    try:
        return bytes(response.read(_CHUNK_BYTES))
    except (OSError, http.client.HTTPException) as error:
        raise _InterruptedError(_reason(error)) from error


def _opener() -> urllib.request.OpenerDirector:
    """Follow redirects to http and https only, through the environment's proxies."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _reason(error: Exception) -> str:
    """The reason of an error, in the words of the system and without its number."""
    reason = getattr(error, "reason", None) or error
    words = getattr(reason, "strerror", None) or str(reason)
    return str(words) or type(error).__name__
