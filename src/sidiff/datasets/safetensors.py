"""Arrays and their description in one safetensors file, never pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from kedro.io.core import Version
from safetensors import numpy as numpy_backend

from sidiff.datasets.stored import StoredFile

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
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        framework: Literal["numpy", "torch"] = "numpy",
    ) -> None:
        """Name the file; ``framework`` is whose arrays it gives and takes."""
        self._framework = framework
        super().__init__(filepath, version, credentials, metadata)

    def _read(self, file: Path) -> Model:
        backend = _torch_backend() if self._framework == "torch" else numpy_backend
        tensors = backend.load(file.read_bytes())
        if _METADATA not in tensors:
            raise ValueError("it has no metadata, as if of another release")
        text = bytes(np.asarray(tensors.pop(_METADATA)))
        return Model(tensors, json.loads(text))

    def _write(self, file: Path, data: Model) -> None:
        text = json.dumps(data.metadata, allow_nan=False).encode()
        tensors = {name: _contiguous(tensor) for name, tensor in data.tensors.items()}
        backend, description = numpy_backend, np.frombuffer(text, np.uint8)
        if self._framework == "torch":
            backend, description = _torch_backend(), _to_torch(description)
        file.write_bytes(backend.save(tensors | {_METADATA: description}))

    def _describe(self) -> dict[str, Any]:
        return super()._describe() | {"framework": self._framework}


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
