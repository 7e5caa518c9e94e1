"""Arrays and their description in one safetensors file, never pickle."""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple

import numpy as np
from kedro.io.core import Version
from safetensors import numpy as numpy_backend

from sidiff.datasets.stamps import checked_copy, read_errors
from sidiff.datasets.versions import StoredFile
from sidiff.storage import address_of, whole_object

_METADATA = "__description__"
"""Name of the array with the metadata as JSON: a header holds 100 MB at most."""


class Model(NamedTuple):
    """The stored form of a fitted stage."""

    tensors: dict[str, Any]
    """Arrays by name: numpy arrays or torch tensors, as the data set says."""
    metadata: dict[str, Any]
    """Everything else, as JSON knows it."""


class SafetensorsDataset(StoredFile[Model, Model]):
    """A versioned safetensors file of arrays, and of metadata in one more array."""

    def __init__(
        self,
        filepath: str,
        framework: Literal["numpy", "torch"] = "numpy",
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        fs_args: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
    ) -> None:
        """Name the file.

        Args:
            filepath: path or fsspec address.
            framework: whose arrays loading gives and saving takes.
            version: set by Kedro.
            credentials: for the file system.
            fs_args: more arguments of the file system.
            metadata: for plugins, ignored here.
        """
        self._framework = framework
        super().__init__(filepath, version, credentials, fs_args, metadata)

    def load(self) -> Model:
        """Read the file.

        Raises:
            SidiffError: it cannot be read or is not the one that was stored, or the
                store cannot be read.
        """
        path = self._place(self._get_load_path())
        return read_model(self._fs, path, self._framework)

    def save(self, data: Model) -> None:
        """Write the file, and a stamp beside it.

        Raises:
            SidiffError: the disk is full or the store refuses; there is no new
                version then.
        """
        path = self._place(self._get_save_path())
        text = json.dumps(data.metadata, allow_nan=False).encode()
        tensors = {name: _contiguous(tensor) for name, tensor in data.tensors.items()}
        backend, description = numpy_backend, np.frombuffer(text, np.uint8)
        if self._framework == "torch":
            backend, description = _torch_backend(), _to_torch(description)
        content: bytes = backend.save(tensors | {_METADATA: description})
        with whole_object(self._fs, path) as part:
            part.write_bytes(content)
            self.write_stamp(path, part)

    def _describe(self) -> dict[str, Any]:
        return super()._describe() | {"framework": self._framework}


def read_model(files: Any, path: str, framework: Literal["numpy", "torch"]) -> Model:
    """Read what was stored at ``path`` of the fsspec file system ``files``.

    Raises:
        SidiffError: the file cannot be read or is not the one that was stored, or the
            store cannot be read.
    """
    backend = _torch_backend() if framework == "torch" else numpy_backend
    with read_errors(address_of(files, path)), checked_copy(files, path) as file:
        tensors = backend.load(file.read_bytes())
        if _METADATA not in tensors:
            raise ValueError("it has no metadata, as if of another release")
        text = bytes(np.asarray(tensors.pop(_METADATA)))
    return Model(tensors, json.loads(text))


def _torch_backend() -> Any:
    # Lazily: torch takes a second to import, and numpy users need none of it.
    from safetensors import torch as torch_backend  # noqa: PLC0415

    return torch_backend


def _to_torch(array: Any) -> Any:
    import torch  # noqa: PLC0415 (slow to import)

    return torch.from_numpy(array.copy())


def _contiguous(tensor: Any) -> Any:
    # Both libraries write the buffer as it lies, so a view must be laid out first.
    if hasattr(tensor, "contiguous"):
        return tensor.contiguous()
    return np.ascontiguousarray(tensor)
