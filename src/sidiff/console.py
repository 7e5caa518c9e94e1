"""The summary on the screen at the end of a run."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sidiff.evaluation.headlines import Headline, label, percent, rate_text

_USER = re.compile(r"://[^/@]*@")
_COLUMNS = (
    ("R@5", "recall_at_5"),
    ("N@5", "ndcg_at_5"),
    ("R@10", "recall_at_10"),
    ("N@10", "ndcg_at_10"),
)


def render(
    summary: Mapping[str, Any],
    results: Mapping[str, str],
    seconds: float,
    tracking: str | None,
    env: str,
) -> Group:
    """The summary of a finished run, for 80 columns and more.

    Args:
        summary: the data set ``run_summary``; with ``comparison``, the lines of
            ``sidiff.evaluation.headlines``, where the run made one.
        results: paths or addresses of stored files worth opening, by data set name;
            each lies in a folder named after the version, which is one and the same
            for a run.
        seconds: wall time of the run.
        tracking: address of MLflow's store; None where the run is not tracked.
        env: the environment of the run.
    """
    data, sids = summary["data"], summary["semantic_ids"]
    facts, places = _grid(), _grid()
    facts.add_row("Data set", _data_set(summary["dataset"], data))
    facts.add_row(
        "",
        f"{data['users']:,} users, {data['items']:,} items, "
        f"{data['interactions']:,} interactions",
    )
    facts.add_row(
        "Semantic IDs",
        f"{sids['digits']} digits of {sids['codebook_size']} codes "
        f"({summary['codes_reason']})",
    )
    facts.add_row(
        "",
        f"{sids['distinct_sids']:,} distinct for {sids['items']:,} items; largest "
        f"group with one ID: {sids['largest_group']:,}",
    )
    facts.add_row("Wall time", f"{int(seconds) // 60} min {int(seconds) % 60:02d} s")
    version = ""
    for name, address in results.items():
        place, version, _ = address.rsplit("/", 2)
        places.add_row(name, place if "://" in place else os.path.relpath(place))
    places.add_row("lineage", "kedro viz run")
    if tracking:
        places.add_row("all runs", _runs(tracking, env))
    compared = summary.get("comparison")
    return Group(
        "",
        facts,
        "",
        _comparison(compared) if compared else _metrics(summary),
        Text(f"Results, version {version} in", "bold"),
        places,
        "",
    )


def _grid() -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    return grid


def _runs(tracking: str, env: str) -> str:
    """The place of MLflow's runs: a server's address, or what starts one."""
    tracking = _USER.sub("://", tracking)
    if tracking.startswith(("http://", "https://")):
        return tracking
    return "kedro mlflow ui" if env == "local" else f"kedro mlflow ui --env={env}"


def _data_set(name: str, data: Mapping[str, Any]) -> Text:
    text = Text(name)
    if data["synthetic"]:
        text.append(" (synthetic: a generated shop, not real customers)", "yellow")
    return text


def _metrics(summary: Mapping[str, Any]) -> Table:
    metrics, users = summary["metrics"], int(summary["metrics"]["n_users"])
    method = f"{summary['recipe']}, {label(summary['method'])}"
    rows = (
        (f"{method}: semantic IDs", "test/sid"),
        (f"{method}: items", "test/item"),
        ("popularity: items", "test/popularity"),
    )
    title = f"Test split, full ranking, {users:,} users"
    table = _table(title, [name for name, _ in _COLUMNS])
    for name, prefix in rows:
        values = (metrics.get(f"{prefix}/{key}") for _, key in _COLUMNS)
        table.add_row(name, *("" if v is None else f"{v:.4f}" for v in values))
    return table


def _table(title: str, columns: Sequence[str], **more: Any) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD,
        title=title,
        title_justify="left",
        title_style="bold",
        pad_edge=False,
        **more,
    )
    table.add_column("", overflow="fold")
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _comparison(lines: Sequence[Headline]) -> Table:
    """One row per method, at the largest cutoff; users in brackets where fewer."""
    k, most = lines[0].cutoff, max(line.users for line in lines)
    title = f"Test split, full ranking, {most:,} users"
    if not all(line.everybody for line in lines):
        title += " (number in brackets: fewer)"
    table = _table(
        title,
        [f"item R@{k}", f"item N@{k}", f"SID N@{k}", "users/s"],
        caption=f"\u00b1 half of the {percent(lines[0].confidence)} bootstrap interval "
        "over users",
        caption_justify="left",
    )
    for line in lines:
        name = Text(line.label)
        if not line.everybody:
            name.append(f" ({line.users:,})", "yellow")
        figures = (line.recall, line.ndcg)
        table.add_row(
            name,
            *(f"{e.mean:.4f} \u00b1{e.half_width:.4f}" for e in figures),
            f"{line.sid_ndcg.mean:.4f}",
            rate_text(line.users_per_second),
        )
    return table
