"""The summary that a run prints at its end."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sidiff.evaluation.headlines import Headline, headline_rows, metric_title, percent
from sidiff.storage import redacted


def render(
    reports: Mapping[str, Any],
    lines: Sequence[Headline],
    results: Mapping[str, str],
    seconds: float,
    tracking: str | None,
) -> Group:
    """The layout of a run's summary, for at least 80 columns.

    Args:
        reports: the stored ones of the data sets ``data_statistics``, ``sid_report``
            and ``metrics``.
        lines: the compared methods; empty for a run without comparison.
        results: paths or addresses of stored files by data set name; their folder is
            named after the version of the run.
        seconds: wall time of the run.
        tracking: address of MLflow's server, or the command that starts it; None for a
            run without tracking.
    """
    facts, places = _grid(), _grid()
    if data := reports.get("data_statistics"):
        facts.add_row("Data", _data(data))
    if sids := reports.get("sid_report"):
        facts.add_row(
            "Semantic IDs",
            f"{sids['digits']} digits of {sids['codebook_size']} codes; "
            f"{sids['distinct_sids']:,} distinct for {sids['items']:,} items",
        )
    if not lines:
        for level in ("item", "sid"):
            facts.add_row(f"Test, {level}", _figures(reports["metrics"], level))
    facts.add_row("Wall time", f"{int(seconds) // 60} min {int(seconds) % 60:02d} s")
    version = ""
    for name, address in results.items():
        place, version, _ = address.rsplit("/", 2)
        places.add_row(name, place if "://" in place else os.path.relpath(place))
    places.add_row("lineage", "kedro viz run")
    if tracking:
        places.add_row("all runs", redacted(tracking))
    return Group(
        "",
        facts,
        "",
        _comparison(lines) if lines else "",
        Text(f"Results, version {version} in", "bold"),
        places,
        "",
    )


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _data(data: Mapping[str, Any]) -> Text:
    text = Text(
        f"{data['users']:,} users, {data['items']:,} items, "
        f"{data['interactions']:,} interactions"
    )
    if data["synthetic"]:
        text.append("\nsynthetic: a generated shop, not real customers", "yellow")
    return text


def _figures(metrics: Mapping[str, float], level: str) -> str:
    return ", ".join(
        f"{metric_title(name.rpartition('/')[2])} {value:.4f}"
        for name, value in metrics.items()
        if name.startswith(f"test/{level}/ndcg")
    )


def _comparison(lines: Sequence[Headline]) -> Table:
    """The table of methods; long names are folded."""
    (first, *titles), *rows = headline_rows(lines)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title="Test split, full ranking",
        title_justify="left",
        caption=f"Brackets: {percent(lines[0].confidence)} bootstrap intervals",
        caption_justify="left",
    )
    table.add_column(first, overflow="fold")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table
