"""``kedro run`` with errors that a user can act on in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import chdir
from copy import copy
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any

import click
from kedro.config import MissingConfigException
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.cli.utils import CONTEXT_SETTINGS, KedroCliError
from kedro.io import DatasetError
from kedro.utils import find_kedro_project
from pydantic import ValidationError
from yaml import YAMLError

from sidiff.configuration import Configuration
from sidiff.context import RUN_OPTIONS
from sidiff.errors import SidiffError, find_problem
from sidiff.legal import holds_text, meant
from sidiff.pipeline_registry import PIPELINES
from sidiff.storage import redacted


class RunCommand(click.Command):
    """Kedro's own command, with sidiff's errors shown without a traceback."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Parse the command, and show what Kedro finds wrong with it.

        Raises:
            click.ClickException: holds the sentence, which Kedro's own exception
                does not print; exit code 1.
        """
        try:
            return super().make_context(*args, **kwargs)
        except KedroCliError as error:
            raise click.ClickException(_one_line(error)) from error

    def invoke(self, ctx: click.Context) -> Any:
        """Run, and turn a ``SidiffError`` anywhere in the chain into a message.

        Raises:
            click.ClickException: holds the sentence; exit code 1.
        """
        # `--pipeline=NAME` and `--pipelines=NAME` mean the same; only the first one
        # makes Kedro warn, at every start.
        pipeline = ctx.params.get("pipeline")
        if pipeline and not ctx.params.get("pipelines"):
            ctx.params.update(pipeline=None, pipelines=pipeline.split(","))
        try:
            _check_pipelines(ctx.params.get("pipelines") or [])
            # Relative paths of the configuration begin there, wherever the command is
            # given; Kedro itself resolves some of them only.
            with chdir(find_kedro_project(Path.cwd()) or Path.cwd()):
                return super().invoke(ctx)
        except Exception as error:
            problem = find_problem(error) or _full_disk(error) or _misuse(error)
            if problem is None:
                raise
            raise click.ClickException(_one_line(problem)) from error


def _one_line(error: Exception) -> str:
    # Kedro's own messages may be several sentences and lines.
    line = re.sub(r"\. (?=[A-Z])", "; ", " ".join(str(error).split()))
    # Half of a surrogate pair, which JSON and YAML may name, is no text.
    return redacted(line).encode(errors="backslashreplace").decode()


def _check_pipelines(names: Iterable[str]) -> None:
    known = [*PIPELINES, "full"]
    for name in names:
        if name.strip() not in (*known, "__default__"):
            hint = meant(name, known).removeprefix("known: ")
            raise SidiffError(f"There is no pipeline {name} ({hint}).")


def _full_disk(error: BaseException | None) -> SidiffError | None:
    """Return a sentence if a full disk is behind ``error``, whoever met it.

    Sidiff's own files say it themselves; the tracking's database does not.
    """
    while error is not None:
        number = error.errno if isinstance(error, OSError) else None
        if number in (ENOSPC, EDQUOT) or "disk is full" in str(error):
            return SidiffError(
                "The disk is full; free some space and run the same command again: "
                "what was stored before is untouched, and an unfinished training goes "
                "on from its last checkpoint."
            )
        error = error.__cause__ or error.__context__
    return None


def _misuse(error: Exception) -> Exception | None:
    """Return ``error`` if Kedro itself refused the command or its configuration."""
    traceback = error.__traceback__
    module = function = ""
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        function = traceback.tb_frame.f_code.co_name
        traceback = traceback.tb_next
    if function == "load_obj" and isinstance(error, AttributeError | ImportError):
        return SidiffError(f"There is no such runner ({error}); leave --runner out.")
    if isinstance(error, DatasetError) and function == "from_config":
        told = " ".join(str(error).split()).partition(". ")[0].rstrip(".")
        return SidiffError(
            f"The catalogue does not fit ({told}); correct it, or the command."
        )
    if isinstance(error, ValidationError) and error.title == "KedroMlflowConfig":
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return SidiffError(f"mlflow.yml: {place}: {first['msg']}; correct that file.")
    refused = isinstance(
        error, ValueError | MissingConfigException | YAMLError
    ) and module.startswith(
        ("kedro.framework", "kedro.config", "kedro.pipeline.pipeline")
    )
    return error if refused else None


def _params_option(option: click.Parameter) -> click.Parameter:
    """Kedro's option ``--params``, which leaves texts as they were typed.

    Kedro reads every value as YAML, so that a data set 0042 would be the number 42 and
    one of the name 1e5 the number 100000.0. Values of parameters that hold texts do not
    pass through it, unless they are in quotation marks, as YAML has them.
    """
    convert = option.callback

    def callback(context: click.Context, given: click.Parameter, value: Any) -> Any:
        if not isinstance(value, str) or convert is None:  # from a --config file
            return convert(context, given, value) if convert else value
        texts, others = {}, []
        for part in value.split(","):
            name, equals, text = (piece.strip() for piece in part.partition("="))
            quoted = text[:1] in ("'", '"') and text[-1:] == text[:1]
            typed = name in RUN_OPTIONS or holds_text(Configuration, name, text)
            if equals and not quoted and typed:
                texts[name] = text
            else:
                others.append(part)
        values = convert(context, given, ",".join(others))
        for name, text in texts.items():
            *groups, last = name.split(".")
            place = values
            for group in groups:
                if not isinstance(place.get(group), dict):
                    place[group] = {}
                place = place[group]
            place[last] = text
        return values

    changed = copy(option)
    changed.callback = callback
    return changed


run = RunCommand(
    name="run",
    callback=kedro_run.callback,
    params=[
        _params_option(option) if option.name == "params" else option
        for option in kedro_run.params
    ],
    help=kedro_run.help,
    context_settings=CONTEXT_SETTINGS,
)


@click.group(context_settings=CONTEXT_SETTINGS, name="sidiff")
def cli() -> None:
    """Commands of sidiff beside Kedro's."""


cli.add_command(run)
