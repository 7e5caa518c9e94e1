"""One run's configuration: checked once, before anything else happens.

The context is the first object of every Kedro command that knows both the
environment and the run-time parameters, so what needs them is checked here: are all
parameters legal, and is there a place to store things. (Hooks do not run under
``kedro viz``.)
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import fsspec
from fsspec.utils import get_protocol
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sidiff.configuration import GROUPS, Configuration, validate, validate_run
from sidiff.errors import SidiffError
from sidiff.legal import meant, places, shown

logger = logging.getLogger(__name__)

SHARED = ("dataset", "recipe", "preset", "storage")
"""Options that the catalogue, the globals and the parameters go by."""
RUN_OPTIONS = (
    *SHARED,
    *("raw_reviews", "raw_metadata"),
    *("new_items", "removed_items"),
)
"""Names that ``--params`` takes beside the groups of parameters."""


class SidiffContext(KedroContext):
    """A Kedro context that refuses a configuration it cannot run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Check the configuration.

        Raises:
            SidiffError: the configuration cannot be read, a parameter is unknown or
                illegal, or ``storage`` names no place that can be written to.
        """
        super().__init__(*args, **kwargs)
        OmegaConf.register_new_resolver("in_project", self._in_project, replace=True)
        shared = self._read("globals")
        given = self._runtime_params or {}
        validate_run(given, shared)
        _check_names(given, RUN_OPTIONS)
        _check_columns(given, shared)
        source = _source(given, shared["raw"]["source"])
        parameters = self._read("parameters")
        _check_names(parameters, (*RUN_OPTIONS, "source"))
        missing = [
            name for name in (*GROUPS, *SHARED, "source") if name not in parameters
        ]
        if missing:
            raise SidiffError(
                f"The parameters {', '.join(missing)} are in no file of "
                f"{self.config_loader.conf_source}; take over the files of conf/base."
            )
        for option in (*SHARED, "source"):
            value = parameters[option]
            used = {**shared, **given, "source": source}[option]
            if option == "storage":
                used, value = folder(used), folder(value)
            if value != used:
                raise SidiffError(
                    f"A file of parameters sets {option} to {value}, but the catalogue "
                    f"and other values go by {used}; set it in globals.yml or with "
                    "--params."
                )
        groups = validate(parameters)
        self._parameters = parameters | {name: getattr(groups, name) for name in GROUPS}
        _check_places(parameters["storage"], shared["scratch"])
        self.locks_lie_in = self._folder_of_locks(parameters["storage"], shared)
        if (
            source == "files"
            and shared["raw"]["source"] == "sample"
            and "dataset" not in given
        ):
            logger.warning(
                "Results of these files go to the folders of data set %s; add "
                "dataset=NAME to --params to keep them apart.",
                shared["dataset"],
            )

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, of which every group is its checked model."""
        return self._parameters

    def _in_project(self, path: str) -> str:
        """Resolver ``${in_project:PATH}``: a path below the project's folder.

        Whatever takes no project into account (MLflow's database) would make a file of
        its own in every folder from which a command is given.
        """
        return (Path(self.project_path) / path).as_posix()

    def _read(self, kind: str) -> dict[str, Any]:
        """One kind of configuration, merged; a sentence where that fails."""
        try:
            return dict(self.config_loader[kind])
        except MissingConfigException as error:
            known = sorted(
                folder.name
                for folder in Path(self.config_loader.conf_source).glob("*/")
                if folder.name not in ("base", "local")
            )
            if self.env is not None and self.env not in (*known, "base", "local"):
                raise SidiffError(
                    f"There is no environment {self.env}; choose one of "
                    f"{', '.join(known)} with --env, or leave it out."
                ) from error
            raise SidiffError(f"{_line(error)}; correct --conf-source.") from error
        except (
            *(OmegaConfBaseException, YAMLError),
            *(ValueError, TypeError, AttributeError),
        ) as error:
            key, told = getattr(error, "full_key", None), _line(error)
            if key:
                told = f"{key}: {told}"
            elif isinstance(error, TypeError | AttributeError):
                # Of Kedro's, where it merges.
                told = "a list or a value stands where names with values must"
            raise SidiffError(
                f"The {kind} in {self.config_loader.conf_source} cannot be read "
                f"({told}); correct that file."
            ) from error

    def _folder_of_locks(self, storage: str, shared: dict[str, Any]) -> Path:
        """The folder of the locks of runs: with the data, or on this machine.

        An object store has no locks, so only the runs of one machine are told of each
        other.
        """
        if get_protocol(storage) not in ("file", "local"):
            storage = shared["scratch"]
        return Path(self.project_path) / storage.rpartition("://")[2]

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


def raw_source(configured: str, *named: str | None) -> str:
    """Resolver ``${raw_source:CONFIGURED,REVIEWS,METADATA}``: ``sample`` or ``files``.

    Raw files that ``--params`` names take the place of the synthetic shop.
    """
    return "files" if any(named) else configured


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


def _line(error: Exception) -> str:
    return " ".join(str(error).partition("\n")[0].split()).rstrip(".")


def _check_names(names: Iterable[str], options: Iterable[str]) -> None:
    known = [*GROUPS, *options]
    for name in names:
        if name not in known:
            hint = meant(name, known, (place for place, _ in places("", Configuration)))
            raise SidiffError(f"There is no parameter {name} ({hint}).")


def _check_columns(given: dict[str, Any], shared: dict[str, Any]) -> None:
    for option in ("recipe", "preset"):
        columns = shared[f"{option}s"]
        if option in given and str(given[option]) not in columns:
            chosen = shown(given[option], quoted=False) or '""'
            raise SidiffError(
                f"There is no {option} {chosen}; choose one of {', '.join(columns)}."
            )


def _source(given: dict[str, Any], configured: str) -> str:
    named = [name for name in ("raw_reviews", "raw_metadata") if name in given]
    if configured == "sample" and len(named) == 1:
        raise SidiffError(
            f"{named[0]} alone would be mixed with the synthetic shop; name both "
            "files: --params=raw_reviews=PATH,raw_metadata=PATH."
        )
    return raw_source(configured, *named)
