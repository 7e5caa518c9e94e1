"""Everything that a run stores, made in seconds by the nodes: of two shops, say."""

from __future__ import annotations

import gzip
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

from sidiff.datasets import Model
from sidiff.diffusion.joint import JointConfig, JointDenoiser
from sidiff.pipelines.filtering.nodes import build_sequences, filter_k_core
from sidiff.pipelines.frames import to_sequences
from sidiff.pipelines.ingestion.nodes import (
    check_rejected_lines,
    ingest_metadata,
    ingest_reviews,
)
from sidiff.pipelines.tokenization import nodes as tokenization
from sidiff.ranking.results import Cost, Results, result_frames
from sidiff.reviews.sample_shop import generate
from sidiff.reviews.settings import SampleDataParameters
from sidiff.sids.settings import TokenizationParameters
from sidiff.sids.table import SidTable

from ..settings import model

WIDTH, MAX_HISTORY = 24, 50
SMALL = {
    "quantizer": "opq",
    "whitening.dimensions": 8,
    "digits": 4,
    "codebook_size": 8,
    "collisions": "repair",
}


def tokenization_settings(**changes: Any) -> TokenizationParameters:
    return model("tokenization", SMALL | changes)


@dataclass
class StoredShop:
    """What lies in the folders of a data set, by the names of the catalogue."""

    interactions: pl.LazyFrame
    items: pl.DataFrame
    ingestion_report: dict[str, Any]
    core_interactions: pl.LazyFrame
    sequences: pl.DataFrame
    training_samples: pl.DataFrame
    catalogue: pl.DataFrame
    quantizer_input: pl.DataFrame
    whitening: Model
    quantizer: Model
    sid_table: pl.DataFrame
    lattice: Model
    denoiser: Model

    @property
    def table(self) -> SidTable:
        return SidTable.from_frame(self.sid_table)

    @property
    def sequences_print(self) -> str:
        return to_sequences(self.sequences, self.catalogue).fingerprint


def make_shop(folder: Path, seed: int) -> StoredShop:
    """Generate a shop, and run every stage but embedding and training."""
    given = {"users": 80, "items": 60, "seed": seed}
    shop = generate(SampleDataParameters.model_validate(given))
    raw = {}
    for name in ("review_lines", "metadata_lines"):
        raw[name] = folder / f"{name}_{seed}.json.gz"
        raw[name].write_bytes(gzip.compress("\n".join(getattr(shop, name)).encode()))
    ingestion, filtering = (
        model("ingestion"),
        model("filtering", {"min_user_interactions": 2, "min_item_interactions": 2}),
    )
    interactions, bad_reviews, reviews = ingest_reviews(
        [raw["review_lines"]], ingestion
    )
    items, bad_items, metadata = ingest_metadata([raw["metadata_lines"]], ingestion)
    report = check_rejected_lines(
        bad_reviews, bad_items, reviews, metadata, ingestion, "data", "shop"
    )
    core, _ = filter_k_core(interactions, report, filtering)
    sequences, samples, catalogue, _ = build_sequences(core, items, report, filtering)
    vectors = vectors_of(catalogue, seed)
    whitening, quantizer, table, lattice = tokenize(vectors, catalogue)
    return StoredShop(
        interactions,
        items,
        report,
        core,
        sequences,
        samples,
        catalogue,
        vectors,
        whitening,
        quantizer,
        table,
        lattice,
        untrained_denoiser(sequences, catalogue, table),
    )


def vectors_of(catalogue: pl.DataFrame, seed: int) -> pl.DataFrame:
    """Vectors as some encoder would give them, with their fingerprints."""
    shape = (len(catalogue), WIDTH)
    vectors = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return pl.DataFrame(
        {
            "item_id": catalogue["item_id"],
            "fingerprint": [f"{seed} {item}" for item in catalogue["item_id"]],
            "embedding": pl.Series(vectors, dtype=pl.Array(pl.Float32, WIDTH)),
        }
    )


def tokenize(
    vectors: pl.DataFrame, catalogue: pl.DataFrame, **changes: Any
) -> tuple[Model, Model, pl.DataFrame, Model]:
    """Whitening, quantizer, SID table and lattice."""
    given = tokenization_settings(**changes)
    whitening, quantizer, table = tokenization.assign_sids(
        vectors, catalogue, None, None, None, given
    )
    return whitening, quantizer, table, tokenization.build_lattice(table)


def untrained_denoiser(
    sequences: pl.DataFrame, catalogue: pl.DataFrame, sid_table: pl.DataFrame
) -> Model:
    """A denoiser as ``train_denoiser`` stores it, but for the training."""
    small = {"d_model": 16, "heads": 2, "d_ff": 16, "decoder_layers": 1}
    training = model("training", {f"network.{name}": n for name, n in small.items()})
    table = SidTable.from_frame(sid_table)
    known = catalogue.filter("in_training")["item_id"].to_list()
    network = JointDenoiser(
        JointConfig.build(
            training.network,
            table.digits,
            table.codebook_size,
            MAX_HISTORY,
            residual_items=len(known),
        )
    ).initialize(torch.Generator().manual_seed(1))
    data = {
        "sid_table": table.fingerprint,
        "sequences": to_sequences(sequences, catalogue).fingerprint,
        "known_items": known,
        "seed": 2024,
    }
    return Model(dict(network.state_dict()), network.saved_config() | data)


def rankings(shop: StoredShop, method: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Results and costs of a method that ranks the items as they come."""
    users = to_sequences(shop.sequences, shop.catalogue)
    targets = users.items[users.offsets[1:] - 1].astype(np.int64)
    items = np.tile(np.arange(10), (users.n_users, 1))
    made = Results(
        items,
        np.zeros(items.shape, dtype=np.float32),
        items,
        np.arange(users.n_users),
        targets,
        users.lengths - 1,
        Cost(1.0, 1.0),
    )
    return result_frames([(method, 2024, made)])
