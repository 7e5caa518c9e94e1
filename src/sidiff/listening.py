"""Options and errors of the commands that serve a bundle at an address."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from sidiff.errors import SidiffError

Command = Callable[..., Any]


def address_options(port: int, least: int = 0) -> Callable[[Command], Command]:
    """A decorator that adds ``bundle``, ``host`` and ``port`` (at least ``least``)."""

    def add(command: Command) -> Command:
        bundle = click.argument("bundle", type=click.Path(path_type=Path))
        hosts = click.option(
            "--host",
            default="127.0.0.1",
            show_default=True,
            help="Address to listen on.",
        )
        ports = click.option(
            "--port",
            default=port,
            show_default=True,
            type=click.IntRange(least, 65535),
            help=None if least else "0: any free port.",
        )
        return bundle(hosts(ports(command)))

    return add


@contextmanager
def click_errors(extra: str, host: str, port: int) -> Iterator[None]:
    """Report a missing ``sidiff[extra]``, bundle or address in one sentence."""
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
