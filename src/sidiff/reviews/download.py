"""Download of a raw file: streamed, resumable, complete or absent.

The bytes go to ``<destination>.part``, which gets its final name when it is complete. A
later attempt resumes the part if the ETag or date of the file on the server is still
the one in ``<destination>.part.version``.
"""

from __future__ import annotations

import http.client
import logging
import re
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sidiff.errors import SidiffError
from sidiff.files import disk_errors, sync
from sidiff.storage import redacted

logger = logging.getLogger(__name__)

_CHUNK_BYTES = 2**20
_TIMEOUT_SECONDS = 30.0
_WAITS_SECONDS = (1.0, 2.0, 4.0)
"""Waits before each further attempt."""
_PARTIAL, _RANGE_REFUSED = 206, 416
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_LOCAL_FILES = "give local files with --params=raw_reviews=PATH,raw_metadata=PATH"


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
        raise SidiffError(f"{url!r} is not an http(s) address: correct the url.")
    part = destination.with_name(destination.name + ".part")
    version = destination.with_name(part.name + ".version")
    with disk_errors(destination):
        destination.parent.mkdir(parents=True, exist_ok=True)
    for wait in (*_WAITS_SECONDS, None):
        try:
            _attempt(url, part, version)
            break
        except (OSError, http.client.HTTPException) as error:
            reason = _reason(error)
            if wait is None:
                raise SidiffError(
                    f"{url} could not be downloaded ({reason}): check the connection, "
                    f"or {_LOCAL_FILES}."
                ) from error
            address = redacted(url)
            logger.info("%s stopped (%s), again in %.0f s", address, reason, wait)
            time.sleep(wait)
    with disk_errors(destination):
        sync(part)
        part.replace(destination)
        version.unlink(missing_ok=True)
        sync(destination.parent)
    size = destination.stat().st_size
    logger.info("Downloaded %s (%s bytes)", redacted(url), f"{size:,}")
    return destination


def _attempt(url: str, part: Path, version: Path) -> None:
    """Complete the part, resuming it if possible.

    Raises:
        OSError, HTTPException: the transfer failed and may succeed later.
        SidiffError: the transfer will always fail.
    """
    headers = {"Accept-Encoding": "identity", "User-Agent": "sidiff"}
    state = version.read_text(encoding="latin-1") if version.exists() else ""
    if state and part.exists() and part.stat().st_size:
        headers |= {"Range": f"bytes={part.stat().st_size}-", "If-Range": state}
    try:
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 - checked
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:  # noqa: S310
            _receive(response, part, version)
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _RANGE_REFUSED:
            # The part is not the beginning of the file.
            version.unlink(missing_ok=True)
        elif error.code not in _TRANSIENT:
            raise SidiffError(
                f"{url} answers {error.code} {error.reason}: correct the url, or "
                f"{_LOCAL_FILES}."
            ) from error
        raise
    except (http.client.InvalidURL, ValueError) as error:
        raise SidiffError(
            f"{url!r} is not a valid address: correct the url."
        ) from error


def _receive(response: Any, part: Path, version: Path) -> None:
    """Append the body to the part, or overwrite it, and check its size."""
    resumed = response.status == _PARTIAL
    found = response.headers
    with disk_errors(part):
        if not resumed:
            state = found.get("ETag") or found.get("Last-Modified") or ""
            version.write_text(state, encoding="latin-1")
        file = part.open("ab" if resumed else "wb")
    with file:
        announced = found.get("Content-Length")
        whole = file.tell() + int(announced) if announced else None
        with tqdm(
            total=whole, initial=file.tell(), desc=part.stem, unit="B", unit_scale=True
        ) as bar:
            while chunk := response.read(_CHUNK_BYTES):
                with disk_errors(part):
                    file.write(chunk)
                bar.update(len(chunk))
        with disk_errors(part):
            file.flush()
        if whole is not None and file.tell() != whole:
            raise ConnectionError(f"{file.tell():,} of {whole:,} bytes arrived")


def _reason(error: Exception) -> str:
    """Return the reason of an error as the system words it, without its number."""
    reason = getattr(error, "reason", None) or error
    return str(getattr(reason, "strerror", None) or reason or type(error).__name__)
