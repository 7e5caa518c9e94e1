"""One run's configuration: checked once, before anything else happens.

The context is the first object of every Kedro command that knows both the
environment and the run-time parameters, so the two decisions that need them are
taken here: are all parameters legal, and does ``full`` begin with the generator of
the synthetic shop. (Kedro's registry knows neither, and hooks do not run under
``kedro viz``.)
"""

from __future__ import annotations

import logging
from difflib import get_close_matches
from typing import Any

from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines

from sidiff.errors import SidiffError
from sidiff.parameters import GROUPS, validate
from sidiff.pipeline_registry import full_pipeline

logger = logging.getLogger(__name__)

RUN_OPTIONS = ("recipe", "preset", "dataset", "raw_reviews", "raw_metadata")
"""What ``--params`` takes beside the groups of parameters."""


class SidiffContext(KedroContext):
    """A Kedro context that refuses a configuration it cannot run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Check the configuration and settle what ``full`` consists of.

        Raises:
            SidiffError: a parameter is unknown or illegal.
        """
        super().__init__(*args, **kwargs)
        shared = self.config_loader["globals"]
        given = self._runtime_params or {}
        _check_names(given, shared)
        validate(self.config_loader["parameters"])
        sample = self.sample = _is_sample(given, shared["raw"]["source"])
        pipelines["full"] = pipelines["__default__"] = full_pipeline(sample=sample)
        if (
            not sample
            and shared["raw"]["source"] == "sample"
            and "dataset" not in given
        ):
            logger.warning(
                "Results of these files go to the folders of data set %s; add "
                "dataset=NAME to --params to keep them apart.",
                shared["dataset"],
            )


def _check_names(given: dict[str, Any], shared: dict[str, Any]) -> None:
    known = [*GROUPS, *RUN_OPTIONS]
    for name in given:
        if name not in known:
            matches = get_close_matches(name, known, n=1)
            hint = (
                f"did you mean {matches[0]}?"
                if matches
                else f"known: {', '.join(known)}"
            )
            raise SidiffError(f"There is no parameter {name} ({hint}).")
    for option in ("recipe", "preset"):
        columns, chosen = shared[f"{option}s"], given.get(option)
        if chosen is not None and chosen not in columns:
            raise SidiffError(
                f"There is no {option} {chosen}; choose one of {', '.join(columns)}."
            )


def _is_sample(given: dict[str, Any], source: str) -> bool:
    if source not in ("sample", "files"):
        raise SidiffError(f"raw.source in globals.yml is {source}: sample or files.")
    named = [name for name in ("raw_reviews", "raw_metadata") if name in given]
    if source == "sample" and len(named) == 1:
        raise SidiffError(
            f"{named[0]} alone would be mixed with the synthetic shop; name both "
            "files: --params=raw_reviews=PATH,raw_metadata=PATH."
        )
    return source == "sample" and not named
