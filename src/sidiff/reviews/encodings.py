"""The encoding of a text file: UTF-8 or UTF-16.

UTF-16 is recognised by its byte order mark or by its zero bytes. Lines in any other
encoding (such as Windows-1252) are not valid UTF-8 and are set aside one by one.
"""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from sidiff.errors import SidiffError
from sidiff.reviews.streams import remembered

logger = logging.getLogger(__name__)

BLOCK_BYTES = 2**22
_GZIP_MAGIC = b"\x1f\x8b"
_SAMPLED_BYTES = 4096
# Smallest share of the characters of a UTF-16 text that are ASCII: one byte is zero.
_SHARE_OF_ZEROS = 0.3


@dataclass(frozen=True)
class TextForm:
    """The form of a file's text.

    Attributes:
        encoding: ``utf-8``, ``utf-16``, ``utf-16-le`` or ``utf-16-be``.
        plain: valid UTF-8 without a line of more than ``BLOCK_BYTES``.
    """

    encoding: str
    plain: bool


UTF8 = TextForm("utf-8", plain=True)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Open a file: its bytes, decompressed if it is gzip, and the file on the disk.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    try:
        with path.open("rb") as raw:
            compressed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            stream: BinaryIO = raw
            if compressed:
                decompressed = cast("io.RawIOBase", gzip.GzipFile(fileobj=raw))
                stream = io.BufferedReader(decompressed)
            yield stream, raw
    except (EOFError, zlib.error, gzip.BadGzipFile):
        raise SidiffError(
            f"{path} is cut short or damaged: delete it and get it again."
        ) from None
    except FileNotFoundError:
        raise SidiffError(f"{path} does not exist: correct the path.") from None
    except OSError as error:
        raise SidiffError(
            f"{path} cannot be read ({error.strerror}): give a readable file."
        ) from None


def read_text(path: Path, form: TextForm, letters: int = -1) -> str:
    """Return a file's text, or its first ``letters`` with U+FFFD for invalid bytes.

    Raises:
        SidiffError: as ``opened``, or the whole text is not valid in its encoding.
    """
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    errors = "strict" if letters < 0 else "replace"
    with opened(path) as (stream, _):
        text = io.TextIOWrapper(stream, encoding, errors, newline="")
        try:
            return text.read(letters)
        except UnicodeDecodeError as error:
            raise SidiffError(
                f"{path} is not {form.encoding} text: save it as UTF-8."
            ) from error
        finally:
            text.detach()


@remembered
def find_form(path: Path) -> TextForm:
    """Find the encoding of a text file, gzip or plain, from the whole file.

    Raises:
        SidiffError: as ``opened``.
    """
    with opened(path) as (stream, _):
        start = stream.read(_SAMPLED_BYTES)
    encoding = _utf16(start)
    if encoding is None:
        return TextForm("utf-8", _is_plain(path))
    logger.warning("%s is read as %s", path.name, encoding)
    return TextForm(encoding, plain=False)


def _utf16(start: bytes) -> str | None:
    """Return the variant of UTF-16 in which a file begins, or None."""
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    even, odd = (start[half::2].count(0) for half in (0, 1))
    if max(even, odd) <= max(_SHARE_OF_ZEROS * len(start) / 2, 4 * min(even, odd)):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _is_plain(path: Path) -> bool:
    """Test that a whole file is UTF-8 with a line end in every block."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    short = True
    with opened(path) as (stream, _):
        try:
            while block := stream.read(BLOCK_BYTES):
                short = short and (len(block) < BLOCK_BYTES or b"\n" in block)
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False
    return short
