"""README and docs: tables of the stored run, links, a site that builds."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pages.store import DATA, ROOT
from pages.tables import BLOCK, PAGES, fill

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
