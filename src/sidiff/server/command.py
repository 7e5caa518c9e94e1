"""``sidiff serve BUNDLE``."""

from __future__ import annotations

import logging
import os
import socket
from pathlib import Path

import click
import torch

from sidiff.errors import SidiffError
from sidiff.parameters import Device

TOKEN = "SIDIFF_TOKEN"  # noqa: S105 (the name of the variable)
GRACE_SECONDS = 30
"""In which requests that are begun may end when the server is told to stop."""


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option(
    "--port",
    default=8000,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="0: any that is free.",
)
@click.option(
    "--device",
    default="auto",
    show_default=True,
    type=click.Choice(["auto", "cpu", "cuda"]),
)
@click.option(
    "--threads",
    default=1,
    show_default=True,
    type=click.IntRange(1, 1024),
    help="CPU threads of torch.",
)
@click.option(
    "--watch-seconds",
    default=10.0,
    show_default=True,
    type=click.FloatRange(0.1, 86_400),
    help="Between two looks for a newer bundle.",
)
@click.option(
    "--most-bytes",
    default=1_000_000,
    show_default=True,
    type=click.IntRange(1000, 2**30),
    help="Of a request's body.",
)
def serve(
    bundle: Path,
    host: str,
    port: int,
    device: Device,
    threads: int,
    watch_seconds: float,
    most_bytes: int,
) -> None:
    """Answer requests for lists over HTTP.

    BUNDLE is a folder that kedro run --pipeline=packaging wrote, a folder of versions
    of it, of which the latest is taken, or a link to one. Where the environment
    variable SIDIFF_TOKEN is set, clients must give it.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    logger = logging.getLogger(__name__)
    try:
        import uvicorn  # noqa: PLC0415

        from sidiff.server.app import Settings, create_app  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(
            f'{error.name} is not installed; pip install "sidiff[serve]".'
        ) from error
    torch.set_num_threads(threads)
    token = os.environ.get(TOKEN) or None
    settings = Settings(
        bundle, device, watch_seconds, most_bytes=most_bytes, token=token
    )
    try:
        app = create_app(settings)
        listening = socket.create_server((host, port))
    except SidiffError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"{host}:{port} cannot be listened on ({error.strerror}); choose another "
            "--host or --port."
        ) from error
    place = "{}:{}".format(*listening.getsockname()[:2])
    logger.info("Listening on http://%s, documentation at /docs", place)
    if token is None and not host.startswith("127."):
        logger.warning("Whoever reaches %s may ask; set %s to a token", place, TOKEN)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run([listening])
