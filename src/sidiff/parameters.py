"""Base of every group of parameters, and the kinds of values that groups share.

Each group is in the ``settings.py`` of the package that reads it. Values live in
``conf/``, where each has a comment with its unit and effect. No group holds a
default, so that a value has exactly one home.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
)

from sidiff.parameter_errors import problems
from sidiff.registry import wrong


def matching(pattern: str, words: str) -> AfterValidator:
    """Validator of texts that match ``pattern``; ``words`` describe it in messages."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise wrong(f"be {words}")
        return text

    return AfterValidator(check)


Share = Annotated[float, Field(ge=0, le=1)]
Chance = Annotated[float, Field(ge=0, lt=1)]
Weight = Annotated[float, Field(ge=0)]
AboveZero = Annotated[float, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
# Stored in 16 bits.
Codes = Annotated[int, Field(ge=2, le=2**16)]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1)]
Seeds = Annotated[list[Seed], Field(min_length=1)]
Text = Annotated[str, Field(min_length=1)]
Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["float32", "bfloat16"]
MethodName = Annotated[
    str,
    matching(
        "[a-z][a-z0-9_]{0,39}", "1 to 40 small letters, digits and _, a letter first"
    ),
]
Changes = Annotated[
    dict[MethodName, dict[str, Any]],
    # null: an environment leaves out what it would inherit.
    BeforeValidator(
        lambda named: (
            {name: value for name, value in named.items() if value is not None}
            if isinstance(named, Mapping)
            else named
        )
    ),
    Field(min_length=1),
]
Group = TypeVar("Group", bound="Parameters")
Key = TypeVar("Key", str, int)


class Parameters(BaseModel):
    """Base of all groups: frozen, and an unknown name is an error.

    Strict, because nodes also take single values from the configuration as they
    stand there: ``"50"`` or ``true`` is no number. A validator's message is a clause in
    which names with a leading dot are relative to its group
    (``sidiff.parameter_errors``).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False
    )


def changed(
    base: Group, changes: Mapping[Key, Mapping[str, Any]], place: str
) -> dict[Key, Group]:
    """``base`` with each of the named ``changes`` laid over it, checked again.

    Args:
        base: checked settings.
        changes: what each variation of them changes.
        place: of a variation in the configuration, with {} for its name.

    Raises:
        ValueError: a changed setting is unknown or invalid.
    """
    result = {}
    for name, values in changes.items():
        settings = overlaid(base.model_dump(), values)
        try:
            result[name] = type(base).model_validate(settings)
        except ValidationError as error:
            clauses = problems(place.format(name), type(base), error)
            raise ValueError("; ".join(clauses)) from error
    return result


def overlaid(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with the values of ``changes``, group inside group."""
    result = dict(base)
    for name, value in changes.items():
        below = result.get(name)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            result[name] = overlaid(below, value)
        else:
            result[name] = value
    return result


def check_distinct(name: str, values: Sequence[Any]) -> None:
    """Refuse a list in which a value stands twice.

    Raises:
        ValueError: names the list and its values.
    """
    if len(set(values)) < len(values):
        listed = ", ".join(str(value) for value in values)
        raise ValueError(f".{name} ({listed}) must all be different")
