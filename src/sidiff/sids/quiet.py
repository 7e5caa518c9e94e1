"""Hugging Face libraries without their progress bars and warnings."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def quiet_hugging_face() -> Iterator[None]:
    """Let transformers and its relatives report errors only, inside the block.

    Their imports are slow, so this belongs around code that needs them anyway.
    """
    # Read when the tokenizers fork, which they warn about at length otherwise.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import huggingface_hub.utils  # noqa: PLC0415
        import transformers.utils.logging  # noqa: PLC0415

        hub: Any = huggingface_hub.utils
        console: Any = transformers.utils.logging

        loggers = [
            logging.getLogger(name)
            for name in ("sentence_transformers", "huggingface_hub", "httpx")
        ]
        levels = [each.level for each in loggers]
        verbosity = console.get_verbosity()
        bars = console.is_progress_bar_enabled()
        hub_bars = not hub.are_progress_bars_disabled()
        for each in loggers:
            each.setLevel(logging.ERROR)
        console.set_verbosity_error()
        console.disable_progress_bar()
        hub.disable_progress_bars()
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
            console.set_verbosity(verbosity)
            if bars:
                console.enable_progress_bar()
            if hub_bars:
                hub.enable_progress_bars()
