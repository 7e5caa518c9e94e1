from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from fsspec.implementations.local import LocalFileSystem

from sidiff.errors import SidiffError
from sidiff.folders import MANIFEST, whole_folder
from sidiff.serving import Bundle, Recommender
from sidiff.serving.bundle import find_bundle

ALONE = """
import sys
for name in ("kedro", "kedro_datasets", "kedro_mlflow", "mlflow"):
    sys.modules[name] = None
from sidiff.serving import Recommender
for item in Recommender.load(sys.argv[1]).recommend(sys.argv[2:], k=3):
    print(item.item_id)
"""


def test_a_bundle_reads_as_it_was_written(bundle: Bundle, folder: Path) -> None:
    again = Bundle.read(folder)
    for name in ("weights", "lattice", "chain"):
        ours, theirs = getattr(bundle, name), getattr(again, name)
        assert ours.keys() == theirs.keys()
        assert all(np.array_equal(ours[key], theirs[key]) for key in ours)
    assert again.items.equals(bundle.items)
    assert again.network == bundle.network
    assert again.ranking == bundle.ranking
    assert again.about["metrics"].keys() == {"best_score", "best_epoch", "epochs_run"}
    assert again.about["torch"]
    assert sorted(json.loads((folder / MANIFEST).read_text())["files"]) == [
        "chain.safetensors",
        "config.json",
        "items.parquet",
        "lattice.safetensors",
        "weights.safetensors",
    ]


def test_it_opens_without_kedro_and_mlflow(
    folder: Path, recommender: Recommender
) -> None:
    history = recommender.names.item_ids[:3].to_list()
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", ALONE, str(folder), *history],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder.parent,
    )
    wanted = [item.item_id for item in recommender.recommend(history, 3)]
    assert done.stdout.split() == wanted


@pytest.mark.parametrize(
    "file",
    [
        "chain.safetensors",
        "config.json",
        "items.parquet",
        "lattice.safetensors",
        "weights.safetensors",
        MANIFEST,
    ],
)
@pytest.mark.parametrize("how", ["flipped", "cut", "gone"])
def test_damage_is_told_in_one_sentence(
    folder: Path, tmp_path: Path, file: str, how: str
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    content = bytearray((copy / file).read_bytes())
    content[len(content) // 2] ^= 1
    if how == "gone":
        (copy / file).unlink()
    else:
        (copy / file).write_bytes(content if how == "flipped" else content[:-9])
    with pytest.raises(SidiffError, match=rf"{file}.*kedro run") as caught:
        Bundle.read(copy)
    assert str(caught.value).count(". ") == 0


def test_a_folder_of_something_else_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(SidiffError, match="contains no bundle"):
        find_bundle(tmp_path)
    with pytest.raises(SidiffError, match="has no manifest"):
        Bundle.read(tmp_path)
    other, newer = tmp_path / "other", tmp_path / "newer"
    with whole_folder(LocalFileSystem(), str(other), {"kind": "table"}):
        pass
    with pytest.raises(SidiffError, match="is no sidiff bundle but a table"):
        Bundle.read(other)
    with whole_folder(
        LocalFileSystem(), str(newer), {"kind": "sidiff bundle", "format": 99}
    ):
        pass
    with pytest.raises(SidiffError, match=r"format 99.*install that release"):
        Bundle.read(newer)


def test_a_version_is_written_once(bundle: Bundle, folder: Path) -> None:
    before = (folder / MANIFEST).read_bytes()
    with pytest.raises(SidiffError, match="exists; name another"):
        bundle.write(folder)
    assert (folder / MANIFEST).read_bytes() == before


def test_what_was_cut_off_is_no_bundle(bundle: Bundle, tmp_path: Path) -> None:
    broken = Bundle(**{**vars(bundle), "network": {"not JSON": object()}})
    with pytest.raises(TypeError):
        broken.write(tmp_path / "one")
    assert not list(tmp_path.iterdir())
    # A process that was killed cleans nothing up.
    (tmp_path / "one.part").mkdir()
    (tmp_path / "one.part" / "left").write_text("over")
    bundle.write(tmp_path / "one")
    assert os.listdir(tmp_path) == ["one"]
    assert Bundle.read(tmp_path / "one").items.equals(bundle.items)


def test_the_latest_version_is_found(bundle: Bundle, tmp_path: Path) -> None:
    for version in ("2026-01-02", "2026-01-10", "2025-12-31"):
        bundle.write(tmp_path / "kedro" / version / "bundle")
        bundle.write(tmp_path / "plain" / version)
    assert find_bundle(tmp_path / "kedro").parts[-2:] == ("2026-01-10", "bundle")
    assert find_bundle(tmp_path / "plain").name == "2026-01-10"
    (tmp_path / "plain" / "latest").symlink_to("2025-12-31")
    assert find_bundle(tmp_path / "plain").name == "2025-12-31"
    assert find_bundle(tmp_path / "plain" / "latest").name == "2025-12-31"
