"""Arrays and their description: safetensors beside JSON, never pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePosixPath
from typing import Any, Literal, NamedTuple

import numpy as np
from kedro.io.core import Version
from safetensors import numpy as numpy_backend

from sidiff.datasets.checksums import read_errors
from sidiff.datasets.versions import StoredFile
from sidiff.errors import SidiffError
from sidiff.fingerprints import of_values
from sidiff.storage import address_of, read_bytes, whole_object


class Model(NamedTuple):
    """The stored form of a fitted stage."""

    tensors: dict[str, Any]
    """Arrays by name: numpy arrays or torch tensors, as the data set says."""
    metadata: dict[str, Any]
    """Everything else, as JSON knows it."""


class SafetensorsDataset(StoredFile[Model, Model]):
    """A versioned pair ``NAME.safetensors`` (arrays) and ``NAME.json`` (the rest).

    The JSON holds the SHA-256 of the arrays, which loading checks. It is written
    first: where there are arrays, which is what Kedro looks for, the pair is whole.
    """

    def __init__(
        self,
        filepath: str,
        framework: Literal["numpy", "torch"] = "numpy",
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the pair.

        Args:
            filepath: path or fsspec address of the ``.safetensors`` file.
            framework: whose arrays loading gives and saving takes.
            version: set by Kedro.
            credentials: for the file system.
            fs_args: more arguments of the file system.
            metadata: for plugins, ignored here.
        """
        self._framework = framework
        super().__init__(filepath, version, credentials, fs_args, metadata)

    def load(self) -> Model:
        """Read both files.

        Raises:
            SidiffError: a file is missing or cannot be read, its content is not what
                was saved, or the store cannot be read.
        """
        path = self._place(self._get_load_path())
        return read_model(self._fs, path, self._framework)

    def save(self, data: Model) -> None:
        """Write both files; a reader never sees a part of one.

        Raises:
            SidiffError: the disk is full or the store refuses; there is no new
                version then.
        """
        path = self._place(self._get_save_path())
        tensors, metadata = data
        weights: bytes = _backend(self._framework).save(
            {name: _contiguous(tensor) for name, tensor in tensors.items()}
        )
        description = {
            "sha256": hashlib.sha256(weights).hexdigest(),
            "bytes": len(weights),
            "tensors": {
                name: {"shape": list(tensor.shape), "type": str(tensor.dtype)}
                for name, tensor in tensors.items()
            },
            "metadata": metadata,
            "metadata_sha256": of_values(json.loads(json.dumps(metadata))),
        }
        text = json.dumps(description, indent=2, allow_nan=False) + "\n"
        self._write(_description(path), text.encode())
        self._write(path, weights)

    def _write(self, path: str, content: bytes) -> None:
        with whole_object(self._fs, path) as part:
            part.write_bytes(content)

    def _describe(self) -> dict[str, Any]:
        return super()._describe() | {"framework": self._framework}


def read_model(files: Any, path: str, framework: Literal["numpy", "torch"]) -> Model:
    """Read arrays at ``path`` of the fsspec file system ``files``, and what is beside.

    Raises:
        SidiffError: a file is missing or cannot be read, its content is not what was
            saved, or the store cannot be read.
    """
    try:
        weights = read_bytes(files, path)
        text = read_bytes(files, _description(path))
    except FileNotFoundError as error:
        raise SidiffError(
            f"{address_of(files, path)} and its description .json belong "
            "together and one of them is missing; run the stage that writes them "
            "again, or choose another version with --load-versions."
        ) from error
    with read_errors(address_of(files, _description(path))):
        description = json.loads(text)
        if not {"sha256", "metadata"} <= set(description):
            raise ValueError("no sha256 or no metadata in it")
        noted = description.get("metadata_sha256")
        if noted not in (None, of_values(description["metadata"])):
            raise ValueError("damaged: its metadata are not those that were stored")
    if hashlib.sha256(weights).hexdigest() != description["sha256"]:
        raise SidiffError(
            f"{address_of(files, path)} is damaged: its SHA-256 differs from "
            f"the one in {PurePosixPath(_description(path)).name}; run the stage "
            "that writes it again, or choose another version with --load-versions."
        )
    with read_errors(address_of(files, path)):
        tensors = _backend(framework).load(weights)
    return Model(tensors, description["metadata"])


def _description(path: str) -> str:
    return path.removesuffix(".safetensors") + ".json"


def _backend(framework: str) -> Any:
    if framework == "torch":
        # Lazily: torch takes a second to import, and numpy users need none of it.
        from safetensors import torch as torch_backend  # noqa: PLC0415

        return torch_backend
    return numpy_backend


def _contiguous(tensor: Any) -> Any:
    # Both libraries write the buffer as it lies, so a view must be laid out first.
    if hasattr(tensor, "contiguous"):
        return tensor.contiguous()
    return np.ascontiguousarray(tensor)
