"""``kedro run --pipeline=full``, killed again and again, ends as if it had not been.

``pytest -m slow tests/crashes`` injects CRASHES kills; the normal suite two.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from tests.crashes.harness import (
    RESULTS,
    SMALL,
    Course,
    leftovers,
    make_project,
    results,
    run,
)

logger = logging.getLogger(__name__)

CRASHES, EPISODES = 56, 7


def differing(project: Path, one: str, other: str) -> list[str]:
    """Names of results that are not the same bytes."""
    expected, found = results(project, one), results(project, other)
    assert any("metrics.json" in name for name in expected)
    return [name for name in RESULTS if expected.get(name) != found.get(name)]


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_many_kills(tmp_path: Path) -> None:
    """Each episode: kills anywhere, one after the other, then a run to its end."""
    project = make_project(tmp_path, SMALL)
    plain = run(project, "plain")
    assert plain.code == 0, "".join(plain.output)
    nodes = [*plain.nodes, "after the last node"]
    durations = [end - begin for begin, end in pairwise([0.0, *plain.ends])]
    chance = random.Random(2024)
    places: Counter[str] = Counter()
    lost = []
    # Every node in turn, so that the short ones are hit as well.
    turns = [i % len(durations) for i in range(CRASHES)]
    chance.shuffle(turns)
    for episode in range(EPISODES):
        name = f"crashed_{episode}"
        for node in turns[episode::EPISODES]:
            seconds = durations[node] * chance.random()
            course = run(project, name, node, seconds)
            if course.code == -9:
                places[nodes[len(course.nodes)]] += 1
            elif course.code != 0:
                lost.append(f"{name}: {''.join(course.output[-5:])}")
        last = run(project, name)
        if last.code != 0:
            lost.append(f"{name}: {''.join(last.output[-5:])}")
        else:
            lost += [f"{name}: {file}" for file in differing(project, "plain", name)]
            lost += [f"{name}: {path} left" for path in leftovers(project, name)]
        logger.info(
            "Episode %d of %d: %d kills so far, %d losses",
            episode + 1,
            EPISODES,
            places.total(),
            len(lost),
        )
    logger.info("Killed in: %s", dict(places.most_common()))
    assert not lost, lost
    assert places.total() >= 50


def said(course: Course, text: str) -> bool:
    return text in " ".join("".join(course.output).split())


def test_two_kills(tmp_path: Path) -> None:
    """One while texts are encoded, one while the denoiser is trained."""
    project = make_project(tmp_path, SMALL)
    options = ("--to-nodes=evaluate_denoiser",)
    plain = run(project, "plain", options=options)
    assert plain.code == 0, "".join(plain.output)
    for name, written in (
        ("embed_items", "04_feature/crashed/embedding_shards/*"),
        ("train_denoiser", "06_models/crashed/checkpoints/denoiser*.snapshot"),
    ):
        place = plain.nodes.index(name)
        crashed = run(project, "crashed", place, 0.0, options, written)
        assert crashed.code == -9
        assert len(crashed.nodes) == place
    last = run(project, "crashed", options=options)
    assert last.code == 0, "".join(last.output)
    assert said(last, "Denoiser training goes on from its checkpoint")
    assert differing(project, "plain", "crashed") == []
    assert leftovers(project, "crashed") == []
