"""``kedro run`` with errors that a user can act on in one sentence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from contextlib import chdir
from copy import copy
from errno import EDQUOT, ENOSPC
from pathlib import Path
from traceback import walk_tb
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

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
from sidiff.parameter_errors import hint, type_at
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
            raise SidiffError(f"There is no pipeline {name} ({hint(name, known)}).")


def _full_disk(error: BaseException | None) -> SidiffError | None:
    """Return a ``SidiffError`` if a full disk caused ``error``, else None.

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
    if isinstance(error, ValidationError) and error.title == "KedroMlflowConfig":
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return SidiffError(f"mlflow.yml: {place}: {first['msg']}; correct that file.")
    *_, (frame, _) = walk_tb(error.__traceback__)
    module, function = frame.f_globals["__name__"], frame.f_code.co_name
    refused = function == "from_config" or module.startswith(
        ("kedro.framework", "kedro.config", "kedro.pipeline.pipeline", "kedro.utils")
    )
    kinds = ValueError | AttributeError | ImportError | YAMLError
    kedros = MissingConfigException | DatasetError
    return error if refused and isinstance(error, kinds | kedros) else None


def _params_option(option: click.Parameter) -> click.Parameter:
    """Kedro's option ``--params``, which leaves texts as they were typed.

    Kedro reads every value as YAML, so that a data set 0042 would be the number 42 and
    one of the name 1e5 the number 100000.0. Values of parameters that hold texts are
    put in quotation marks, unless they are in some.
    """
    convert = option.callback

    def callback(context: click.Context, given: click.Parameter, value: Any) -> Any:
        if isinstance(value, str):  # and not from a --config file
            value = ",".join(map(_quoted, value.split(",")))
        return convert(context, given, value) if convert else value

    changed = copy(option)
    changed.callback = callback
    return changed


def _quoted(assignment: str) -> str:
    name, equals, text = (part.strip() for part in assignment.partition("="))
    if not equals or text[:1] in ("'", '"') or not _is_text(name, text):
        return assignment
    return f"{name}={json.dumps(text, ensure_ascii=False)}"


def _is_text(name: str, text: str) -> bool:
    """Test that a parameter takes ``text`` as it was typed; ``null`` may be none."""
    kinds = _kinds(type_at(Configuration, name.split(".")))
    null = type(None) in kinds and text.lower() in ("null", "~")
    return name in RUN_OPTIONS or (str in kinds and not null)


def _kinds(kind: Any) -> set[Any]:
    """The types that a type with bounds or a union is made of."""
    parts = get_args(kind)
    if get_origin(kind) is Annotated:
        parts = parts[:1]
    elif get_origin(kind) not in (Union, UnionType):
        return {kind}
    return {one for part in parts for one in _kinds(part)}


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
    """Commands that sidiff adds to Kedro's or replaces."""


cli.add_command(run)
