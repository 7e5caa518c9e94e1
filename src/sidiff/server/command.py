"""The command ``sidiff serve BUNDLE``."""

from __future__ import annotations

import gc
import logging
import os
import socket
from ipaddress import ip_address
from pathlib import Path

import click
import torch

from sidiff.listening import address_options, click_errors
from sidiff.parameters import Device

TOKEN = "SIDIFF_TOKEN"  # noqa: S105 (the name of the variable)
GRACE_SECONDS = 30
"""Time for requests in progress after a stop signal."""


@click.command()
@address_options(port=8000)
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
    help="Time between two checks for a newer bundle.",
)
def serve(
    bundle: Path,
    host: str,
    port: int,
    device: Device,
    threads: int,
    watch_seconds: float,
) -> None:
    """Answer requests for lists over HTTP.

    BUNDLE is a folder that kedro run --pipeline=packaging wrote, a folder of such
    versions, of which the latest is served, or a link to either. Clients must give the
    token in the environment variable SIDIFF_TOKEN, if it is set.
    """
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)-7s %(message)s"
    )
    logger = logging.getLogger(__name__)
    torch.set_num_threads(threads)
    token = os.environ.get(TOKEN) or None
    with click_errors("serve", host, port):
        import uvicorn  # noqa: PLC0415

        from sidiff.server.app import create_app  # noqa: PLC0415

        app = create_app(bundle, device, watch_seconds, token)
        # Otherwise each garbage collection visits all loaded objects, which takes a
        # tenth of a second.
        gc.collect()
        gc.freeze()
        [(family, *_), *_] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        listening = socket.create_server((host, port), family=family)
    reached, port = listening.getsockname()[:2]
    place = f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"
    logger.info("Listening on http://%s, documentation at /docs", place)
    if token is None and not ip_address(reached).is_loopback:
        logger.warning("%s is open to all clients; set %s to a token", place, TOKEN)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    uvicorn.Server(config).run([listening])
