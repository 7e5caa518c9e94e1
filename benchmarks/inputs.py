"""Inputs of the benchmarks: a synthetic shop like Beauty, or stored artefacts.

Amazon Reviews 2014 Beauty, 5-core, has 12,101 items and histories of 5 to 204 items,
8.9 on average; half of them have 6 or fewer, one in a hundred 43 or more. The synthetic
shop has the same lengths, cut at the network's longest history. Its SIDs are random and
distinct.
"""

from __future__ import annotations

import warnings
from argparse import ArgumentParser, Namespace
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
import torch
from numpy.typing import NDArray

from benchmarks.common import positive
from sidiff.configuration import GROUPS, completed
from sidiff.datasets import Model, SafetensorsDataset
from sidiff.diffusion.denoiser import Denoiser, DenoiserConfig
from sidiff.diffusion.joint import JointConfig, JointDenoiser
from sidiff.diffusion.networks import Network, network_from_saved
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.presets import PresetConfigLoader
from sidiff.ranking.settings import RankingParameters
from sidiff.reviews.sequences import Sequences
from sidiff.settings import CONFIG_LOADER_ARGS
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable
from sidiff.training.settings import TrainingParameters

CONF = Path(__file__).parents[1] / "conf"
BEAUTY_ITEMS = 12_101
MAX_HISTORY = 50

SHORTEST = 5
LONGEST = MAX_HISTORY + 3  # a test history of 50, and what was held out before it


class Shop(NamedTuple):
    """Users' items and the items' semantic IDs."""

    sequences: Sequences
    table: SidTable


def add_shop(options: ArgumentParser, users: int) -> None:
    """The options that say which shop; ``users`` is how many there are by default."""
    options.add_argument("--users", type=positive, default=users)
    options.add_argument("--items", type=positive, default=BEAUTY_ITEMS)
    options.add_argument("--digits", type=positive, default=4)
    options.add_argument("--codes", type=positive, default=256, help="codes per digit")
    options.add_argument(
        "--sequences", type=Path, help="stored sequences (Parquet); with --sid-table"
    )
    options.add_argument(
        "--sid-table", type=Path, help="stored SID table (Parquet); with --sequences"
    )


def load_shop(arguments: Namespace, options: ArgumentParser) -> Shop:
    """The shop that the options name, stored or synthetic."""
    if (arguments.sequences is None) != (arguments.sid_table is None):
        options.error("--sequences and --sid-table belong together")
    if arguments.sequences is None:
        return synthetic_shop(
            arguments.users,
            arguments.items,
            arguments.digits,
            arguments.codes,
            arguments.seed,
        )
    table = SidTable.from_frame(pl.read_parquet(arguments.sid_table))
    stored = pl.read_parquet(arguments.sequences)
    users = min(arguments.users, len(stored))
    chosen = stored.sample(users, seed=arguments.seed, shuffle=True)
    return Shop(Sequences.from_frame(chosen, table.item_ids), table)


def synthetic_shop(users: int, items: int, digits: int, codes: int, seed: int) -> Shop:
    """Draw a shop of U users, N items, L digits and K codes per digit."""
    generator = np.random.default_rng(seed)
    lengths = history_lengths(users, generator)
    popularity = (np.arange(items) + 10.0) ** -0.8  # few items are most of the sales
    drawn = generator.choice(items, lengths.sum(), p=popularity / popularity.sum())
    item_ids = pl.Series("item_id", [f"item-{item:07}" for item in range(items)])
    return Shop(
        Sequences(
            items=drawn.astype(np.int32),
            offsets=np.append(0, lengths.cumsum()),
            user_ids=pl.Series("user_id", [f"user-{user:07}" for user in range(users)]),
            item_ids=item_ids,
        ),
        SidTable(random_sids(items, digits, codes, generator), item_ids, codes),
    )


def history_lengths(users: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Items per user, ``(U,)``: a lognormal fitted to Beauty's quantiles, 5 to 53."""
    drawn = SHORTEST + generator.lognormal(0.62, 1.3, users).astype(np.int64)
    return np.minimum(drawn, LONGEST)


def random_sids(
    items: int, digits: int, codes: int, generator: np.random.Generator
) -> NDArray[np.uint16]:
    """Distinct SIDs in random order, ``(N, L)``.

    Raises:
        ValueError: so many do not exist, or hardly.
    """
    drawn = generator.integers(codes, size=(2 * items, digits), dtype=np.uint16)
    _, first = np.unique(drawn, axis=0, return_index=True)
    if len(first) < items:
        raise ValueError(f"{digits} digits of {codes} codes are few for {items} items")
    return drawn[np.sort(first)[:items]]


@cache
def _beauty(preset: str = "paper") -> dict[str, Any]:
    """Parameters of ``kedro run --env=beauty --params=preset=NAME``."""
    with warnings.catch_warnings():
        # Kedro calls a function of OmegaConf by its old name.
        warnings.filterwarnings("ignore", "register_new_resolver", UserWarning)
        loader = PresetConfigLoader(
            str(CONF),
            env="beauty",
            runtime_params={"preset": preset},
            **CONFIG_LOADER_ARGS,
        )
        return completed(loader["parameters"])


def _parameters(group: str, changes: dict[str, Any], preset: str = "paper") -> Any:
    def overlaid(values: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
        return values | {
            name: overlaid(values[name], change) if isinstance(change, dict) else change
            for name, change in changes.items()
        }

    return GROUPS[group].model_validate(overlaid(_beauty(preset)[group], changes))


def training_parameters(changes: dict[str, Any]) -> TrainingParameters:
    """The paper's for Beauty, on the CPU, with nested ``changes``."""
    return _parameters("training", {"device": "cpu", **changes})


def default_training(arguments: Namespace) -> TrainingParameters:
    """Those of ``kedro run --env=beauty``, in the width that the options give."""
    shape = network_changes(arguments)
    network = {name: shape[name] for name in ("d_model", "heads", "d_ff")}
    changes = {"device": "cpu", "network": network, "seed": arguments.seed}
    return _parameters("training", changes, "sidiff")


def default_evaluation() -> EvaluationParameters:
    """Those of ``kedro run --env=beauty``."""
    return _parameters("evaluation", {}, "sidiff")


def tokenization_parameters(changes: dict[str, Any]) -> TokenizationParameters:
    """The paper's for Beauty, on the CPU, with nested ``changes``."""
    return _parameters("tokenization", {"device": "cpu", **changes})


def ranking_parameters(**changes: Any) -> RankingParameters:
    """The paper's search for Beauty with ``changes``."""
    return RankingParameters.model_validate(
        {"method": "cpd"} | _beauty()["evaluation"]["decoding"] | changes
    )


def add_network(options: ArgumentParser) -> None:
    """The options that give the network its shape; the default is the paper's."""
    network = _beauty()["training"]["network"]
    for name in ("d_model", "heads", "d_ff", "encoder_layers", "decoder_layers"):
        flag = "--" + name.replace("_", "-")
        options.add_argument(flag, type=positive, default=network[name])


def network_changes(arguments: Namespace) -> dict[str, int]:
    """The shape that the options of ``add_network`` give."""
    return {
        name: getattr(arguments, name)
        for name in ("d_model", "heads", "d_ff", "encoder_layers", "decoder_layers")
    }


def random_denoiser(arguments: Namespace, table: SidTable) -> Denoiser:
    """A network of the options' shape with freshly drawn weights."""
    config = DenoiserConfig.build(
        training_parameters({"network": network_changes(arguments)}).network,
        table.digits,
        table.codebook_size,
        MAX_HISTORY,
    )
    weights = torch.Generator().manual_seed(arguments.seed)
    return Denoiser(config).initialize(weights).eval()


def random_joint_denoiser(arguments: Namespace, table: SidTable) -> JointDenoiser:
    """The default network with freshly drawn weights, a residual for every item."""
    config = JointConfig.build(
        default_training(arguments).network,
        table.digits,
        table.codebook_size,
        MAX_HISTORY,
        residual_items=len(table.codes),
    )
    weights = torch.Generator().manual_seed(arguments.seed)
    return JointDenoiser(config).initialize(weights).eval()


def stored_network(path: Path) -> tuple[Network, list[str]]:
    """A trained network, and the ids of the items that have a residual in it."""
    stored: Model = SafetensorsDataset(str(path.resolve()), framework="torch").load()
    known = stored.metadata.get("known_items", [])
    return network_from_saved(stored.tensors, stored.metadata), known


def stored_denoiser(path: Path) -> Denoiser:
    """A trained network of digits.

    Raises:
        ValueError: it is not of the kind that Cornac has as well.
    """
    network, _ = stored_network(path)
    if not isinstance(network, Denoiser):
        raise ValueError(
            f"{path} has a posterior over items, which Cornac's network has not; train "
            "one with training.network.posterior: digits"
        )
    return network
