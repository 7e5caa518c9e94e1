from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest
import torch
from kedro.io import DatasetError
from kedro.io.core import Version
from safetensors.numpy import save_file

from sidiff.datasets import Model, SafetensorsDataset
from sidiff.errors import SidiffError

METADATA = {"kind": "opq", "digits": 4, "nested": {"rate": 0.1}, "none": None}


def model() -> Model:
    rotation = np.arange(12, dtype=np.float32).reshape(3, 4)
    return Model({"rotation": rotation, "counts": np.array([1, 2])}, METADATA)


def dataset(path: Path | str, version: Version | None = None) -> SafetensorsDataset:
    return SafetensorsDataset(filepath=str(path), version=version)


@pytest.mark.parametrize("where", ["file", "memory"])
def test_round_trip(tmp_path: Path, where: str) -> None:
    path = tmp_path if where == "file" else f"memory://{uuid4()}"
    stored = dataset(f"{path}/quantizer.safetensors")
    assert not stored.exists()
    stored.save(model())
    assert stored.exists()
    tensors, metadata = stored.load()
    assert metadata == METADATA
    assert tensors.keys() == model().tensors.keys()
    for name, tensor in model().tensors.items():
        assert tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(tensors[name], tensor)


def test_views_are_stored_by_value(tmp_path: Path) -> None:
    matrix = np.arange(6.0).reshape(2, 3)
    stored = dataset(tmp_path / "a.safetensors")
    stored.save(Model({"transposed": matrix.T}, {}))
    np.testing.assert_array_equal(stored.load().tensors["transposed"], matrix.T)


def test_torch_tensors(tmp_path: Path) -> None:
    stored = SafetensorsDataset(str(tmp_path / "a.safetensors"), framework="torch")
    weights = {"half": torch.ones(2, 3, dtype=torch.bfloat16).T, "w": torch.rand(3)}
    stored.save(Model(weights, {}))
    loaded = stored.load().tensors
    assert loaded["half"].dtype == torch.bfloat16
    assert all(torch.equal(loaded[name], weights[name]) for name in weights)


def test_a_stage_without_arrays_can_be_stored(tmp_path: Path) -> None:
    stored = dataset(tmp_path / "a.safetensors")
    stored.save(Model({}, {}))
    assert stored.load() == Model({}, {})


def test_versions_are_kept_apart(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    for version, value in (("2026-01-01", 1.0), ("2026-01-02", 2.0)):
        dataset(path, Version(None, version)).save(
            Model({"x": np.array([value])}, {"value": value})
        )
    assert dataset(path, Version(None, None)).load().metadata == {"value": 2.0}
    pinned = dataset(path, Version("2026-01-01", None)).load()
    assert pinned.metadata == {"value": 1.0}
    assert pinned.tensors["x"] == [1.0]
    with pytest.raises(DatasetError, match="must not exist"):
        dataset(path, Version(None, "2026-01-02")).save(model())


def test_one_changed_bit_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    dataset(path).save(model())
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DatasetError) as error:
        dataset(path).load()
    assert isinstance(error.value.__cause__, SidiffError)
    assert "damaged" in str(error.value.__cause__)


def test_arrays_of_another_program_are_no_model(tmp_path: Path) -> None:
    save_file({"x": np.zeros(2)}, tmp_path / "a.safetensors")
    with pytest.raises(DatasetError) as error:
        dataset(tmp_path / "a.safetensors").load()
    assert "no metadata, as if of another release" in str(error.value.__cause__)


def test_what_is_no_json_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        dataset(tmp_path / "a.safetensors").save(Model({}, {"score": float("nan")}))
    assert not list(tmp_path.iterdir())
