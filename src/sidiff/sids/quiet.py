"""Hugging Face libraries without their progress bars and warnings."""

from __future__ import annotations

import logging
import os
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

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
        from huggingface_hub.utils import (  # noqa: PLC0415
            are_progress_bars_disabled,
            disable_progress_bars,
            enable_progress_bars,
        )
        from transformers.utils import logging as transformers_logging  # noqa: PLC0415

        loggers = [
            logging.getLogger(name)
            for name in ("sentence_transformers", "huggingface_hub", "httpx")
        ]
        levels = [each.level for each in loggers]
        verbosity = transformers_logging.get_verbosity()
        bars = transformers_logging.is_progress_bar_enabled()
        hub_bars = not are_progress_bars_disabled()
        for each in loggers:
            each.setLevel(logging.ERROR)
        transformers_logging.set_verbosity_error()
        transformers_logging.disable_progress_bar()
        disable_progress_bars()
        try:
            yield
        finally:
            for each, level in zip(loggers, levels, strict=True):
                each.setLevel(level)
            transformers_logging.set_verbosity(verbosity)
            if bars:
                transformers_logging.enable_progress_bar()
            if hub_bars:
                enable_progress_bars()
