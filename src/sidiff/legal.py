"""Legal values of a parameter in words, told from its model; and wrong ones.

Pydantic's own messages name the one bound that is broken, in its own terms. A person
wants the whole range, under the name that stands in ``conf/``.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from sidiff.registry import Choice, either

_SHOWN = 80
"""Characters shown of a wrong value."""
_REPLACED = {
    "evaluation.mixture": "see evaluation.transitions",
    "baselines.markov.share": "see weight and scale beside it",
    "baselines.sasrec_markov.share": "see weight and scale beside it",
}
"""Parameters that went, where the nearest name means something else."""
_BOUNDS = {"ge": "of at least", "gt": "above", "le": "at most", "lt": "below"}
_PLAIN: dict[Any, str] = {
    type(None): "null",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Any: "any value",
}
# A name that begins with a dot is relative to the group that a validator belongs to.
_RELATIVE = re.compile(r"(?<![\w.\]])\.(?=[a-z_])")


def problems(name: str, model: type[BaseModel], error: ValidationError) -> list[str]:
    """What is wrong with the group ``model`` at the place ``name``, a clause each."""
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
    if fields := _fields(kind):
        return f"a group of {', '.join(fields)}"
    inside = [legal(FieldInfo.from_annotation(part)) for part in parts if part != Any]
    if origin in (Union, types.UnionType):
        # "null" first: it is the short one.
        return ", or ".join(sorted(inside, key=lambda words: words != "null"))
    if origin is dict and Any in parts:
        return "a group of names and values"
    what, each = ("list", "each") if origin is list else ("group", "each name with")
    return ", ".join([f"a {what} {_range(field)}".rstrip(), f"{each} {inside[-1]}"])


def holds_text(model: type[BaseModel], place: str, text: str) -> bool:
    """Test that a parameter takes ``text``, as it was typed; ``null`` may be none."""
    path, field = _at("", model, place.split("."))
    words = legal(field) if path == place else ""
    null = words.startswith("null") and text.lower() in ("null", "~")
    return words.removeprefix("null, or ").startswith("a text") and not null


def meant(name: str, *near: Iterable[str]) -> str:
    """Offer known names, dotted and the nearest first, in the place of ``name``."""
    listed = [{one: one.rpartition(".")[2] for one in names} for names in near]
    for ends in listed:
        for close in get_close_matches(name, ends.values(), n=1):
            same = [one for one, end in ends.items() if end == close]
            return f"did you mean {either(same[:3])}?"
    return f"known: {', '.join(listed[0].values())}"


def places(name: str, model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Every parameter inside a group, dotted, with groups before what is in them."""
    for part, field in model.model_fields.items():
        place = _join(name, part)
        yield place, field
        if _fields(field.annotation):
            yield from places(place, field.annotation)  # type: ignore[arg-type]


def shown(value: Any, *, quoted: bool = True) -> str:
    """A value as it stands in YAML."""
    plain = isinstance(value, str) and not quoted
    text = value if plain else json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _problem(name: str, model: type[BaseModel], detail: Any) -> str:
    kind, steps = detail["type"], list(detail["loc"])
    unknown = steps.pop() if kind == "extra_forbidden" else ""
    of_key = steps[-1:] == ["[key]"]
    path, field = _at(name, model, steps[:-2] if of_key else steps)
    if kind == "value_error":
        return placed(path, str(detail["msg"]).removeprefix("Value error, "))
    if kind == "missing":
        return f"{path} is missing and must be {legal(field)}"
    if unknown:
        place = _join(path, unknown)
        if place in _REPLACED:
            return f"{place} is not a parameter any more: {_REPLACED[place]}"
        beside = [_join(path, part) for part in _fields(field.annotation)]
        top = path.partition(".")[0]
        around = [one for one, _ in places(name, model) if one.startswith(top)]
        hint = meant(unknown, beside, around)
        return f"{place} is not a parameter ({hint})"
    wrong = shown(detail["input"], quoted=not of_key)
    if of_key:
        keys = FieldInfo.from_annotation(get_args(field.annotation)[0])
        return f"{path} names {wrong}, but its names must be {legal(keys)}"
    return f"{path} is {wrong}, but must be {legal(field)}"


def _at(
    path: str, model: type[BaseModel], steps: Sequence[str | int]
) -> tuple[str, FieldInfo]:
    """The last place of the user's on the way, and its field; not Pydantic's own."""
    field = FieldInfo(annotation=model)
    for step in steps:
        kind = field.annotation
        inside = _fields(kind).get(str(step))
        if get_origin(kind) in (list, dict):
            inside = FieldInfo.from_annotation(get_args(kind)[-1])
        if inside is None:
            break  # inside a union, which is one choice for the user
        field, path = inside, _join(path, step)
    return path, field


def _fields(kind: Any) -> dict[str, FieldInfo]:
    group = isinstance(kind, type) and issubclass(kind, BaseModel)
    return kind.model_fields if group else {}


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
