"""The options and errors of commands that serve a bundle at an address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from sidiff.errors import SidiffError

Command = Callable[..., Any]


def address_options(port: int, least: int = 0) -> Callable[[Command], Command]:
    """The arguments ``bundle``, ``host`` and ``port`` (``least`` or more)."""

    def add(command: Command) -> Command:
        bundle = click.argument("bundle", type=click.Path(path_type=Path))
        hosts = click.option(
            "--host", default="127.0.0.1", show_default=True, help="Where to listen."
        )
        ports = click.option(
            "--port",
            default=port,
            show_default=True,
            type=click.IntRange(least, 65535),
            help=None if least else "0: any that is free.",
        )
        return bundle(hosts(ports(command)))

    return add


@contextmanager
def click_errors(extra: str, host: str, port: int) -> Iterator[None]:
    """Turn a missing ``sidiff[extra]``, bundle or address into one sentence."""
    try:
        yield
    except ImportError as error:
        raise click.ClickException(
            f'{error.name} is not installed; pip install "sidiff[{extra}]".'
        ) from error
    except SidiffError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"{host}:{port} cannot be listened on ({error.strerror or error}); choose "
            "another --host or --port."
        ) from error
