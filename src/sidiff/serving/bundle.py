"""A bundle: a folder with a network and its items, which makes lists by itself.

It is read without the Kedro project and MLflow. Arrays are safetensors, tables Parquet,
the rest JSON. The manifest has the SHA-256 of every file (``sidiff.folders``).

Symbols: N items, L digits.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from fsspec.implementations.local import LocalFileSystem
from numpy.typing import NDArray
from polars.exceptions import PolarsError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

import sidiff
from sidiff.decoding.lattice import Lattice
from sidiff.diffusion.networks import Network, network_from_saved
from sidiff.errors import SidiffError
from sidiff.folders import MANIFEST, read_manifest, whole_folder
from sidiff.ranking.inputs import RankingInputs
from sidiff.ranking.markov import Chain
from sidiff.ranking.settings import MarkovParameters
from sidiff.sids.table import SidTable

KIND = "sidiff bundle"
FORMAT = 2
"""Version of the folder's layout; a release reads exactly one."""
REMEDY = "name a folder that kedro run --pipeline=packaging wrote"

_ARRAYS = ("weights", "lattice", "chain")
_CONFIG, _ITEMS = "config.json", "items.parquet"
_LIBRARIES = ("torch", "numpy", "polars", "safetensors")
_COLUMNS = pl.Schema(
    {
        "title": pl.String,
        "training_count": pl.Int64,
        "residual": pl.Int64,
        "offered": pl.Boolean,
    }
)


@dataclass(frozen=True, eq=False)
class Bundle:
    """A trained network with its items, ready to recommend.

    Attributes:
        weights: of the denoiser, by name.
        network: the denoiser's configuration.
        ranking: settings of the lists in the evaluation: ranking, markov, transitions,
            precision.
        items: a row per item: the columns of ``SidTable.to_frame``, title (null where
            unknown), training_count, residual (row in the network's table, 0: none),
            offered (whether it may be recommended).
        lattice: arrays of ``sidiff.decoding.lattice``; empty where SIDs are too long.
        chain: arrays of the Markov chain; empty where the network ranks no items.
        about: dataset, version, metrics, fingerprints.
    """

    weights: Mapping[str, NDArray[Any]]
    network: Mapping[str, Any]
    ranking: Mapping[str, Any]
    items: pl.DataFrame
    lattice: Mapping[str, NDArray[Any]]
    chain: Mapping[str, NDArray[Any]]
    about: Mapping[str, Any]

    @property
    def table(self) -> SidTable:
        """The items' semantic IDs."""
        return SidTable.from_frame(self.items)

    def denoiser(self) -> Network:
        """The network, in evaluation mode, with the precision of the evaluation."""
        weights = {name: torch.from_numpy(a) for name, a in self.weights.items()}
        network = network_from_saved(weights, self.network)
        network.precision = self.ranking["precision"]
        network.requires_grad_(requires_grad=False)
        return network

    def ranking_inputs(self, device: torch.device) -> RankingInputs:
        """The items with their training counts and transitions, on ``device``."""
        table, chain, lattice = self.table, None, None
        if self.chain:
            markov = MarkovParameters.model_validate(self.ranking["markov"])
            arrays = {n: torch.from_numpy(a).to(device) for n, a in self.chain.items()}
            chain = Chain(**arrays, parameters=markov)
        if self.lattice:
            shape = {"digits": table.digits, "codebook_size": table.codebook_size}
            lattice = Lattice.from_tensors(self.lattice, shape)
        counts, residuals, offered = (
            self.items[name].to_numpy().copy()
            for name in ("training_count", "residual", "offered")
        )
        allowed = None if offered.all() else offered
        return RankingInputs.build(
            table, counts, device, residuals, lattice, allowed, chain
        )

    def write(self, folder: Path | str, files: Any = None) -> None:
        """Write the folder, whole or not at all.

        ``files`` is its fsspec file system, None for the local one.

        Raises:
            SidiffError: the folder exists, or it cannot be written.
        """
        files = files or LocalFileSystem()
        if files.exists(f"{folder}/{MANIFEST}"):
            raise SidiffError(f"{folder} exists; name another folder.")
        about = {
            **self.about,
            # An updated bundle begins with the entries of its previous bundle.
            "kind": KIND,
            "format": FORMAT,
            "sidiff": sidiff.__version__,
            "python": platform.python_version(),
            **{name: version(name) for name in _LIBRARIES},
            "items": len(self.items),
        }
        with whole_folder(files, str(folder), about) as part:
            for name in _ARRAYS:
                arrays: Mapping[str, NDArray[Any]] = getattr(self, name)
                whole = {key: np.ascontiguousarray(a) for key, a in arrays.items()}
                save_file(whole, part / f"{name}.safetensors")
            config = {"network": dict(self.network), "ranking": dict(self.ranking)}
            text = json.dumps(config, indent=2, allow_nan=False) + "\n"
            (part / _CONFIG).write_text(text)
            self.items.write_parquet(part / _ITEMS)

    @classmethod
    def read(cls, folder: Path | str) -> Bundle:
        """Read a folder that ``write`` made.

        Raises:
            SidiffError: it is no bundle, is damaged, or belongs to another release.
        """
        place = Path(folder).expanduser()
        about = read_manifest(place, KIND, REMEDY)
        if about["format"] != FORMAT:
            raise SidiffError(
                f"{place} is a bundle of format {about['format']} (sidiff "
                f"{about.get('sidiff')}), and this release reads format {FORMAT}; "
                "install that release, or run kedro run --pipeline=packaging again."
            )
        try:
            arrays = {n: load_file(place / f"{n}.safetensors") for n in _ARRAYS}
            config = json.loads((place / _CONFIG).read_text())
            items = pl.read_parquet(place / _ITEMS)
            network, ranking = config["network"], config["ranking"]
            items = items.cast(_COLUMNS)
        except (OSError, ValueError, KeyError, PolarsError, SafetensorError) as error:
            raise SidiffError(
                f"{place} lacks a part of a bundle ({' '.join(str(error).split())}); "
                f"{REMEDY}."
            ) from error
        return cls(network=network, ranking=ranking, items=items, about=about, **arrays)


def find_bundle(folder: Path | str) -> Path:
    """The bundle at a path, or the latest of the versions below it.

    Versions are folders whose names sort by time, as Kedro's do. They are bundles or,
    as Kedro stores them, contain one. Symbolic links are followed.

    Raises:
        SidiffError: there is none.
    """
    place = Path(folder).expanduser()
    if (place / MANIFEST).is_file():
        return place.resolve()
    found = [*place.glob(f"*/{MANIFEST}"), *place.glob(f"*/*/{MANIFEST}")]
    if not found:
        raise SidiffError(f"{place} contains no bundle; {REMEDY}.")
    latest = max(found, key=lambda file: file.relative_to(place).parts[0])
    return latest.parent.resolve()
