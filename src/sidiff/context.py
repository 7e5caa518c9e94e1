"""One run's configuration: checked once, before anything else happens.

The context is the first object of every Kedro command that knows both the
environment and the run-time parameters, so it checks that all parameters are valid and
that ``storage`` is usable. (Hooks do not run under ``kedro viz``.)
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import fsspec
from fsspec.utils import get_protocol
from kedro.config import MissingConfigException
from kedro.framework.context import KedroContext
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from sidiff.configuration import (
    GROUPS,
    Configuration,
    validate,
    validate_run,
)
from sidiff.errors import SidiffError
from sidiff.parameter_errors import hint, places

logger = logging.getLogger(__name__)

SHARED = ("dataset", "recipe", "preset", "storage", "raw_reviews", "raw_metadata")
"""Options that change a value of globals.yml for one run."""
RUN_OPTIONS = (*SHARED, "new_items", "removed_items")
"""Names that ``--params`` takes beside the groups of parameters."""


class SidiffContext(KedroContext):
    """A Kedro context that refuses a configuration it cannot run."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Check the configuration.

        Raises:
            SidiffError: the configuration cannot be read, a parameter is unknown or
                invalid, or ``storage`` names no place that can be written to.
        """
        super().__init__(*args, **kwargs)
        OmegaConf.register_new_resolver("in_project", self._in_project, replace=True)
        given = self._runtime_params or {}
        _check_names(given)
        options = {name: given[name] for name in SHARED if name in given}
        run = validate_run(self._read("globals") | options)
        self._check_extended(run.extends)
        parameters = self._read("parameters")
        for name in SHARED:
            if name not in given and parameters.pop(name, None) is not None:
                raise SidiffError(
                    f"A file of parameters sets {name}; set it in globals.yml or with "
                    "--params."
                )
        groups = validate(
            {name: parameters[name] for name in parameters if name not in RUN_OPTIONS}
        )
        storage = folder(run.storage)
        self._parameters = {
            **{name: getattr(run, name) for name in ("dataset", "recipe", "preset")},
            "storage": storage,
            "source": run.source,
            **{name: getattr(groups, name) for name in GROUPS},
        }
        _check_storage(storage)
        self.locks_folder = self._folder_of_locks(storage, run.scratch)
        if run.source == "files" and run.raw == "sample" and "dataset" not in given:
            logger.warning(
                "Results of these files go to the folders of data set %s; add "
                "dataset=NAME to --params to keep them apart.",
                run.dataset,
            )

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, of which every group is its checked model."""
        return self._parameters

    def _in_project(self, path: str) -> str:
        """Resolver ``${in_project:PATH}``: a path below the project's folder.

        MLflow would otherwise create its database in the folder of the command.
        """
        return (Path(self.project_path) / path).as_posix()

    def _read(self, kind: str) -> dict[str, Any]:
        """One kind of configuration, merged; a sentence where that fails."""
        source = self.config_loader.conf_source
        try:
            return dict(self.config_loader[kind])
        except MissingConfigException as error:
            own = ("base", "local")
            known = sorted({path.name for path in Path(source).glob("*/")} - {*own})
            if self.env in (None, *own, *known):
                raise SidiffError(f"{_line(error)}; correct --conf-source.") from error
            raise SidiffError(
                f"There is no environment {self.env}; choose one of "
                f"{', '.join(known)} with --env, or leave it out."
            ) from error
        except (
            *(OmegaConfBaseException, YAMLError),
            # Of Kedro and OmegaConf, where a list or a value stands for a group.
            *(ValueError, TypeError, AttributeError),
        ) as error:
            place = getattr(error, "full_key", None) or kind
            raise SidiffError(
                f"The {kind} in {source} cannot be read ({place}: {_line(error)}); "
                "correct that file."
            ) from error

    def _check_extended(self, name: str | None) -> None:
        if name and not Path(self.config_loader.conf_source, name).is_dir():
            raise SidiffError(
                f"globals.yml: extends is {name}, but there is no such folder in "
                f"{self.config_loader.conf_source}; name an environment."
            )

    def _folder_of_locks(self, storage: str, scratch: str) -> Path:
        """The folder of the locks of runs: with the data, or on this machine.

        An object store has no locks, so only the runs of one machine are told of each
        other.
        """
        if get_protocol(storage) not in ("file", "local"):
            storage = scratch
        return Path(self.project_path) / storage.rpartition("://")[2]

    def _get_config_credentials(self) -> dict[str, Any]:
        """Return the credentials; a missing entry is empty.

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


def _check_storage(storage: str) -> None:
    if not storage:
        raise SidiffError(
            "There is no place to store anything: set the environment variable "
            "SIDIFF_STORAGE, or add storage=PLACE to --params (a folder, or an address "
            "such as s3://bucket/prefix)."
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


def _check_names(given: dict[str, Any]) -> None:
    known = [*places(Configuration), *RUN_OPTIONS]
    for name in given:
        if name not in (*GROUPS, *RUN_OPTIONS):
            raise SidiffError(f"There is no parameter {name} ({hint(name, known)}).")
