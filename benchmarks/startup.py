"""Start of ``kedro run``: wall and CPU seconds of sidiff and of an empty Kedro project.

Both projects have the same plugins, track to SQLite and run one node: a function that
returns 1, and the generation of a sample shop of 50 users.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.common import Row, hardware, medians, paired, parser, publish

ROOT = Path(__file__).parents[1]
EMPTY = {
    "pyproject.toml": """
[tool.kedro]
package_name = "empty"
project_name = "empty"
kedro_init_version = "KEDRO"
source_dir = "src"
""",
    "src/empty/__init__.py": "",
    "src/empty/settings.py": "",
    "src/empty/pipeline_registry.py": """
from kedro.pipeline import Node, Pipeline


def one():
    return 1


def register_pipelines():
    return {"__default__": Pipeline([Node(one, None, "result", name="one")])}
""",
    "conf/base/catalog.yml": "",
    "conf/base/parameters.yml": "",
    "conf/local/.gitkeep": "",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and publish."""
    settings = parser("startup", __doc__).parse_args(arguments)
    machine = hardware()
    with tempfile.TemporaryDirectory() as name:
        folders = {"empty": Path(name) / "empty", "sidiff": Path(name) / "sidiff"}
        _make_empty(folders["empty"])
        for part in ("conf", "src"):
            shutil.copytree(ROOT / part, folders["sidiff"] / part)
        shutil.copy(ROOT / "pyproject.toml", folders["sidiff"])
        commands = {
            "empty": ["run"],
            "sidiff": [
                *("run", "--pipeline=sample_data"),
                "--params=sample_data.users=50,sample_data.items=60",
            ],
        }
        cpu: dict[str, list[float]] = {name: [] for name in commands}
        contestants = {
            name: _starter(folders[name], command, cpu[name])
            for name, command in commands.items()
        }
        for contestant in contestants.values():
            contestant()  # the first run makes the tracking database
        for measured in cpu.values():
            measured.clear()
        wall = medians(paired(contestants, settings.rounds))
    cpu_seconds = medians(cpu)
    rows: list[Row] = [
        {
            "project": name,
            "wall_seconds": wall[name],
            "cpu_seconds": cpu_seconds[name],
        }
        for name in commands
    ]
    figures = {
        "startup": rows,
        "added_wall_seconds": wall["sidiff"] - wall["empty"],
        "added_cpu_seconds": cpu_seconds["sidiff"] - cpu_seconds["empty"],
    }
    publish(settings, machine, figures)


def _make_empty(folder: Path) -> None:
    from kedro import __version__  # noqa: PLC0415 (slow to import)

    for name, text in EMPTY.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text.replace("KEDRO", __version__))
    tracking = (ROOT / "conf/base/mlflow.yml").read_text()
    # An empty project has no resolver of ours.
    tracking = tracking.replace("${in_project:mlflow.db}", "mlflow.db")
    (folder / "conf/base/mlflow.yml").write_text(tracking)


def _starter(folder: Path, command: list[str], cpu: list[float]) -> Callable[[], float]:
    """Run Kedro in ``folder`` once; wall-clock seconds, and CPU seconds to ``cpu``."""
    # Each project by its own folder, not by what is installed.
    environment = dict(os.environ) | {"PYTHONPATH": str(folder / "src")}

    def contestant() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.perf_counter()
        subprocess.run(  # noqa: S603 (a command of this file)
            [sys.executable, "-m", "kedro", *command],
            cwd=folder,
            env=environment,
            check=True,
            capture_output=True,
        )
        seconds = time.perf_counter() - began
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        cpu.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
        return seconds

    return contestant


if __name__ == "__main__":
    main()
