"""The letters of a text file: told from all of its bytes, never guessed from a few.

The rule: a byte order mark says it; else two-byte letters are known by their zero
bytes; else valid UTF-8 is UTF-8; else the file is Windows-1252 (of which printable
Latin-1 is a part) when its letters outside ASCII stand singly or in pairs, and its
signs not inside words, as in western texts. In whatever else (a DOS or Mac code page,
say), the lines that are no UTF-8 are set aside one by one.
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
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Python loads the rules of an encoding when it is first asked for: here, and not while
# somebody's file is open.
for _name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32", "windows-1252"):
    codecs.lookup(_name)
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
    """The form of a file's text: how its bytes are letters and lines.

    Attributes:
        encoding: ``utf-8``, ``utf-16`` and ``utf-32`` (also with ``-le``, ``-be``) or
            ``windows-1252``.
        newline: what ends a line: a line feed or, in files that have none, a return.
        valid: every byte fits the encoding.
    """

    encoding: str
    newline: str
    valid: bool


UTF8 = TextForm("utf-8", "\n", valid=True)


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


def text_chunks(path: Path, form: TextForm, letters: int) -> Iterator[str]:
    """The text of a file in pieces; what does not fit the encoding is U+FFFD.

    Raises:
        SidiffError: as ``opened``.
    """
    with opened(path) as (stream, _):
        text = io.TextIOWrapper(stream, form.encoding, "replace", newline="")
        while chunk := text.read(letters):
            yield chunk
        text.detach()


@remembered
def find_form(path: Path) -> TextForm:
    """Tell encoding and line ends of a text, gz or plain, from the whole file.

    Raises:
        SidiffError: as ``opened``.
    """
    decoder = codecs.getincrementaldecoder("utf-8")()
    valid, feeds, returns = True, False, False
    high, foreign = 0, [0] * len(_FOREIGN)
    with opened(path) as (stream, _):
        block = stream.read(BLOCK_BYTES)
        wide, marked = _wide(block), block.startswith(codecs.BOM_UTF8)
        while block:
            feeds, returns = feeds or b"\n" in block, returns or b"\r" in block
            if not block.isascii() or decoder.getstate()[0]:
                valid = valid and _decodes(decoder, block)
                high += len(_HIGH.findall(block))
                for place, (pattern, _) in enumerate(_FOREIGN):
                    foreign[place] += sum(map(len, pattern.findall(block)))
            block = stream.read(BLOCK_BYTES)
    valid = valid and _decodes(decoder, b"", final=True)
    most = (share * high for _, share in _FOREIGN)
    western = all(map(le, foreign, most)) and not marked
    encoding = wide or ("utf-8" if valid or not western else "windows-1252")
    if encoding != "utf-8":
        logger.warning("%s is read as %s", path.name, encoding)
    newline = "\r" if returns and not feeds else "\n"
    return TextForm(encoding, newline, valid=valid or encoding != "utf-8")


def _decodes(
    decoder: codecs.IncrementalDecoder, block: bytes, *, final: bool = False
) -> bool:
    try:
        decoder.decode(block, final)
    except UnicodeDecodeError:
        return False
    return True


def _wide(start: bytes) -> str | None:
    """The encoding of two or four bytes a letter, if the text begins as in one."""
    for mark, name in _MARKS:
        if start.startswith(mark):
            return None if name == "utf-8" else name
    start = start[:_LOOKED_AT]
    zeros = [start[half::2].count(0) for half in (0, 1)]
    least = _SHARE_OF_ZEROS * len(start) / 2
    if max(zeros) > max(least, 4 * min(zeros)):
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    return None
