"""The encoding of a text file, from all of its bytes.

A byte order mark says it; else two-byte encodings are known by their zero bytes; else
valid UTF-8 is UTF-8; else the file is Windows-1252 (of which printable Latin-1 is a
part) if its letters outside ASCII stand as in western texts. In any other encoding (a
DOS or Mac code page, say), the lines that are not UTF-8 are set aside one by one.
"""

from __future__ import annotations

import codecs
import gzip
import io
import logging
import re
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from operator import le
from pathlib import Path
from typing import BinaryIO, cast

from sidiff.errors import SidiffError
from sidiff.reviews.streams import remembered

logger = logging.getLogger(__name__)

BLOCK_BYTES = 2**22
_GZIP_MAGIC = b"\x1f\x8b"
_MARKS = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}
_LOOKED_AT = 4096
# Of the letters of a two-byte text, so many lie in ASCII's half, whose other byte is 0.
_SHARE_OF_ZEROS = 0.3
_HIGH = re.compile(rb"[\x80-\xff]")
_SEQUENCE = re.compile(
    rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}"
)
_RUN = re.compile(rb"[\x80-\xff]{3,}")
# A letter between ASCII letters or at one of their ends makes a western word. Those
# that are words of some western language, or sizes ("Ø 28"), are left out.
_LONE_LETTER = re.compile(
    rb"(?<![A-Za-z\xc0-\xff])[\x8a\x8c\x8e\x9a\x9c\x9e\x9f\xc1-\xc4\xc7\xca-\xd5"
    rb"\xd9-\xdf\xe2-\xe4\xe7\xea-\xf1\xf4\xf5\xf9-\xff]"
    rb"(?![A-Za-z\xc0-\xff])"
)
_NOT_IN_1252 = re.compile(rb"[\x81\x8d\x8f\x90\x9d]")
# Signs inside words, capitals behind small letters, low quotes at the end of a word:
# letters of another code page (DOS, Mac, central Europe). Apostrophes, dots, hyphens
# and dashes do stand inside words.
_MISPLACED = re.compile(
    rb"(?<=[A-Za-z])[\x80\x83\x86-\x89\x8b\x93-\x95\x98\x9b\xa1\xa2\xa4-\xa8\xab\xac\xaf\xb1-\xb3"
    rb"\xb5\xb6\xb8\xb9\xbb\xbe\xbf\xf7]+(?=[a-z])"
    rb"|(?<=[a-z])[\x82\x84\x8a\x8c\x8e\x9f\xc0-\xd6\xd8-\xde]"
)
# No western text has more of its bytes outside ASCII in these than such a share. "Thé"
# and "“Où?”" have short runs of such bytes; Cyrillic or Chinese words long ones.
_FOREIGN = (
    (_NOT_IN_1252, 0.01),
    (_SEQUENCE, 0.1),
    (_RUN, 0.2),
    (_LONE_LETTER, 0.5),
    (_MISPLACED, 0.1),
)


@dataclass(frozen=True)
class TextForm:
    """The form of a file's text.

    Attributes:
        encoding: ``utf-8``, ``utf-16`` (also with ``-le``, ``-be``) or
            ``windows-1252``.
        plain: UTF-8 in every byte, and no line of more than ``BLOCK_BYTES``.
    """

    encoding: str
    plain: bool


UTF8 = TextForm("utf-8", plain=True)


@contextmanager
def opened(path: Path) -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """The bytes of a file, unpacked if it is gz, and those on the disk.

    Raises:
        SidiffError: the file is missing, damaged, or cannot be read.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            stream: BinaryIO = raw
            if packed:
                unpacked = cast("io.RawIOBase", gzip.GzipFile(fileobj=raw))
                stream = io.BufferedReader(unpacked)
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
    """The first ``letters`` of a file, or all; U+FFFD for what its encoding lacks.

    Raises:
        SidiffError: as ``opened``.
    """
    encoding = "utf-8-sig" if form.encoding == "utf-8" else form.encoding
    with opened(path) as (stream, _):
        text = io.TextIOWrapper(stream, encoding, "replace", newline="")
        found = text.read(letters)
        text.detach()
    return found


@remembered
def find_form(path: Path) -> TextForm:
    """Tell the encoding of a text, gz or plain, from the whole file.

    Raises:
        SidiffError: as ``opened``.
    """
    with opened(path) as (stream, _):
        start = stream.read(BLOCK_BYTES)
    encoding = _wide(start)
    if encoding is None:
        valid, plain = _is_utf8(path)
        if valid or start.startswith(codecs.BOM_UTF8) or not _is_western(path):
            return TextForm("utf-8", plain)
        encoding = "windows-1252"
    logger.warning("%s is read as %s", path.name, encoding)
    return TextForm(encoding, plain=False)


def _wide(start: bytes) -> str | None:
    """The encoding of two bytes a letter, if the text begins as in one."""
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    start = start[:_LOOKED_AT]
    even, odd = (start[half::2].count(0) for half in (0, 1))
    if max(even, odd) <= max(_SHARE_OF_ZEROS * len(start) / 2, 4 * min(even, odd)):
        return None
    return "utf-16-le" if odd > even else "utf-16-be"


def _is_utf8(path: Path) -> tuple[bool, bool]:
    """Whether all of a file is UTF-8, and whether its lines are short, too."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    short = True
    with opened(path) as (stream, _):
        try:
            while block := stream.read(BLOCK_BYTES):
                short = short and (len(block) < BLOCK_BYTES or b"\n" in block)
                decoder.decode(block)
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            return False, False
    return True, short


def _is_western(path: Path) -> bool:
    """Test that the bytes outside ASCII are Windows-1252's in western words."""
    high, foreign = 0, [0] * len(_FOREIGN)
    with opened(path) as (stream, _):
        while block := stream.read(BLOCK_BYTES):
            high += len(_HIGH.findall(block))
            for place, (pattern, _) in enumerate(_FOREIGN):
                foreign[place] += sum(map(len, pattern.findall(block)))
    most = (share * high for _, share in _FOREIGN)
    return all(map(le, foreign, most))
