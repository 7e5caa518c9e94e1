"""Parameters as a run has them, from conf/base, with single values changed."""

from __future__ import annotations

from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from sidiff.configuration import GROUPS, completed
from sidiff.evaluation.settings import EvaluationParameters
from sidiff.presets import PresetConfigLoader
from sidiff.ranking.settings import RankingParameters
from sidiff.settings import CONFIG_LOADER_ARGS
from sidiff.training.settings import TrainingParameters

CONF = Path(__file__).parents[1] / "conf"


@cache
def _base() -> dict[str, Any]:
    return completed(PresetConfigLoader(str(CONF), **CONFIG_LOADER_ARGS)["parameters"])


def settings(group: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A group's values; ``changes`` by dotted names, ``{"network.d_model": 32}``."""
    values = deepcopy(_base()[group])
    for name, value in (changes or {}).items():
        *path, last = name.split(".")
        place = values
        for part in path:
            place = place[part]
        assert last in place, name
        place[last] = value
    return values


def model(group: str, changes: dict[str, Any] | None = None) -> Any:
    return GROUPS[group].model_validate(settings(group, changes))


def training(changes: dict[str, Any]) -> TrainingParameters:
    return model("training", changes)


def evaluation(changes: dict[str, Any]) -> EvaluationParameters:
    return model("evaluation", changes)


def decoding(**changes: Any) -> RankingParameters:
    """The paper's search unless changed: no merging, no constraint."""
    plain = {
        "method": "cpd",
        "merge": "none",
        "constraint": "none",
        "order": "confidence",
        "last_step": "joint",
        "beam": 8,
        "seed": 0,
    }
    base = settings("evaluation")["decoding"]
    return RankingParameters.model_validate(base | plain | changes)
