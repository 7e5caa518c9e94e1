"""Every command in README and docs is one that this project understands.

A full run of each would take hours; here a command is parsed by Kedro's own command
line, its names are looked up in the pipelines, and its configuration is put together
and checked as at the start of a run. What a command needs beside that (network, files
of the reader) stands in a comment after its block.
"""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
from kedro.framework.session import KedroSession

from pages.tables import PAGES
from sidiff.cli import run
from sidiff.pipeline_registry import register_pipelines

from .conftest import ROOT

FENCE = re.compile(r"^( *)```(?:bash|sh)?\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
REGISTERED = register_pipelines()


def commands() -> list[tuple[str, str]]:
    """Page and command, without comments; one line each."""
    found = []
    # The log names commands of the commits that it is about.
    pages = [page for page in PAGES if page.parent.name != "log"]
    for page in (*pages, ROOT / "CONTRIBUTING.md"):
        for _, block in FENCE.findall(page.read_text()):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.strip().split(" && "):
                    text = re.sub(r"^\$ |\s+#.*", "", part.strip())
                    if re.match(r"([A-Z_]+=\S+ )*(kedro|python|sidiff) ", text):
                        found.append((page.name, text))
    return sorted(set(found))


ALL = commands()


def words_of(command: str) -> list[str]:
    """The words of a command without the variables before it."""
    words = shlex.split(command)
    while re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    return words


KEDRO = [pair for pair in ALL if words_of(pair[1])[:2] == ["kedro", "run"]]
PYTHON = [pair for pair in ALL if words_of(pair[1])[0] == "python"]


def test_commands_are_found() -> None:
    assert ("README.md", "kedro run --pipeline=full") in ALL
    assert len(KEDRO) > 20
    assert len(PYTHON) > 5


@pytest.mark.parametrize(("page", "command"), KEDRO)
def test_a_run_is_understood(
    project: Path, page: str, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDIFF_STORAGE", "memory:///docs")
    context = run.make_context("run", words_of(command)[2:])
    check_names(context)
    env, params = context.params["env"], context.params["params"]
    with KedroSession.create(project, env=env, runtime_params=params) as session:
        session.load_context()


def check_names(context: click.Context) -> None:
    """The pipelines, nodes, tags and namespaces of a command exist."""
    given: dict[str, Any] = context.params
    names = given["pipelines"] or (given["pipeline"] or "full").split(",")
    nodes = [node for name in names for node in REGISTERED[name].nodes]
    for option in ("node_names", "from_nodes", "to_nodes"):
        assert {*given[option]} <= {node.name for node in nodes}
    assert {*given["tags"]} <= {tag for node in nodes for tag in node.tags}
    assert {*given["namespaces"]} <= {node.namespace for node in nodes}
    for name in given["load_versions"] or {}:
        assert any(name in node.inputs for node in nodes)


@pytest.mark.parametrize(("page", "command"), PYTHON)
def test_a_module_exists(page: str, command: str) -> None:
    words = words_of(command)
    if words[1] == "-m":
        assert find_spec(words[2]), page
    else:
        assert (ROOT / words[1]).exists() or words[1] == "-c", page
