"""Fingerprints by which stored things know what they were made of."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

_SHORT = 12


def short(fingerprint: object) -> str:
    """The beginning of a fingerprint, for messages; ``none`` where there is none."""
    return str(fingerprint)[:_SHORT] if fingerprint else "none"


def of_texts(texts: Iterable[str]) -> str:
    """SHA-256 (hex) of texts in their order."""
    digest = hashlib.sha256()
    add_texts(digest, texts)
    return digest.hexdigest()


def of_values(values: Any) -> str:
    """SHA-256 (hex) of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def add_texts(digest: Any, texts: Iterable[str]) -> None:
    """Add texts to a digest of ``hashlib``, so that no two lists of them are alike."""
    for text in texts:
        name = text.encode()
        digest.update(b"%d:%s," % (len(name), name))
