"""Stored things of two runs put together, and stored things that are damaged.

Every mix must name both by the beginning of their fingerprints.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from sidiff.baselines.sasrec import SasRec
from sidiff.datasets import Model, SafetensorsDataset, StreamedParquet
from sidiff.datasets.whole import JsonDataset, PolarsDataset
from sidiff.diffusion.networks import network_from_saved
from sidiff.fingerprints import short
from sidiff.pipelines.baselines.nodes import rank_baselines
from sidiff.pipelines.comparison.nodes import compare_methods
from sidiff.pipelines.evaluation.nodes import compare_decoders, evaluator_of
from sidiff.pipelines.filtering.nodes import build_sequences, filter_k_core
from sidiff.pipelines.frames import (
    join_models,
    to_samples,
)
from sidiff.pipelines.tokenization import nodes as tokenization
from sidiff.pipelines.training.nodes import train_denoiser
from sidiff.sids.extension import check_settings
from sidiff.sids.table import SidTable
from sidiff.snapshots import SnapshotFolder

from ..settings import model
from .bad_cases import Case, Place
from .stored_shops import (
    MAX_HISTORY,
    StoredShop,
    rankings,
    tokenization_settings,
    tokenize,
    untrained_denoiser,
)

Words = Callable[[Place], list[str]]


def both(*names: Callable[[StoredShop], str]) -> Words:
    """The prints of the two shops, one each unless two are named."""
    first, second = (names * 2)[:2]
    return lambda place: [short(first(place.shop)), short(second(place.other))]


def table(shop: StoredShop) -> str:
    return shop.table.fingerprint


def other_codes(shop: StoredShop) -> tuple[Model, Model, pl.DataFrame, Model]:
    """The same shop tokenized with another seed."""
    return tokenize(shop.quantizer_input, shop.catalogue, seed=99)


def train(place: Place, **changes: Any) -> None:
    inputs = {
        name: getattr(place.shop, name)
        for name in (
            "sequences",
            "catalogue",
            "training_samples",
            "sid_table",
        )
    }
    small = {
        "network.d_model": 8,
        "network.heads": 2,
        "network.d_ff": 8,
        "network.decoder_layers": 1,
        "validation.max_users": 5,
        "epochs": 1,
    }
    train_denoiser(
        **(inputs | changes),
        training=model("training", small),
        max_history=MAX_HISTORY,
        checkpoints=SnapshotFolder(place.folder / "checkpoints"),
        ray_address=None,
    )


def evaluate(place: Place, **changes: Any) -> None:
    """Lay out the test split as every evaluation does."""
    inputs = {
        name: getattr(place.shop, name)
        for name in ("denoiser", "sequences", "catalogue", "sid_table", "lattice")
    }
    evaluator_of(**(inputs | changes), evaluation=model("evaluation"))


def decode(place: Place, further: Model, seeds: list[int]) -> None:
    shop = place.shop
    compare_decoders(
        shop.denoiser,
        further,
        shop.sequences,
        shop.catalogue,
        shop.sid_table,
        shop.lattice,
        model("evaluation", {"seeds": seeds}),
        None,
    )


def of_seed(model: Model, seed: int, **metadata: Any) -> Model:
    stored = Model(model.tensors, model.metadata | {"seed": seed} | metadata)
    return join_models({str(seed): stored})


def assign(place: Place, **changes: Any) -> None:
    inputs: dict[str, Any] = {
        "quantizer_input": place.shop.quantizer_input,
        "catalogue": place.shop.catalogue,
        "previous_whitening": None,
        "previous_quantizer": None,
        "previous_sid_table": None,
        "tokenization": tokenization_settings(),
    }
    tokenization.assign_sids(**(inputs | changes))


def report(place: Place, **changes: Any) -> None:
    shop = place.shop
    inputs = {
        name: getattr(shop, name)
        for name in (
            "sid_table",
            "catalogue",
            "quantizer_input",
            "whitening",
            "quantizer",
        )
    }
    tokenization.report_sids(
        **(inputs | {"tokenization": tokenization_settings()} | changes)
    )


def filter_rows(place: Place, rows: pl.LazyFrame) -> None:
    filter_k_core(
        rows,
        place.shop.ingestion_report,
        model("filtering", {"min_user_interactions": 2, "min_item_interactions": 2}),
    )


def sequence(place: Place, **changes: Any) -> None:
    shop = place.shop
    inputs = {
        "core_interactions": shop.core_interactions,
        "items": shop.items,
        "ingestion_report": shop.ingestion_report,
    }
    build_sequences(**(inputs | changes), filtering=model("filtering"))


def baselines(place: Place, method: str, metadata: dict[str, Any]) -> None:
    shop = place.shop
    rank_baselines(
        Model({}, {f"{method}/{metadata['seed']}": metadata}),
        shop.sequences,
        shop.catalogue,
        shop.sid_table,
        model("baselines", {"methods": [method]}),
        model("evaluation"),
        MAX_HISTORY,
    )


def compare(place: Place, **changes: Any) -> None:
    shop = place.shop
    decoder, decoder_costs = rankings(shop, "cpd")
    baseline, baseline_costs = rankings(shop, "sasrec")
    configured, its_costs = rankings(shop, "as_configured")
    inputs: dict[str, Any] = {
        "evaluation_results": configured,
        "evaluation_costs": its_costs,
        "decoder_results": decoder,
        "decoder_costs": decoder_costs,
        "baseline_results": baseline,
        "baseline_costs": baseline_costs,
        "catalogue": shop.catalogue,
        "sid_table": shop.sid_table,
        "evaluation": model("evaluation"),
        "settings": model("comparison", {"bootstrap.resamples": 5}),
    }
    compare_methods(**(inputs | changes))


def own_fingerprint(place: Place) -> list[str]:
    return [short(table(place.shop)), short(table_of(other_codes(place.shop), place))]


def table_of(made: tuple[Model, Model, pl.DataFrame, Model], place: Place) -> str:
    return SidTable.from_frame(made[2]).fingerprint


def stored(
    kind: type, name: str, data: Callable[[Place], Any], damage: Callable[[Path], None]
) -> Callable[[Place], Any]:
    """Store something, damage the file, and read it."""

    def spoil(place: Place) -> None:
        path = place.folder / name
        dataset = kind(filepath=str(path), **_ARGUMENTS.get(kind, {}))
        dataset.save(data(place))
        damage(path)
        rows = kind(filepath=str(path), **_ARGUMENTS.get(kind, {})).load()
        if isinstance(rows, pl.LazyFrame):
            rows.collect()

    return spoil


_ARGUMENTS: dict[type, dict[str, Any]] = {
    PolarsDataset: {"file_format": "parquet"},
    SafetensorsDataset: {"framework": "numpy"},
}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def cut_without_stamp(path: Path) -> None:
    cut(path)
    path.with_name(path.name + ".stamp.json").unlink()


def cut_stamp(path: Path) -> None:
    cut(path.with_name(path.name + ".stamp.json"))


def lazy_vectors(place: Place) -> pl.LazyFrame:
    return place.shop.quantizer_input.lazy()


def stored_model(place: Place) -> Model:
    return place.shop.quantizer


def vectors(place: Place) -> pl.DataFrame:
    return place.shop.quantizer_input


DAMAGES = [
    Case(
        f"{what}, {how}",
        stored(kind, name, data, damage),
        (name.partition(".")[0], words, "--load-versions"),
    )
    for what, kind, name, data in (
        ("a table", PolarsDataset, "table.parquet", vectors),
        ("a streamed table", StreamedParquet, "rows.parquet", lazy_vectors),
        ("a report", JsonDataset, "report.json", lambda p: p.shop.ingestion_report),
        ("a model", SafetensorsDataset, "model.safetensors", stored_model),
    )
    for how, damage, words in (
        ("cut short", cut, "is damaged: its SHA-256 differs"),
        ("a bit flipped", flip, "is damaged: its SHA-256 differs"),
        ("a stamp cut short", cut_stamp, "is damaged: its SHA-256 differs"),
        ("cut short and without stamp", cut_without_stamp, "cannot be read"),
    )
]

CASES = [
    # ingestion to sequences
    Case(
        "training samples longer than the network reads",
        lambda place: to_samples(
            place.shop.training_samples,
            2,
        ),
        ("filtering.max_history is 2", "--pipeline=filtering"),
    ),
    # tokenization
    Case(
        "a quantizer of another number of digits",
        lambda place: check_settings(
            place.shop.quantizer.metadata["settings"], tokenization_settings(digits=2)
        ),
        ("tokenization.digits 4, which is now 2", "--pipeline=tokenization again"),
    ),
    Case(
        "a quantizer of another kind",
        lambda place: check_settings(
            place.shop.quantizer.metadata["settings"],
            tokenization_settings(quantizer="rq_kmeans"),
        ),
        ("tokenization.quantizer opq, which is now rq_kmeans",),
    ),
    Case(
        "a stored table without a column",
        lambda place: evaluate(
            place, sid_table=place.shop.sid_table.drop("codebook_size")
        ),
        ("lacks the column item_id, codebook_size or generation",),
    ),
    # denoisers
    Case(
        "a denoiser of another table",
        lambda place: evaluate(
            place,
            sid_table=other_codes(place.shop)[2],
            lattice=other_codes(place.shop)[3],
        ),
        own_fingerprint,
    ),
    Case(
        "a denoiser of another shop",
        lambda place: evaluate(place, denoiser=place.other.denoiser),
        both(table),
    ),
    Case(
        "a denoiser that names no table",
        lambda place: evaluate(place, denoiser=Model({}, {})),
        lambda place: ["SID table none", short(table(place.shop)), "--load-versions"],
    ),
    Case(
        "a denoiser of another vocabulary than it says",
        lambda place: network_from_saved(
            place.shop.denoiser.tensors,
            place.shop.denoiser.metadata | {"codebook_size": 16},
        ),
        ("do not fit its configuration", "codes is (32, 16) and should be (64, 16)"),
    ),
    Case(
        "a denoiser with weights too many",
        lambda place: network_from_saved(
            place.shop.denoiser.tensors | {"more": np.zeros(2)},
            place.shop.denoiser.metadata,
        ),
        ("more is (2,) and should be missing", "--pipeline=training"),
    ),
    Case(
        "a denoiser of an older release",
        lambda place: network_from_saved(
            place.shop.denoiser.tensors,
            {k: v for k, v in place.shop.denoiser.metadata.items() if k != "heads"},
        ),
        ("lacks heads in its configuration", "another release", "--pipeline=training"),
    ),
    Case(
        "a SASRec of an older release",
        lambda place: SasRec.from_saved({}, {"items": 3}),
        ("The stored SASRec lacks ", "--pipeline=baselines"),
    ),
    Case(
        "a seed that was never trained",
        lambda place: decode(place, Model({}, {}), [2024, 3]),
        ("seed 3 of evaluation.seeds", "--pipeline=training"),
    ),
    Case(
        "a seed of another table",
        lambda place: decode(
            place,
            of_seed(
                untrained_denoiser(
                    place.shop.sequences,
                    place.shop.catalogue,
                    other_codes(place.shop)[2],
                ),
                3,
            ),
            [2024, 3],
        ),
        own_fingerprint,
    ),
    # baselines and comparison
    Case(
        "a SASRec of other seeds",
        lambda place: baselines(place, "sasrec", {"seed": 7}),
        ("seeds [7], not [2024]", "--pipeline=baselines"),
    ),
    Case(
        "a SASRec of longer histories",
        lambda place: baselines(
            place,
            "sasrec",
            {
                "seed": 2024,
                "max_history": MAX_HISTORY + 1,
            },
        ),
        ("histories of at most 51 items, filtering.max_history is 50",),
    ),
    Case(
        "rankings of nobody",
        lambda place: compare(
            place, decoder_results=rankings(place.shop, "cpd")[0].clear()
        ),
        ("decoder_results are empty", "--pipeline=evaluation"),
    ),
    Case(
        "rankings shorter than the cutoffs",
        lambda place: compare(
            place, evaluation=model("evaluation", {"cutoffs": [20], "top_k": 20})
        ),
        ("hold 10 places, fewer than the cutoff 20",),
    ),
    *DAMAGES,
]

UNSPOILT = [
    train,
    evaluate,
    assign,
    report,
    sequence,
    compare,
    lambda place: filter_rows(place, place.shop.interactions),
]
"""What the cases change one thing of."""
