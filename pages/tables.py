"""The tables of README and docs, written into marked blocks.

A block begins with ``<!-- table: RUN/NAME -->`` and ends with ``<!-- end -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from sidiff.evaluation.headlines import (
    NONE,
    Headline,
    headline_rows,
    label,
    markdown_table,
    rate_text,
)
from sidiff.evaluation.settings import CONFIGURED

from .store import ROOT, read, stored_lines

Kept = dict[str, Any]
BLOCK = re.compile(r"(<!-- table: (\w+)/(\w+) -->\n).*?(<!-- end -->)", re.DOTALL)
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
MAIN = ("as_configured", "items", "cpd", "two_stage", "one_pass")
"""Decoders of the short table, which also has the baselines."""

_cached = cache(read)


def fill(page: Path) -> str:
    """Return the text of a page with all of its tables written anew."""

    def table(found: re.Match[str]) -> str:
        return f"{found[1]}{TABLES[found[3]](_cached(found[2]))}\n{found[4]}"

    return BLOCK.sub(table, page.read_text())


def _run(kept: Kept) -> str:
    return f"`{kept['command']}` at commit `{kept['commit']}`, {kept['version'][:10]}."


def _short(kept: Kept) -> str:
    return _methods(
        line
        for line in stored_lines(kept)
        if line.kind == "baseline" or line.method in MAIN
    )


def _everybody(kept: Kept) -> str:
    """Methods that ranked for all users."""
    return _methods(line for line in stored_lines(kept) if line.everybody)


def _all(kept: Kept) -> str:
    return _methods(stored_lines(kept))


def _methods(lines: Iterable[Headline]) -> str:
    titles, *rows = headline_rows(list(lines))
    return markdown_table(titles, rows)


def _decoders(kept: Kept) -> str:
    """Searches by digits: what they cost, and what they lose to the first reference."""
    lines = [line for line in stored_lines(kept) if line.denoiser_calls]
    methods = {line.method for line in lines}
    first = next(name for name in kept["differences"] if name in methods)
    to_first = {row["method"]: row for row in kept["differences"][first]}
    lines.sort(key=lambda line: (-(line.denoiser_calls or 0), -line.ndcg.mean))
    return markdown_table(
        [
            "decoder",
            "users",
            "calls",
            "users/s",
            "N@10",
            f"less that of {label(first)}",
        ],
        (
            [
                line.label,
                f"{line.users:,}",
                f"{line.denoiser_calls:.3g}",
                rate_text(line.users_per_second),
                _figure(line.ndcg.mean),
                _difference(to_first.get(line.method)),
            ]
            for line in lines
            if line.kind == "decoder" and line.method != CONFIGURED
        ),
    )


def _ablation(kept: Kept) -> str:
    """Trainings, and what each loses against the first."""
    found = kept["ablation"]
    [(first, rows)] = found["differences"].items()
    to_first = {row["method"]: row for row in rows}
    lines = stored_lines(found)
    k = lines[0].cutoff
    return markdown_table(
        ["training", "users", f"N@{k}", f"SID N@{k}", f"less that of {label(first)}"],
        (
            [
                line.label,
                f"{line.users:,}",
                str(line.ndcg),
                _figure(line.sid_ndcg.mean),
                _difference(to_first.get(line.method)),
            ]
            for line in lines
        ),
    )


def _course(kept: Kept) -> str:
    """Loss of every epoch, and the validation scores of those that have them."""
    titles = {
        "epoch": "epoch",
        "train/loss": "loss",
        "validation/sid/ndcg_at_10": "SID N@10",
        "validation/item/ndcg_at_10": "N@10",
    }
    return markdown_table(
        list(titles.values()),
        (
            [
                str(row["epoch"]),
                f"{row['train/loss']:.3f}",
                *(_figure_or_none(row.get(name)) for name in list(titles)[2:]),
            ]
            for row in kept["course"]
        ),
    )


def _reproduction(kept: Kept) -> str:
    """A paper's figures, those of others who ran it again, and those of stored runs."""
    names = [f"{figure}_at_{k}" for k in (5, 10) for figure in ("recall", "ndcg")]
    return markdown_table(
        ["", "level", "R@5", "N@5", "R@10", "N@10"],
        (
            [
                row["who"],
                row["level"],
                *map(
                    _figure_or_none,
                    row.get("figures")
                    or [
                        _cached(row["run"])["levels"][f"test/{row['level']}/{name}"]
                        for name in names
                    ],
                ),
            ]
            for row in kept["rows"]
        ),
    )


def _loads(kept: Kept) -> str:
    """Servers under load, as ``benchmarks.serving --json`` leaves them."""
    return markdown_table(
        [
            *("server", "clients", "requests", "failed", "users/s"),
            *("p50 ms", "p95 ms", "p99 ms", "MiB before, after, peak"),
        ],
        (
            [
                row["server"],
                f"{row['clients']}",
                f"{row['requests']:,}",
                f"{row['errors']:,}",
                rate_text(row["users_per_second"]),
                *(f"{row[name]:.3g}" for name in ("p50_ms", "p95_ms", "p99_ms")),
                f"{row['mib_before']:,}, {row['mib_after']:,}, {row['mib_peak']:,}",
            ]
            for row in kept["serving"]
        ),
    )


def _differences(kept: Kept) -> str:
    """Methods that ranked for all users, against SASRec."""
    every = {line.method for line in stored_lines(kept) if line.everybody}
    rows = [row for row in kept["differences"]["sasrec"] if row["method"] in every]
    rows.sort(key=lambda row: -row["mean"])
    return markdown_table(
        ["method", "users of both", "N@10 less SASRec's"],
        ([label(row["method"]), f"{row['users']:,}", _difference(row)] for row in rows),
    )


def _sids(kept: Kept) -> str:
    sids = kept["sids"]
    entropies = [
        value for name, value in sids.items() if name.startswith("entropy_bits_digit_")
    ]
    return markdown_table(
        ["items", "digits", "codes", "distinct SIDs", "moved by the repair", "bits"],
        [
            [
                f"{sids['items']:,}",
                str(sids["digits"]),
                str(sids["codebook_size"]),
                f"{sids['distinct_sids']:,}",
                f"{sids['moved_items']:,}",
                ", ".join(f"{bits:.2f}" for bits in entropies),
            ]
        ],
    )


def _neighbours(kept: Kept) -> str:
    digits = len(kept["neighbours"][0]["codes"])
    return markdown_table(
        ["item", *(f"digit {number}" for number in range(1, digits + 1))],
        (
            [
                item["title"],
                *(
                    f"**{code}**" if same else str(code)
                    for code, same in zip(item["codes"], item["same"], strict=True)
                ),
            ]
            for item in kept["neighbours"]
        ),
    )


def _views(kept: Kept) -> str:
    """Views of the walked target as the network's own confidence would make them."""
    walk = kept["walk"]
    codes = walk["target_codes"]
    sure = [max(row) for row in walk["steps"][0]["probabilities"]]
    order = sorted(range(len(codes)), key=lambda digit: sure[digit])
    rows = []
    for view in range(1, len(codes) + 1):
        masked = order[:view]
        seen = ["?" if digit in masked else str(c) for digit, c in enumerate(codes)]
        rows.append([str(view), str(view), f"`{' '.join(seen)}`"])
    head = ", ".join(f"digit {digit + 1} {sure[digit]:.2f}" for digit in order)
    return f"Confidences: {head}.\n\n" + markdown_table(
        ["view", "masked", "seen"], rows
    )


def _walk(kept: Kept) -> str:
    walk = kept["walk"]
    rows = []
    for number, step in enumerate(walk["steps"], 1):
        state = ["?" if code < 0 else str(code) for code in step["filled"]]
        chosen = step["probabilities"][step["digit"]][step["code"]]
        rows.append(
            [
                str(number),
                f"`{' '.join(state)}`",
                f"{step['digit'] + 1}",
                f"{step['code']}",
                f"{chosen:.3f}",
            ]
        )
    took = " ".join(map(str, walk["target_codes"]))
    return (
        f"History: {'; '.join(walk['history'])}. Taken next: {walk['target']} "
        f"(`{took}`).\n\n"
        + markdown_table(
            ["call", "state", "fills digit", "with code", "probability"], rows
        )
    )


def _list(kept: Kept) -> str:
    made = kept["list"]
    return markdown_table(
        ["item", "network", "transitions", "both"],
        (
            [row["title"], *(_figure(row[n]) for n in ("network", "followed", "both"))]
            for row in made["rows"]
        ),
    )


TABLES: dict[str, Callable[[Kept], str]] = {
    "run": _run,
    "short": _short,
    "everybody": _everybody,
    "all": _all,
    "decoders": _decoders,
    "ablation": _ablation,
    "course": _course,
    "reproduction": _reproduction,
    "loads": _loads,
    "differences": _differences,
    "sids": _sids,
    "neighbours": _neighbours,
    "views": _views,
    "walk": _walk,
    "list": _list,
}


def _figure(value: float) -> str:
    return f"{value:.4f}"


def _figure_or_none(value: float | None) -> str:
    return NONE if value is None else _figure(value)


def _difference(row: Kept | None) -> str:
    if row is None:
        return NONE
    return f"{row['mean']:+.4f} [{row['low']:+.4f}, {row['high']:+.4f}]"
