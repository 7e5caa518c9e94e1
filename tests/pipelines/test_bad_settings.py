"""Bad input and bad settings: each wrong thing is one clear sentence.

The table is in ``bad_parameters``, ``bad_files`` and ``bad_artefacts``; a few of its
kinds are typed as commands in ``test_command_line``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sidiff.cli import find_problem
from sidiff.configuration import GROUPS, validate
from sidiff.errors import SidiffError
from sidiff.hooks import _check_cluster, _check_devices

from ..settings import model, settings
from . import bad_artefacts, bad_files, bad_parameters
from .bad_cases import Case, Place, assert_one_sentence
from .stored_shops import StoredShop, make_shop

CASES = [*bad_parameters.CASES, *bad_files.CASES, *bad_artefacts.CASES]


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> list[StoredShop]:
    return [make_shop(tmp_path_factory.mktemp("shops"), seed) for seed in (1, 2)]


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_each_wrong_thing_is_one_sentence(
    case: Case,
    project: Path,
    tmp_path: Path,
    shops: list[StoredShop],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    place = Place(project, tmp_path, *shops)
    with pytest.raises(Exception) as raised:  # noqa: PT011 (which one is looked at next)
        case.spoil(place)
    problem = find_problem(raised.value)
    if problem is None:
        raise raised.value
    assert_one_sentence(str(problem))
    for words in case.expected(place):
        assert words in str(problem), (words, str(problem))


def test_no_case_stands_twice_in_the_table() -> None:
    assert len({case.name for case in CASES}) == len(CASES) >= 60


def test_what_is_not_spoilt_is_accepted(
    project: Path, tmp_path: Path, shops: list[StoredShop]
) -> None:
    """The cases are refused for what is wrong with them, and not in any case."""
    place = Place(project, tmp_path, *shops)
    bad_parameters.load(place, None)
    for action in bad_artefacts.UNSPOILT:
        action(place)


def test_a_cluster_has_gpus_of_its_own() -> None:
    """This machine need not have one."""
    training = model("training", {"device": "cuda", "engine": "ray", "workers": 1})
    _check_devices({"training": training}, {"denoiser"})


def test_an_absent_cluster_is_missed_before_the_first_node() -> None:
    with pytest.raises(SidiffError, match="no Ray cluster to join"):
        _check_cluster(
            {"training": model("training", {"engine": "ray", "workers": 1})},
            "127.0.0.1:1",
        )
    _check_cluster({"training": model("training")}, "127.0.0.1:1")


def parameters() -> Iterator[tuple[str, FieldInfo]]:
    for group, its_model in GROUPS.items():
        yield from inside(group, its_model)


def inside(name: str, group: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    for part, field in group.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from inside(f"{name}.{part}", kind)
        else:
            yield f"{name}.{part}", field


FIELDS = dict(parameters())


def spoilt(name: str, value: Any) -> dict[str, Any]:
    """All groups of conf/base, with one value changed."""
    group, _, rest = name.partition(".")
    return {other: settings(other) for other in GROUPS} | {
        group: settings(group, {rest: value})
    }


def outside(field: FieldInfo) -> list[Any]:
    """Values that a field must refuse, told from its type and bounds."""
    kind, wrong = field.annotation, []
    nullable = type(None) in get_args(kind)
    if not nullable:
        wrong.append(None)
    wrong.append({"an": "object"} if get_origin(kind) is not dict else 3)
    if kind in (int, float):
        wrong += ["3", True, math.nan, math.inf, -math.inf]
    if kind is int:
        wrong.append(3.5)
    if kind in (str, bool):
        wrong.append(17)
    for bound in field.metadata:
        integer = kind is int
        if isinstance(bound, Ge):
            low = bound.ge
            wrong.append(low - 1 if integer else math.nextafter(low, -math.inf))
        if isinstance(bound, Le):
            high = bound.le
            wrong.append(high + 1 if integer else math.nextafter(high, math.inf))
        if isinstance(bound, Gt):
            wrong.append(bound.gt)
        if isinstance(bound, Lt):
            wrong.append(bound.lt)
        if isinstance(bound, MinLen):
            wrong.append("" if kind is str else [])
    return wrong


@pytest.mark.parametrize("name", FIELDS)
def test_just_outside_its_bounds_every_parameter_is_refused(name: str) -> None:
    field = FIELDS[name]
    for value in outside(field):
        with pytest.raises(Exception) as raised:  # noqa: PT011 (which one comes next)
            validate(spoilt(name, value))
        problem = find_problem(raised.value)
        assert problem is not None, (value, raised.value)
        assert_one_sentence(str(problem))
        assert f"{name} is " in str(problem)
        assert "but must " in str(problem)


def test_every_value_of_the_configuration_is_a_parameter() -> None:
    """And the other way round, so that the test above leaves none out."""

    def leaves(name: str, value: Any) -> Iterator[str]:
        if isinstance(value, dict) and name not in FIELDS:
            for part, below in value.items():
                yield from leaves(f"{name}.{part}", below)
        else:
            yield name

    found = [leaf for group in GROUPS for leaf in leaves(group, settings(group))]
    assert sorted(found) == sorted(FIELDS)
