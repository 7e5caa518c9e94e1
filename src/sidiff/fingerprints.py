"""SHA-256 of files, texts and values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def short(fingerprint: object) -> str:
    """Shorten a fingerprint for messages; ``none`` if it is empty."""
    return str(fingerprint)[:12] if fingerprint else "none"


def of_file(path: Path) -> str:
    """Compute the SHA-256 (hex) of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def of_texts(texts: Iterable[str]) -> str:
    """Compute the SHA-256 (hex) of texts in order."""
    digest = hashlib.sha256()
    add_texts(digest, texts)
    return digest.hexdigest()


def of_values(values: Any) -> str:
    """Compute the SHA-256 (hex) of values as JSON."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def add_texts(digest: Any, texts: Iterable[str]) -> None:
    """Add texts and their lengths to a digest of ``hashlib``."""
    for text in texts:
        name = text.encode()
        digest.update(b"%d:%s," % (len(name), name))
