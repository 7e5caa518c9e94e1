"""The notebooks run against the results of a real run, and say nothing else."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

from .conftest import ROOT

FOLDER = ROOT / "notebooks"
NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
SAYS = {
    "denoising": "'ends at'",
    "meaning": "lift",
    "runs": "test/item/ndcg_at_10",
    "your_history": "semantic ID",
}
"""What the results of a notebook must show."""


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_and_is_quiet(
    project: Path, full_run: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    shutil.copytree(FOLDER, project / "notebooks", dirs_exist_ok=True)
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    client = NotebookClient(
        notebook,
        timeout=120,
        resources={"metadata": {"path": str(project / "notebooks")}},
    )
    client.execute()
    outputs: list[Any] = [
        output
        for cell in notebook.cells
        if cell.cell_type == "code"
        for output in cell.outputs
    ]
    noise = [out for out in outputs if out.get("name") == "stderr"]
    assert noise == []
    shown = " ".join(out.get("data", {}).get("text/plain", "") for out in outputs)
    assert SAYS[name] in shown
    # Nothing of a run is left beside the notebooks.
    left = {path.name for path in (project / "notebooks").iterdir()}
    assert left - {"__pycache__"} == {path.name for path in FOLDER.iterdir()} - {
        "__pycache__"
    }
