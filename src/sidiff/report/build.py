"""The page of a run, put together from what the stages stored."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
import polars as pl
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from sidiff.decoding.trace import TraceStep
from sidiff.evaluation.headlines import headlines, percent, rate_text
from sidiff.report.charts import line_chart, strip
from sidiff.report.examples import choose_examples, neighbours

PACKAGES = ("sidiff", "torch", "polars", "numpy", "faiss", "kedro", "mlflow")
EXAMPLES = 3
FOUND = "Found: what they took stands first"
MISSED = "Missed: what they took is not in the list"
NEIGHBOURS = 4
SCORES = {
    "SID level": "validation/sid/ndcg_at_10",
    "item level": "validation/item/ndcg_at_10",
}


def build(
    *,
    data: Mapping[str, Any],
    sids: Mapping[str, Any],
    catalogue: pl.DataFrame,
    codes: NDArray[np.integer],
    sequences: pl.DataFrame,
    history: pl.DataFrame,
    walk: Sequence[TraceStep],
    walked: int,
    results: pl.DataFrame,
    comparison: pl.DataFrame,
    settings: Mapping[str, Any],
    names: Mapping[str, str],
) -> str:
    """Return the page of a run as one HTML text that refers to no other file.

    Args:
        data: the report ``data_statistics``.
        sids: the report ``sid_report``.
        catalogue: item_index, item_id, title.
        codes: of every item, ``(N, L)``.
        sequences: items (indices, oldest first) of every user.
        history: figures of every epoch.
        walk: one test user denoised, see ``sidiff.decoding.trace``.
        walked: row of that user in ``sequences``.
        results: method, seed, user, target, items; the method that comes first makes
            the shop's lists.
        comparison: as ``sidiff.evaluation.comparison.compare`` returns it.
        settings: parameters by group.
        names: data set, recipe, preset.
    """
    lines = headlines(comparison)
    one = results.filter(method=results["method"][0], seed=results["seed"][0])
    main = next(line for line in lines if line.method == one["method"][0])
    titles = titles_of(catalogue)
    good, bad = choose_examples(one, sequences, titles, EXAMPLES)
    popular = int(sequences["items"].explode().mode().sort()[0])
    environment = Environment(
        loader=PackageLoader("sidiff.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        names=names,
        data=data,
        sids=sids,
        main=main,
        lines=lines,
        longest=max(line.ndcg.high for line in lines) or 1.0,
        percent=percent,
        rate_text=rate_text,
        digits=_code_use(codes, int(sids["codebook_size"])),
        near=neighbours(codes, titles, popular, NEIGHBOURS),
        **_course(history),
        walk=_walk(walk, codes, titles, sequences["items"][walked].to_list()),
        groups={FOUND: good, MISSED: bad},
        settings=yaml.safe_dump(dict(settings), sort_keys=False, width=78),
        versions=_versions(),
    )


def titles_of(catalogue: pl.DataFrame) -> list[str]:
    """Title of every item by index; its id where it has none."""
    titles: list[str] = (
        catalogue.sort("item_index")
        .select(pl.coalesce(pl.col("title"), pl.col("item_id").cast(pl.String)))
        .to_series()
        .to_list()
    )
    return titles


def _code_use(codes: NDArray[np.integer], size: int) -> list[list[float]]:
    """The use of every code, relative to the digit's most frequent one."""
    counts = [np.bincount(digit, minlength=size) for digit in codes.T]
    return [(count / count.max()).round(3).tolist() for count in counts]


def _course(history: pl.DataFrame) -> dict[str, Any]:
    """Charts of the loss and of the scores, and the epoch whose weights are kept."""
    scored = history.drop_nulls("validation/score")
    kept = int(scored["epoch"][int(scored["validation/score"].arg_max() or 0)])
    loss = list(history.select("epoch", "train/loss").iter_rows())
    scores = {
        name: list(scored.select("epoch", column).iter_rows())
        for name, column in SCORES.items()
    }
    return {
        "loss": line_chart({"training loss": loss}, "epoch", None),
        "scores": line_chart(scores, "epoch", kept),
        "kept": kept,
    }


def _walk(
    walk: Sequence[TraceStep],
    of_items: NDArray[np.integer],
    titles: list[str],
    sequence: list[int],
) -> dict[str, Any]:
    codes = [-1] * of_items.shape[1]
    rows = []
    for step in walk:
        filled = step.filled[0, 0].tolist()
        chosen, code = int(step.digit), int(step.code)
        probabilities = step.log_p[0, 0].exp().numpy()
        rows.append(
            {
                "digit": chosen,
                "code": code,
                "probability": float(probabilities[chosen, code]),
                "strips": [
                    None
                    if filled[digit] >= 0
                    else strip(row, code if digit == chosen else None)
                    for digit, row in enumerate(probabilities)
                ],
                "filled": filled,
            }
        )
        codes[chosen] = code
    found = (of_items == np.array(codes)).all(1).nonzero()[0]
    return {
        "history": [titles[item] for item in sequence[:-1][-5:]],
        "target": titles[sequence[-1]],
        "target_codes": of_items[sequence[-1]].tolist(),
        "rows": rows,
        "codes": codes,
        "found": titles[int(found[0])] if len(found) else None,
    }


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for package in PACKAGES:
        for name in (package, f"{package}-cpu", f"{package}-gpu"):
            try:
                found[package] = version(name)
            except ModuleNotFoundError:
                continue
            break
    return found
