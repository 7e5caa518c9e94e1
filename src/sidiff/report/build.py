"""The page of a run, from the stored results of its stages."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import polars as pl
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from sidiff.evaluation.figures import comparison_figure
from sidiff.evaluation.headlines import headline_rows, headlines, percent
from sidiff.report.examples import choose_examples, neighbours, titles_of
from sidiff.report.figures import as_image, walk_figure
from sidiff.report.walk import WalkStep
from sidiff.sids.report import sid_figure
from sidiff.sids.table import SidTable
from sidiff.training.figures import scores_figure

PACKAGES = ("sidiff", "torch", "polars", "numpy", "kedro", "mlflow")
EXAMPLES = 3
NEIGHBOURS = 4


@dataclass(frozen=True)
class Run:
    """Stored results of a run.

    Attributes:
        data: the report ``data_statistics``.
        catalogue: item_index, item_id, title.
        table: semantic IDs of the same items.
        sequences: items (indices, oldest first) of every user.
        history: figures of every epoch.
        walk: denoising steps of the first user of ``results``.
        results: method, seed, user, target, items; the first method is the configured
            one.
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
        settings: all parameters, with dataset, recipe and preset.
    """

    data: Mapping[str, Any]
    catalogue: pl.DataFrame
    table: SidTable
    sequences: pl.DataFrame
    history: pl.DataFrame
    walk: Sequence[WalkStep]
    results: pl.DataFrame
    comparison: pl.DataFrame
    settings: Mapping[str, Any]


def build(run: Run) -> str:
    """The page of a run as self-contained HTML."""
    lines = headlines(run.comparison)
    one = run.results.filter(
        method=run.results["method"][0], seed=run.results["seed"][0]
    )
    titles = titles_of(run.catalogue)
    examples = choose_examples(one, run.sequences, titles, EXAMPLES)
    scored = run.history.drop_nulls("validation/score")
    environment = Environment(
        loader=PackageLoader("sidiff.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        settings=run.settings,
        data=run.data,
        main=next(line for line in lines if line.method == one["method"][0]),
        rows=headline_rows(lines),
        confidence=percent(lines[0].confidence),
        near=neighbours(run.table.codes, titles, run.sequences, NEIGHBOURS),
        kept=scored["epoch"][int(scored["validation/score"].arg_max() or 0)],
        walk=run.walk,
        walked=_walked(run, titles),
        examples=dict(zip(("hit", "miss"), examples, strict=True)),
        figures={
            "sids": as_image(sid_figure(run.table)),
            "training": as_image(scores_figure(run.history)),
            "walk": as_image(walk_figure(run.walk)),
            "comparison": as_image(comparison_figure(lines)),
        },
        yaml=yaml.safe_dump(dict(run.settings), sort_keys=False, width=78),
        versions={
            "Python": platform.python_version(),
            **{name: version(name) for name in PACKAGES},
        },
    )


def _walked(run: Run, titles: list[str]) -> dict[str, Any]:
    """The denoised user: history, target, and the item with the SID of the walk."""
    *history, target = run.sequences["items"][int(run.results["user"][0])].to_list()
    codes = {step.digit: step.code for step in run.walk}
    filled = [codes[digit] for digit in range(run.table.digits)]
    found = (run.table.codes == filled).all(1).nonzero()[0]
    return {
        "history": [titles[item] for item in history[-5:]],
        "codes": filled,
        "found": titles[int(found[0])] if len(found) else None,
        "target": titles[target],
        "target_codes": run.table.codes[target].tolist(),
    }
