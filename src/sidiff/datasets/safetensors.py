"""Arrays and metadata in one safetensors file."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from kedro.io.core import Version

from sidiff.datasets.stored import StoredFile

_METADATA = "__description__"
"""Name of the array with the metadata as JSON: a header is limited to 100 MB."""


class Model(NamedTuple):
    """Arrays and metadata of a fitted model."""

    tensors: dict[str, Any]
    """Arrays by name: numpy arrays or torch tensors, see ``SafetensorsDataset``."""
    metadata: dict[str, Any]
    """Further values, as JSON."""


class SafetensorsDataset(StoredFile[Model, Model]):
    """A versioned safetensors file; the metadata are one more array."""

    def __init__(
        self,
        filepath: str,
        version: Version | None = None,
        credentials: dict[str, Any] | None = None,
        metadata: dict[str, Any] | None = None,
        framework: Literal["numpy", "torch"] = "numpy",
    ) -> None:
        """Name the file; ``framework`` is the library of the arrays."""
        self._framework = framework
        super().__init__(filepath, version, credentials, metadata)

    def _read(self, file: Path) -> Model:
        tensors = self._backend().load(file.read_bytes())
        if _METADATA not in tensors:
            raise ValueError("it has no metadata, as if of another release")
        text = bytes(np.asarray(tensors.pop(_METADATA)))
        return Model(tensors, json.loads(text))

    def _write(self, file: Path, data: Model) -> None:
        text = json.dumps(data.metadata, allow_nan=False).encode()
        description: Any = np.frombuffer(text, np.uint8)
        if self._framework == "torch":
            description = import_module("torch").from_numpy(description.copy())
        tensors = {name: _contiguous(tensor) for name, tensor in data.tensors.items()}
        file.write_bytes(self._backend().save(tensors | {_METADATA: description}))

    def _backend(self) -> Any:
        # Importing torch takes a second, which numpy arrays do not need.
        return import_module(f"safetensors.{self._framework}")

    def _describe(self) -> dict[str, Any]:
        return super()._describe() | {"framework": self._framework}


def _contiguous(tensor: Any) -> Any:
    # safetensors writes buffers as they are, so a view must be made contiguous.
    if hasattr(tensor, "contiguous"):
        return tensor.contiguous()
    return np.ascontiguousarray(tensor)
