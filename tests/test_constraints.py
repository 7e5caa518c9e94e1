from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]


def test_the_versions_of_the_figures_are_some_that_the_project_takes() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pinned = [Requirement(line) for line in lines if not line.startswith("#")]
    versions = {}
    for one in pinned:
        (part,) = one.specifier
        assert part.operator == "=="
        versions[canonicalize_name(one.name)] = Version(part.version)
    assert len(versions) == len(pinned)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for needed in map(Requirement, project["dependencies"]):
        if needed.marker is None or needed.marker.evaluate(
            {"sys_platform": "linux", "platform_machine": "x86_64"}
        ):
            assert versions[canonicalize_name(needed.name)] in needed.specifier, needed
