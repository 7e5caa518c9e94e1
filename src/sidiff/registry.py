"""Registries of strategies by their names in the configuration.

A new strategy needs its file and its line in a registry. The file is imported when the
strategy is first used, so that names are checked without slow imports.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, TypeVar, cast

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

Strategy = TypeVar("Strategy")


class Registry(Mapping[str, Strategy]):
    """Strategies of one kind, each at a place ``package.module:name``."""

    def __init__(self, **places: str) -> None:
        """Register strategies by their names in the configuration."""
        self._places = places

    def __getitem__(self, name: str) -> Strategy:
        """Import a strategy."""
        module, _, attribute = self._places[name].partition(":")
        return cast(Strategy, getattr(import_module(module), attribute))

    def __iter__(self) -> Iterator[str]:
        """The names, in the order of the registry."""
        return iter(self._places)

    def __len__(self) -> int:
        """Number of strategies."""
        return len(self._places)

    def add(self, name: str, place: str) -> None:
        """Register a strategy of another package."""
        self._places[name] = place


class Choice:
    """Type of a strategy's name: ``Annotated[str, Choice(...)]``."""

    def __init__(self, *known: str | Registry[Any]) -> None:
        """Join single names and registries."""
        self._known = known

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        """The schema of a string that is one of the names."""
        return core_schema.no_info_after_validator_function(
            self._known_name, handler(source)
        )

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        """The names as an enumeration."""
        return {**handler(schema), "enum": self._names()}

    def _names(self) -> list[str]:
        parts = [[one] if isinstance(one, str) else list(one) for one in self._known]
        return [known for part in parts for known in part]

    def _known_name(self, name: str) -> str:
        names = self._names()
        if name not in names:
            raise wrong(f"be {either(names)}")
        return name


def wrong(rule: str) -> PydanticCustomError:
    """A Pydantic error with the message ``Input should RULE``."""
    return PydanticCustomError("rule", "Input should {rule}", {"rule": rule})


def either(words: list[str]) -> str:
    """Join words to ``a, b or c``."""
    return " or ".join([", ".join(words[:-1]), words[-1]] if words[1:] else words)
