"""Legal values of a parameter in words, told from its model; and wrong ones.

Pydantic's own messages name the one bound that is broken, in its own terms. A person
wants the whole range, under the name that stands in ``conf/``.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sidiff.registry import Choice, either

_SHOWN = 80
"""Characters shown of a wrong value."""
_MEANT = 3
"""Names offered, at most, in the place of an unknown one."""
_BOUNDS = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
_PLAIN: dict[Any, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
}
# A name that begins with a dot is relative to the group that a validator belongs to.
_RELATIVE = re.compile(r"(?<![\w.\]])\.(?=[a-z_])")


def problems(name: str, model: type[BaseModel], error: ValidationError) -> list[str]:
    """Say what is wrong with a group of parameters, one clause per wrong thing.

    Messages of the model's own validators are taken as they are, except that a name
    in them that begins with a dot (``.optimizer.learning_rate``) gets the place of the
    group before it.

    Args:
        name: the group's place in the configuration, as a user writes it; empty for
            a model that has none.
        model: the group.
        error: raised by it.
    """
    return list(dict.fromkeys(_problem(name, model, one) for one in error.errors()))


def placed(name: str, message: str) -> str:
    """Put the place ``name`` before the relative names of a validator's message."""
    return _RELATIVE.sub(f"{name}." if name else "", message)


def legal(field: FieldInfo) -> str:
    """Say what a field may be: its type with its bounds, or its choices."""
    kind = field.annotation
    origin, parts = get_origin(kind), get_args(kind)
    named = [item.names for item in field.metadata if isinstance(item, Choice)]
    if named or origin is Literal:
        return either(named[0] if named else list(parts))
    if field.description or kind in _PLAIN:
        return field.description or f"{_PLAIN[kind]} {_range(field)}".rstrip()
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"a group of {', '.join(kind.model_fields)}"
    inside = [legal(FieldInfo.from_annotation(part)) for part in parts if part != Any]
    if origin in (Union, types.UnionType):
        # "null" first: it is the short one.
        return ", or ".join(sorted(inside, key=lambda words: words != "null"))
    if origin is dict and Any in parts:
        return "a group of names and values"
    what, each = ("list", "each") if origin is list else ("group", "each name with")
    return ", ".join([f"a {what} {_range(field)}".rstrip(), f"{each} {inside[-1]}"])


def meant(name: str, *near: Iterable[str]) -> str:
    """Offer names in the place of an unknown one.

    Args:
        name: the unknown one.
        near: dotted names that there are, the nearest first.
    """
    listed = [list(names) for names in near]
    for names in listed:
        last = [one.rpartition(".")[2] for one in names]
        for close in get_close_matches(name, last, n=1):
            same = [one for one, end in zip(names, last, strict=True) if end == close]
            return f"did you mean {either(same[:_MEANT])}?"
    return f"known: {', '.join(one.rpartition('.')[2] for one in listed[0])}"


def places(name: str, model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Every parameter inside a group, dotted, with groups before what is in them."""
    for part, field in model.model_fields.items():
        place = _join(name, part)
        yield place, field
        if isinstance(field.annotation, type) and issubclass(
            field.annotation, BaseModel
        ):
            yield from places(place, field.annotation)


def holds_text(model: type[BaseModel], place: str, text: str) -> bool:
    """Test that a parameter takes ``text``, as it was typed, for a text.

    ``null`` is none where there may be none. No parameter stands at an unknown place.
    """
    field: FieldInfo | None = FieldInfo(annotation=model)
    for step in place.split("."):
        field = _inside(field, step) if field is not None else None
    kind = field.annotation if field is not None else None
    several = get_origin(kind) in (Union, types.UnionType)
    parts = get_args(kind) if several else (kind,)
    kinds = {FieldInfo.from_annotation(part).annotation for part in parts}
    null = type(None) in kinds and text.lower() in ("null", "~")
    return kinds - {type(None)} == {str} and not null


def _problem(name: str, model: type[BaseModel], detail: Any) -> str:
    field, path = FieldInfo(annotation=model), name
    kind, steps = detail["type"], list(detail["loc"])
    unknown = steps.pop() if kind == "extra_forbidden" else ""
    unknown_key = steps[-1:] == ["[key]"]
    for step in steps[:-2] if unknown_key else steps:
        inside = _inside(field, step)
        if inside is None:
            break  # inside a union, which is one choice for the user
        field, path = inside, _join(path, step)
    if kind == "value_error":
        return placed(path, str(detail["msg"]).removeprefix("Value error, "))
    if kind == "missing":
        return f"{path} is missing and must be {legal(field)}"
    if unknown:
        known = getattr(field.annotation, "model_fields", {})
        beside = [_join(path, part) for part in known]
        top = path.partition(".")[0]
        around = [one for one, _ in places(name, model) if one.startswith(top)]
        hint = meant(unknown, beside, around)
        return f"{_join(path, unknown)} is not a parameter ({hint})"
    wrong = shown(detail["input"], quoted=not unknown_key)
    if unknown_key:
        keys = FieldInfo.from_annotation(get_args(field.annotation)[0])
        return f"{path} names {wrong}, but its names must be {legal(keys)}"
    return f"{path} is {wrong}, but must be {legal(field)}"


def _inside(field: FieldInfo, step: str | int) -> FieldInfo | None:
    """The field below one; None where the step is Pydantic's and not the user's."""
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields.get(str(step))
    if get_origin(kind) in (list, dict):
        return FieldInfo.from_annotation(get_args(kind)[-1])
    return None


def _join(path: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def _range(field: FieldInfo) -> str:
    bounds = {
        name: getattr(item, name)
        for item in field.metadata
        for name in ("min_length", *_BOUNDS)
        if hasattr(item, name)
    }
    if "min_length" in bounds:
        return "that is not empty"
    if bounds.keys() == {"ge", "le"}:
        return f"from {bounds['ge']:,} to {bounds['le']:,}"
    return " and ".join(f"{_BOUNDS[name]} {bound:,}" for name, bound in bounds.items())


def shown(value: Any, *, quoted: bool = True) -> str:
    """A value as it stands in YAML."""
    if isinstance(value, str) and not quoted:
        text = value
    elif isinstance(value, float) and value != value:  # noqa: PLR0124 (not a number)
        text = ".nan"
    elif value in (float("inf"), float("-inf")):
        text = ".inf" if value > 0 else "-.inf"
    else:
        text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
