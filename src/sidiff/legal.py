"""What a parameter may be, in words, told from its model; and what is wrong with one.

Pydantic's own messages name the one bound that is broken, in its own terms. A person
wants the whole range, under the name that stands in ``conf/``.
"""

from __future__ import annotations

import json
import re
import types
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

_SHOWN = 80
"""Characters shown of a wrong value."""
_MEANT = 3
"""Names offered, at most, in the place of an unknown one."""
_BOUNDS = ("ge", "gt", "le", "lt", "min_length", "max_length")
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
    top = FieldInfo(annotation=model)
    return list(dict.fromkeys(_problem(name, top, detail) for detail in error.errors()))


def placed(name: str, message: str) -> str:
    """Put the place ``name`` before the relative names of a validator's message."""
    return _RELATIVE.sub(f"{name}." if name else "", message)


def legal(field: FieldInfo) -> str:
    """Say what a field may be: its type with its bounds, or its choices."""
    if field.description:
        return field.description
    kind, bounds = field.annotation, _bounds(field)
    plain = {
        type(None): "null",
        bool: "true or false",
        int: f"a whole number {_range(bounds)}".rstrip(),
        float: f"a number {_range(bounds)}".rstrip(),
        str: f"a text of {_count(bounds, 'character')}",
    }
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return f"a group of {', '.join(kind.model_fields)}"
    return plain[kind] if kind in plain else _composed(kind, bounds)


def _composed(kind: Any, bounds: Mapping[str, Any]) -> str:
    origin, parts = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _either([shown(part, quoted=False) for part in parts])
    if origin in (Union, types.UnionType):
        # "null" first: it is the short one.
        inner = sorted(parts, key=lambda part: part is not type(None))
        return ", or ".join(legal(FieldInfo.from_annotation(part)) for part in inner)
    if origin is list:
        inside = legal(FieldInfo.from_annotation(parts[0]))
        return f"a list of {_count(bounds, 'entry', 'entries')}, each {inside}"
    if origin is dict and parts[1] is Any:
        return "a group of names and values"
    if origin is dict:
        inside = legal(FieldInfo.from_annotation(parts[1]))
        return f"a group of {_count(bounds, 'name')}, each with {inside}"
    raise TypeError(f"no words for {kind}")


def meant(name: str, known: Mapping[str, list[str]]) -> str:
    """Offer names in the place of an unknown one.

    Args:
        name: the unknown one.
        known: the names there are, and where each stands, dotted.
    """
    close = get_close_matches(name, known, n=1)
    if not close:
        return ""
    places = known[close[0]][:_MEANT]
    return f"did you mean {_either(places)}?"


def places(name: str, model: type[BaseModel]) -> Iterator[tuple[str, FieldInfo]]:
    """Every parameter inside a group, dotted, with groups before what is in them."""
    for part, field in model.model_fields.items():
        place = f"{name}.{part}" if name else part
        yield place, field
        if isinstance(field.annotation, type) and issubclass(
            field.annotation, BaseModel
        ):
            yield from places(place, field.annotation)


def holds_text(model: type[BaseModel], place: str, text: str) -> bool:
    """Whether a parameter of a group takes ``text`` for what it is, a text.

    Args:
        model: the group.
        place: the parameter inside it, dotted; there may be none of that name.
        text: the value as it was typed. ``null`` is none where there may be none.
    """
    field: FieldInfo | None = FieldInfo(annotation=model)
    for step in place.split("."):
        field = _inside(field, step) if field is not None else None
    if field is None:
        return False
    kind = field.annotation
    several = get_origin(kind) in (Union, types.UnionType)
    parts = get_args(kind) if several else (kind,)
    kinds = {FieldInfo.from_annotation(part).annotation for part in parts}
    if kinds == {str, type(None)}:
        return text.lower() not in ("null", "~")
    return kinds == {str}


def _problem(name: str, top: FieldInfo, detail: Any) -> str:
    field, path, above = top, name, top
    steps = list(detail["loc"])
    unknown_key = steps[-1:] == ["[key]"]
    if unknown_key:
        steps = steps[:-2]
    for step in steps:
        inside = _inside(field, step)
        if inside is None and detail["type"] not in ("extra_forbidden", "missing"):
            break  # inside a union, which is one choice for the user
        path = _join(path, step)
        above, field = field, inside or field
    kind, message = detail["type"], str(detail["msg"]).removeprefix("Value error, ")
    if kind == "value_error":
        return placed(path, message)
    if kind == "extra_forbidden":
        return f"{path} is not a parameter ({_hint(name, path, top, above)})"
    if kind == "missing":
        return f"{path} is missing and must be {legal(field)}"
    if unknown_key:
        keys = FieldInfo.from_annotation(get_args(field.annotation)[0])
        key = shown(detail["input"], quoted=False)
        return f"{path} names {key}, but its names must be {legal(keys)}"
    return f"{path} is {shown(detail['input'])}, but must be {legal(field)}"


def _inside(field: FieldInfo, step: str | int) -> FieldInfo | None:
    """The field below one; None where the step is Pydantic's and not the user's."""
    kind = field.annotation
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return kind.model_fields.get(str(step))
    origin, parts = get_origin(kind), get_args(kind)
    if origin is list:
        return FieldInfo.from_annotation(parts[0])
    if origin is dict:
        return FieldInfo.from_annotation(parts[1])
    return None


def _join(path: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step


def _hint(name: str, path: str, top: FieldInfo, above: FieldInfo) -> str:
    """What an unknown name may have meant: one beside it, else one of the group."""
    before, _, last = path.rpartition(".")
    group = above.annotation
    if not (isinstance(group, type) and issubclass(group, BaseModel)):
        return "remove it"
    beside = {part: [_join(before, part)] for part in group.model_fields}
    everywhere: dict[str, list[str]] = {}
    if isinstance(top.annotation, type) and issubclass(top.annotation, BaseModel):
        for place, _ in places(name, top.annotation):
            everywhere.setdefault(place.rpartition(".")[2], []).append(place)
    return (
        meant(last, beside)
        or meant(last, everywhere)
        or f"known: {', '.join(group.model_fields)}"
    )


def _bounds(field: FieldInfo) -> dict[str, Any]:
    return {
        name: getattr(item, name)
        for item in field.metadata
        for name in _BOUNDS
        if getattr(item, name, None) is not None
    }


def _range(bounds: Mapping[str, Any]) -> str:
    low, high = bounds.get("ge"), bounds.get("le")
    if isinstance(bounds.get("lt"), int):
        high = bounds["lt"] - 1
    if low is not None and high is not None:
        return f"from {_number(low)} to {_number(high)}"
    words = []
    if low is not None:
        words.append(f"at least {_number(low)}")
    if "gt" in bounds:
        words.append(f"above {_number(bounds['gt'])}")
    if high is not None:
        words.append(f"at most {_number(high)}")
    elif "lt" in bounds:
        words.append(f"below {_number(bounds['lt'])}")
    return " and ".join(words)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


def _count(bounds: Mapping[str, Any], one: str, several: str = "") -> str:
    several = several or f"{one}s"
    low, high = bounds.get("min_length", 0), bounds.get("max_length")
    if high is None:
        return f"at least {_number(low)} {one if low == 1 else several}"
    return f"{_number(low)} to {_number(high)} {several}"


def _either(words: list[str]) -> str:
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)


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
