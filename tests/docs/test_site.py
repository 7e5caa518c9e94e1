"""README and docs: tables of the stored run, links, a site that builds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pages.store import DATA, ROOT, by_items
from pages.tables import BLOCK, PAGES, fill
from sidiff.errors import SidiffError
from sidiff.sids.table import SidTable

TEXTS = [*PAGES, *(ROOT / name for name in ("CONTRIBUTING.md", "CHANGELOG.md"))]
NOT_THERE = re.compile(r"""<(?:script|img|link|iframe)[^>]*(?:src|href)=["']?https?:""")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def test_tables_are_those_of_the_stored_runs() -> None:
    for page in PAGES:
        assert page.read_text() == fill(page), f"run python -m pages ({page.name})"


def test_every_stored_run_is_shown() -> None:
    shown = {found[2] for page in PAGES for found in BLOCK.finditer(page.read_text())}
    assert shown == {path.stem for path in DATA.glob("*.json")}


def test_a_table_is_written_anew(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- table: sample/sids -->\nold\n<!-- end -->\nb\n")
    filled = fill(page)
    assert "old" not in filled
    assert filled.startswith("a\n<!-- table: sample/sids -->\n| items |")
    assert filled.endswith("|\n<!-- end -->\nb\n")


def test_semantic_ids_of_another_table_are_named_by_their_items() -> None:
    items = pl.Series([f"i{item}" for item in range(4)])
    source = SidTable(np.array([[3, 0], [1, 1], [0, 2], [2, 2]], np.uint16), items, 4)
    reference = SidTable(
        np.array([[0, 0], [3, 3], [2, 2], [1, 1]], np.uint16), items, 4
    )
    listed = np.array([[2, 0, -1], [1, 3, 2]])
    sids = np.where(listed < 0, -1, source.groups().sid_of_item[listed])
    results = pl.DataFrame({"sids": sids})
    expected = np.where(listed < 0, -1, reference.groups().sid_of_item[listed])
    found = by_items(results, source, reference)["sids"].to_numpy()
    np.testing.assert_array_equal(found, expected)
    shared = SidTable(np.zeros((4, 2), np.uint16), items, 4)
    with pytest.raises(SidiffError, match="share semantic IDs"):
        by_items(results, shared, reference)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in LINK.findall(page.read_text()):
        if not target.startswith(("http", "mailto")):
            assert (page.parent / target).exists(), target


def test_results_are_short() -> None:
    assert len((ROOT / "docs" / "results.md").read_text().splitlines()) <= 150


def test_the_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    done = subprocess.run(  # noqa: S603 (our own arguments)
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    built = list(tmp_path.rglob("*.html"))
    assert len(built) > len(list((ROOT / "docs").glob("*.md")))
    for path in built:
        assert not NOT_THERE.search(path.read_text()), path.name
    formulas = (tmp_path / "concepts" / "noising.html").read_text()
    assert "<math" in formulas
    assert "arithmatex" not in formulas
