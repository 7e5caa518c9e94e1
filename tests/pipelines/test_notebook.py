"""The notebook runs against the results of a real run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from .conftest import ROOT

RUN_CELLS = """
import json, sys
from IPython.core.interactiveshell import InteractiveShell

shell = InteractiveShell.instance()
for cell in json.load(open(sys.argv[1]))["cells"]:
    if cell["cell_type"] == "code":
        shell.run_cell("".join(cell["source"])).raise_error()
print("ranked", len(shell.user_ns["recommended"]))
"""


def test_every_cell_runs_without_a_warning(project: Path, full_run: str) -> None:
    folder = project / "notebooks"
    folder.mkdir()
    paths = [str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(  # noqa: S603 (our own arguments)
        [sys.executable, "-c", RUN_CELLS, str(ROOT / "notebooks" / "explore.ipynb")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith("ranked 10"), full_run
    assert "warning" not in (done.stdout + done.stderr).lower()
    assert list(folder.iterdir()) == []
