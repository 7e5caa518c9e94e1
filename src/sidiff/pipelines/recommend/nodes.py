"""Lists for the histories of all users, part by part."""

# Every Kedro command imports this module; what is slow to import waits for the run.
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import polars as pl

from sidiff.evaluation.filters import allowed_items
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
    """Recommend to every user; each part is made when Kedro stores it."""
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
                    None if options.allow is None else of_texts(list(options.allow)),
                    [parts.count, settings.threads, ties, filtering.merge_seconds],
                ]
            )
            with cpu_threads(settings.threads):
                yield from recommend_parts(
                    recommender, parts, options, unfinished_lists, fingerprint
                )

    return lists()


def _list_options(bundle: Bundle, settings: RecommendParameters) -> ListOptions:
    """The options of every list, with the item ids that the files leave."""
    from sidiff.serving.recommender import ListOptions

    offered = bundle.items.filter("offered")["item_id"]
    allowed = allowed_items(
        offered, settings.allow_items, settings.deny_items, "recommend"
    )
    allow = None if allowed is None else offered.filter(allowed)
    return ListOptions(
        settings.top_k, settings.exclude_seen, allow, decoder=settings.decoder
    )
