"""One run's configuration: checked once, before anything else happens.

The context is the first object of every Kedro command that knows both the
environment and the run-time parameters, so the decisions that need them are taken
here: are all parameters legal, is there a place to store things, and does ``full``
begin with the generator of the synthetic shop. (Kedro's registry knows neither, and
hooks do not run under ``kedro viz``.)
"""

from __future__ import annotations

import logging
import os
from difflib import get_close_matches
from typing import Any

import fsspec
from fsspec.utils import get_protocol
from kedro.framework.context import KedroContext
from kedro.framework.project import pipelines

from sidiff.errors import SidiffError
from sidiff.parameters import GROUPS, validate
from sidiff.pipeline_registry import full_pipeline

logger = logging.getLogger(__name__)

RUN_OPTIONS = (
    *("recipe", "preset", "dataset", "storage"),
    *("raw_reviews", "raw_metadata"),
)
"""What ``--params`` takes beside the groups of parameters."""


class SidiffContext(KedroContext):
    """A Kedro context that refuses a configuration it cannot run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Check the configuration and settle what ``full`` consists of.

        Raises:
            SidiffError: a parameter is unknown or illegal, or ``storage`` names no
                place that can be written to.
        """
        super().__init__(*args, **kwargs)
        shared = self.config_loader["globals"]
        given = self._runtime_params or {}
        _check_names(given, shared)
        parameters = self.config_loader["parameters"]
        validate(parameters)
        _check_places(parameters["storage"], shared["scratch"])
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

    def _get_config_credentials(self) -> dict[str, Any]:
        """Return the credentials, empty ones where nobody gave any.

        The catalogue names them everywhere; most stores need none beside their
        environment variables, and a folder none at all.
        """
        given: dict[str, Any] = super()._get_config_credentials()
        storage = given.get("storage") or {}
        return {"raw": storage, **given, "storage": storage}


def folder(path: str | None) -> str:
    """Resolver ``${folder:PATH}``: a folder's path or address in one form."""
    path = os.path.expanduser(path or "")
    return path.rstrip("/") or path[:1]


def raw_path(path: str, storage: str) -> str:
    """Resolver ``${raw_path:PATH,STORAGE}``: a raw file, maybe below ``{storage}``."""
    return os.path.expanduser(path.replace("{storage}", storage))


def _check_places(storage: str, scratch: str) -> None:
    if not storage:
        raise SidiffError(
            "There is no place to store anything: set the environment variable "
            "SIDIFF_STORAGE, or add storage=PLACE to --params (a folder, or an address "
            "such as s3://bucket/prefix)."
        )
    if "://" in scratch:
        raise SidiffError(
            f"scratch in globals.yml is {scratch}: copies of raw files need a folder "
            "on this machine."
        )
    protocol = get_protocol(storage)
    if protocol in ("http", "https"):
        raise SidiffError(
            f"storage is {storage}: nothing can be written there; give a folder or "
            "the address of an object store, such as s3://bucket/prefix."
        )
    try:
        fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        raise SidiffError(
            f"storage is {storage}: {str(error).rstrip('.')} (for s3: pip install "
            '"sidiff[s3]").'
        ) from error


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
