"""Bad input and bad settings: each wrong thing is one clear sentence.

The table is in ``bad_parameters``, ``bad_files`` and ``bad_artefacts``; a few of its
kinds are typed as commands in ``test_command_line``.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import yaml
from annotated_types import Ge, Gt, Le, Lt, MaxLen
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sidiff.cli import find_problem
from sidiff.errors import SidiffError
from sidiff.hooks import _check_cluster, _check_devices
from sidiff.legal import legal, places
from sidiff.parameters import GROUPS, validate

from ..settings import CONF, settings
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
    _check_devices({"training": {"device": "cuda", "engine": "ray"}}, {"denoiser"})


def test_an_absent_cluster_is_missed_before_the_first_node() -> None:
    with pytest.raises(SidiffError, match="no Ray cluster to join"):
        _check_cluster({"training": {"engine": "ray"}}, "127.0.0.1:1")
    _check_cluster({"training": {"engine": "local"}}, "127.0.0.1:1")


def parameters() -> Iterator[tuple[str, FieldInfo]]:
    for group, model in GROUPS.items():
        for name, field in places(group, model):
            if not is_group(field):
                yield name, field


def is_group(field: FieldInfo) -> bool:
    kind = field.annotation
    return isinstance(kind, type) and issubclass(kind, BaseModel)


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
        if isinstance(bound, MaxLen) and kind is str:
            wrong.append("x" * (bound.max_length + 1))
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
        assert f"must be {legal(field)}" in str(problem)


def unbounded(field: FieldInfo) -> bool:
    """Whether a number has no end on one side, or a text or list no length."""
    kind = field.annotation
    has = {type(bound) for bound in field.metadata}
    if kind in (int, float):
        return not (has & {Ge, Gt} and has & {Le, Lt})
    if kind is str:
        return MaxLen not in has and not field.description
    inner = [
        part for part in get_args(kind) if isinstance(part, type) or get_args(part)
    ]
    if get_origin(kind) is list and MaxLen not in has:
        return True
    if get_origin(kind) is dict:
        # Names of any kind are those of parameters, and checked as such.
        inner = [part for part in inner if part is not str]
    return any(unbounded(FieldInfo.from_annotation(part)) for part in inner)


@pytest.mark.parametrize("name", FIELDS)
def test_every_parameter_has_bounds_or_choices(name: str) -> None:
    assert not unbounded(FIELDS[name])


def test_every_value_of_the_configuration_is_a_parameter() -> None:
    """And the other way round, so that the two tests above leave none out."""

    def leaves(name: str, value: Any) -> Iterator[str]:
        if isinstance(value, dict) and name not in FIELDS:
            for part, below in value.items():
                yield from leaves(f"{name}.{part}", below)
        else:
            yield name

    found = [leaf for group in GROUPS for leaf in leaves(group, settings(group))]
    assert sorted(found) == sorted(FIELDS)


def comments() -> dict[str, str]:
    """What stands above and beside every value of conf/base/parameters, by its name."""
    found: dict[str, str] = {}

    def walk(name: str, node: Any, lines: list[str]) -> None:
        for key, value in node.value:
            place = f"{name}.{key.value}".lstrip(".")
            line = key.start_mark.line
            above = line
            while lines[above - 1].lstrip().startswith("#"):
                above -= 1
            text = [part.partition("#")[2] for part in lines[above : line + 1]]
            found[place] = " ".join(" ".join(text).split())
            if isinstance(value, yaml.MappingNode):
                walk(place, value, lines)

    for file in sorted((CONF / "base" / "parameters").glob("*.yml")):
        text = file.read_text()
        walk("", yaml.compose(text, Loader=yaml.SafeLoader), text.splitlines())
    return found


COMMENTS = comments()
ELSEWHERE = (
    "training.validation.decoding",
    "training.auxiliary",
    "evaluation.decoders",
)
"""Groups whose ranges stand in a comment on the whole group or another one."""
NUMBERS = [
    name
    for name, field in FIELDS.items()
    if field.annotation in (int, float) and not name.startswith(ELSEWHERE)
]


@pytest.mark.parametrize("name", NUMBERS)
def test_the_comment_on_a_number_says_how_large_it_may_be(name: str) -> None:
    (bound,) = [b for b in FIELDS[name].metadata if isinstance(b, Le | Lt)]
    high = bound.le if isinstance(bound, Le) else bound.lt
    high -= int(isinstance(high, int) and isinstance(bound, Lt))
    words = f"{int(high):,}" if high == int(high) else f"{high:,}"
    assert re.search(rf"(?<![\d,.]){words}(?![\d,]*\d)", COMMENTS[name]), words
