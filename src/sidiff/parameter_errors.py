"""Messages about wrong parameters: Pydantic's errors under the names of ``conf/``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from sidiff.registry import either

_SHOWN = 80
"""Characters shown of a wrong value."""
# Of Pydantic's messages: nothing of it is a user's.
_ENDS = re.compile(" or instance of .*| after validation.*")
# A name that begins with a dot is relative to the group that a validator belongs to.
_RELATIVE = re.compile(r"(?<![\w.\]])\.(?=[a-z_])")


def problems(name: str, model: type[BaseModel], error: ValidationError) -> list[str]:
    """One clause per error in the group ``model`` named ``name``."""
    clauses: dict[str, list[str]] = {}
    for detail in error.errors():
        clause, rule = _clause(name, model, detail)
        clauses.setdefault(clause, []).append(rule)
    # A type of two kinds has an error of each.
    return [clause + " or ".join(dict.fromkeys(of)) for clause, of in clauses.items()]


def placed(name: str, message: str) -> str:
    """Put the place ``name`` before the relative names of a validator's message."""
    return _RELATIVE.sub(f"{name}." if name else "", message)


def places(model: type[BaseModel], name: str = "") -> Iterator[str]:
    """The dotted names of all parameters and groups inside a group."""
    for part, field in model.model_fields.items():
        yield _join(name, part)
        if _is_group(field.annotation):
            yield from places(field.annotation, _join(name, part))  # type: ignore[arg-type]


def type_at(model: Any, steps: Sequence[str | int]) -> Any:
    """The type of the parameter at the end of ``steps``; None where there is none."""
    for step in steps:
        if _is_group(model):
            field = model.model_fields.get(step)
            model = None if field is None else field.annotation
        else:
            inside = get_args(model) if get_origin(model) in (list, dict) else [None]
            model = inside[-1]
    return model


def hint(name: str, known: Iterable[str]) -> str:
    """Offer the nearest of the known dotted names, or those of the same group."""
    known = [one for one in dict.fromkeys(known) if not name.startswith(f"{one}.")]
    near = get_close_matches(name, known, n=1, cutoff=0.8)
    near = near or [one for one in known if one.endswith(f".{name}")][:3]
    if near:
        return f"did you mean {either(near)}?"
    group = name.rpartition(".")[0]
    beside = [one for one in known if one.rpartition(".")[0] == group]
    return f"known: {', '.join(one.rpartition('.')[2] for one in beside)}"


def shown(value: Any) -> str:
    """A value as it stands in YAML, cut off where it is long."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _clause(name: str, model: type[BaseModel], detail: Any) -> tuple[str, str]:
    """A clause about one error, cut before what must hold."""
    kind, path, steps = detail["type"], name, list(detail["loc"])
    of_key = steps[-1:] == ["[key]"]
    if of_key:
        del steps[-2:]
    for count, step in enumerate(steps):
        if kind != "extra_forbidden" and type_at(model, steps[: count + 1]) is None:
            break  # inside a union or a key, which are one thing for the user
        path = _join(path, step)
    if kind == "missing":
        return f"{path} is missing", ""
    if kind == "value_error":
        return placed(path, str(detail["ctx"]["error"])), ""
    if kind == "extra_forbidden":
        group = type_at(model, steps[:-1])
        known = [*places(group, path.rpartition(".")[0]), *places(model, name)]
        return f"{path} is not a parameter ({hint(path, known)})", ""
    rule = _ENDS.sub("", detail["msg"].partition(" should ")[2])
    says = "names" if of_key else "is"
    return f"{path} {says} {shown(detail['input'])}, but must ", rule


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _join(path: str, step: str | int) -> str:
    if isinstance(step, int):
        return f"{path}[{step}]"
    return f"{path}.{step}" if path else step
