"""Histories in, lists out, part by part."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.errors import SidiffError
from sidiff.evaluation.filters import read_ids
from sidiff.fingerprints import of_file, of_texts, of_values
from sidiff.pipelines.settings import RecommendParameters
from sidiff.reviews.settings import FilteringParameters, IngestionParameters

if TYPE_CHECKING:
    from sidiff.serving import Bundle
    from sidiff.serving.recommender import ListOptions
    from sidiff.snapshots import SnapshotFolder


def recommend(
    bundle: Bundle,
    interactions: pl.LazyFrame,
    ingestion_report: dict[str, Any],
    unfinished_lists: SnapshotFolder,
    settings: RecommendParameters,
    ingestion: IngestionParameters,
    filtering: FilteringParameters,
) -> Iterator[tuple[str, pl.DataFrame]]:
    """Recommend to every user; the lists are made while they are stored."""
    from sidiff.devices import cpu_threads
    from sidiff.reviews.sequences import order_of_ties
    from sidiff.serving import Recommender
    from sidiff.serving.batch import recommend_parts
    from sidiff.serving.histories import HistoryRows, Parts, own_histories

    def lists() -> Iterator[tuple[str, pl.DataFrame]]:
        layout = ingestion.layout
        if settings.histories is None:
            histories = HistoryRows(interactions)
            source = str(ingestion_report["reviews"]["fingerprint"])
        else:
            layout, path = "table", Path(settings.histories).expanduser()
            histories = own_histories(path, ingestion.interactions)
            source = of_file(path)
        ties = order_of_ties(layout)
        options = _list_options(bundle, settings)
        recommender = Recommender(bundle, settings.device)
        with TemporaryDirectory(prefix="sidiff-") as folder:
            parts = Parts(
                histories,
                Path(folder),
                settings.users_per_part,
                ties,
                filtering.merge_seconds,
            )
            fingerprint = of_values(
                [
                    bundle.about["fingerprint"],
                    source,
                    [settings.top_k, settings.exclude_seen, settings.decoder],
                    [
                        None if ids is None else of_texts(list(ids))
                        for ids in (options.allow, options.deny)
                    ],
                    [parts.count, settings.threads, ties, filtering.merge_seconds],
                ]
            )
            with cpu_threads(settings.threads):
                yield from recommend_parts(
                    recommender, parts, options, unfinished_lists, fingerprint
                )

    return lists()


def _list_options(bundle: Bundle, settings: RecommendParameters) -> ListOptions:
    """The form of every list, with the ids of the files."""
    from sidiff.serving.recommender import ListOptions

    allow, deny = (
        None if path is None else read_ids(path, f"recommend.{name}")
        for name, path in (
            ("allow_items", settings.allow_items),
            ("deny_items", settings.deny_items),
        )
    )
    offered = bundle.items.filter("offered")["item_id"]
    if allow is not None:
        offered = offered.filter(offered.is_in(allow.implode()))
    if deny is not None:
        offered = offered.filter(~offered.is_in(deny.implode()))
    if not len(offered):
        raise SidiffError(
            "recommend.allow_items and recommend.deny_items leave no item of the "
            "bundle; correct the lists."
        )
    return ListOptions(
        settings.top_k, settings.exclude_seen, allow, deny, settings.decoder
    )
