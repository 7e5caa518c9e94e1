"""Figures of a run for the documentation, in docs/data/NAME.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from kedro.framework.session import KedroSession
from kedro.framework.startup import bootstrap_project
from numpy.typing import NDArray
from pydantic import TypeAdapter

from sidiff.datasets import Model
from sidiff.errors import SidiffError
from sidiff.evaluation.comparison import compare
from sidiff.evaluation.headlines import Headline, headlines
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.pipelines.ablation.nodes import compare_variants
from sidiff.pipelines.frames import to_sequences
from sidiff.pipelines.report.nodes import encode_user
from sidiff.ranking.settings import MarkovParameters
from sidiff.report.examples import neighbours, titles_of
from sidiff.report.walk import WalkStep, walk
from sidiff.sids.table import SidTable
from sidiff.training.figures import masking_figure

ROOT = Path(__file__).parents[1]
DATA = ROOT / "docs" / "data"
IMAGES = ROOT / "docs" / "images"
DIFFERENCE = r"^ndcg_at_\d+_minus_(.+)$"


def read(name: str) -> dict[str, Any]:
    """Return the stored figures of the run ``name``."""
    kept: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return kept


def stored_lines(kept: dict[str, Any]) -> list[Headline]:
    """Return the headlines of a stored comparison."""
    return TypeAdapter(list[Headline]).validate_python(kept["headlines"])


def store(
    name: str, env: str | None, also: Sequence[str] = (), dataset: str | None = None
) -> None:
    """Store the figures of the latest run of an environment under ``name``.

    If the run has no comparison, its decoders and its ablation are compared here.

    Args:
        name: of the file in docs/data.
        env: the environment of the run.
        also: NAME=DATASET/METHOD adds METHOD of the ``decoder_results`` of another data
            set with the same users to the ablation.
        dataset: a data set instead of the environment's.
    """
    bootstrap_project(ROOT)
    chosen = {"dataset": dataset} if dataset else None
    with KedroSession.create(ROOT, env=env, runtime_params=chosen) as session:
        context = session.load_context()  # type: ignore[attr-defined]
        catalog = context.catalog
        made = next(
            table
            for table in ("comparison", "decoder_results", "ablation")
            if catalog.exists(table)
        )
        version = catalog.get(made).resolve_load_version()
        kept = {**run_of(version), "version": version}
        if made == "comparison":
            kept |= comparison_of(catalog.load("comparison"))
        elif made == "decoder_results":
            kept |= comparison_of(decoders_of(context))
        for part, table in (
            ("data", "data_statistics"),
            ("sids", "sid_report"),
            ("levels", "metrics"),
        ):
            if catalog.exists(table):
                kept[part] = catalog.load(table)
        if catalog.exists("training_history"):
            kept["course"] = catalog.load("training_history").to_dicts()
        if catalog.exists("ablation"):
            kept["ablation"] = comparison_of(ablation_of(context, env, also))
        if name == "sample":
            kept |= examples(catalog, context.params["evaluation"])
            IMAGES.mkdir(parents=True, exist_ok=True)
            masking = masking_figure(catalog.load("masking_history"))
            masking.savefig(IMAGES / "masking.png", metadata={"Software": None})
    DATA.mkdir(parents=True, exist_ok=True)
    # A line for each entry, so that a change shows where it is.
    lines = (f"{json.dumps(key)}: {json.dumps(value)}" for key, value in kept.items())
    (DATA / f"{name}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def decoders_of(context: Any) -> pl.DataFrame:
    """The comparison of a run's decoders with its references, or with the first."""
    catalog, params = context.catalog, context.params
    results = catalog.load("decoder_results")
    methods = results["method"].unique(maintain_order=True).to_list()
    references = [one for one in params["comparison"].references if one in methods]
    return compare(
        {"decoder": results},
        {"decoder": catalog.load("decoder_costs")},
        catalog.load("catalogue"),
        SidTable.from_frame(catalog.load("sid_table")).groups().sid_of_item,
        params["evaluation"].cutoffs,
        params["comparison"].model_copy(
            update={"references": references or methods[:1]}
        ),
    )


def other_method(
    env: str | None, spec: str, reference: SidTable
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Results and costs of NAME=DATASET/METHOD, as a training called NAME."""
    name, _, place = spec.partition("=")
    dataset, _, method = place.partition("/")
    wanted, called = pl.col("method") == method, pl.lit(name).alias("method")
    other = {"dataset": dataset}
    with KedroSession.create(ROOT, env=env, runtime_params=other) as session:
        catalog = session.load_context().catalog  # type: ignore[attr-defined]
        results, costs = (
            catalog.load(table).filter(wanted).with_columns(called)
            for table in ("decoder_results", "decoder_costs")
        )
        source = SidTable.from_frame(catalog.load("sid_table"))
    return by_items(results, source, reference), costs


def by_items(
    results: pl.DataFrame, source: SidTable, reference: SidTable
) -> pl.DataFrame:
    """Results with the semantic IDs that the same items have in another table.

    Args:
        results: a column ``sids`` of rows of ``source``, -1 for none.
        source: the table of these rows.
        reference: another table of the same items in the same order.

    Raises:
        SidiffError: semantic IDs are shared, so that there are no counterparts.
    """
    source_of, reference_of = (
        table.groups().sid_of_item for table in (source, reference)
    )
    if min(source_of.max(), reference_of.max()) + 1 < len(source_of):
        raise SidiffError("Items share semantic IDs; compare tables of unique ones.")
    # From rows of source to rows of reference; the last entry is for empty places.
    row = np.full(len(source_of) + 1, -1)
    row[source_of] = reference_of
    sids = row[results["sids"].to_numpy()]
    return results.with_columns(pl.Series("sids", sids, dtype=results.schema["sids"]))


def ablation_of(context: Any, env: str | None, also: Sequence[str]) -> pl.DataFrame:
    """The comparison of the ablation, with methods of other data sets if any."""
    catalog, params = context.catalog, context.params
    if not also:
        stored: pl.DataFrame = catalog.load("ablation")
        return stored
    results, costs = catalog.load("ablation_results"), catalog.load("ablation_costs")
    reference = SidTable.from_frame(catalog.load("sid_table"))
    others = [other_method(env, one, reference) for one in also]
    comparison: pl.DataFrame = compare_variants(
        pl.concat([results, *(ranked for ranked, _ in others)]),
        pl.concat([costs, *(cost for _, cost in others)]),
        catalog.load("catalogue"),
        catalog.load("sid_table"),
        params["evaluation"],
        params["comparison"],
        params["ablation"],
    )
    return comparison


def run_of(version: str) -> dict[str, str]:
    """Command and commit of the run that wrote ``version``, as MLflow has them."""
    import mlflow  # noqa: PLC0415 (slow to import)

    runs = mlflow.search_runs(
        search_all_experiments=True,
        filter_string=f"tags.save_version = '{version}'",
        output_format="list",
    )
    tags = runs[0].data.tags
    return {"command": tags["kedro_command"], "commit": tags["git.commit"][:7]}


def comparison_of(comparison: pl.DataFrame) -> dict[str, Any]:
    """The comparison in a line per method, and the differences between methods."""
    differences: dict[str, list[dict[str, Any]]] = {}
    rows = comparison.with_columns(
        reference=pl.col("metric").str.extract(DIFFERENCE)
    ).drop_nulls("reference")
    for row in rows.select(
        *("reference", "method", "users", "mean", "low", "high")
    ).to_dicts():
        differences.setdefault(row.pop("reference"), []).append(row)
    return {
        "headlines": [asdict(line) for line in headlines(comparison)],
        "differences": differences,
    }


def examples(catalog: Any, evaluation: EvaluationParameters) -> dict[str, Any]:
    """One item and its neighbours, one user denoised, the head of one list."""
    load = catalog.load
    sequences, items = load("sequences"), load("catalogue")
    sid_table, model = load("sid_table"), load("denoiser")
    codes = SidTable.from_frame(sid_table).codes
    titles = titles_of(items)
    user = int(load("evaluation_results")["user"][0])
    steps = walk(*encode_user(sequences, items, sid_table, model, user))
    sequence = sequences["items"][user].to_list()
    return {
        "neighbours": [asdict(one) for one in neighbours(codes, titles, sequences, 4)],
        "code_use": [
            np.bincount(digit, minlength=steps[0].probabilities.shape[1]).tolist()
            for digit in codes.T
        ],
        "walk": {
            "history": [titles[item] for item in sequence[:-1]],
            "target": titles[sequence[-1]],
            "target_codes": codes[sequence[-1]].tolist(),
            "steps": [_step(step) for step in steps],
        },
        "list": _list(sequences, items, sid_table, model, user, evaluation),
    }


def _step(step: WalkStep) -> dict[str, Any]:
    return {
        "filled": step.filled.tolist(),
        "digit": step.digit,
        "code": step.code,
        "probabilities": step.probabilities.astype(float).round(4).tolist(),
    }


def _list(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    model: Model,
    user: int,
    evaluation: EvaluationParameters,
) -> dict[str, Any]:
    """The list of docs/concepts/lists.md, item by item and in its literal form."""
    network, followed = _parts(
        sequences, catalogue, sid_table, model, user, evaluation.markov
    )
    added = evaluation.transitions
    both = network * (1.0 + followed / added.scale) ** added.weight
    both /= both.sum()
    titles = titles_of(catalogue)
    return {
        "rows": [
            {
                "title": titles[item],
                "network": float(network[item]),
                "followed": float(followed[item]),
                "both": float(both[item]),
            }
            for item in np.argsort(-both, kind="stable")[:5]
        ],
    }


def _parts(
    sequences: pl.DataFrame,
    catalogue: pl.DataFrame,
    sid_table: pl.DataFrame,
    model: Model,
    user: int,
    chain: MarkovParameters,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The posterior and the share of followers, both ``(N,)``."""
    import torch  # noqa: PLC0415 (slow to import)

    from sidiff.decoding.posterior import Posterior  # noqa: PLC0415
    from sidiff.reviews.transitions import transition_counts  # noqa: PLC0415

    posterior, memory = encode_user(sequences, catalogue, sid_table, model, user)
    if not isinstance(posterior, Posterior):
        raise SidiffError("This network has no posterior over items: nothing to show.")
    with torch.inference_mode():
        energies = posterior.energies(memory, torch.arange(len(catalogue)))[0]
        softmax = torch.softmax(energies.double(), 0).numpy()
    history = sequences["items"][user].to_list()[:-1]
    history = history[-int(model.metadata["max_history"]) :]
    counts = transition_counts(to_sequences(sequences, catalogue))
    followed = np.zeros(len(softmax))
    for age, item in enumerate(history[::-1][: chain.items]):
        row = counts[[item]].toarray()[0]
        followed += chain.decay**age * row / max(row.sum(), 1)
    return softmax, followed / max(followed.sum(), 1e-12)
