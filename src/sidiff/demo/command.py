"""``sidiff demo BUNDLE``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sidiff.errors import SidiffError


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", default=7860, show_default=True, type=click.IntRange(1, 65535))
def demo(bundle: Path, host: str, port: int) -> None:
    """Show a page to compose a history, see the list, and watch the denoising.

    BUNDLE is a folder that kedro run --pipeline=packaging wrote, a folder of versions
    of it, of which the latest is taken, or a link to one.
    """
    # Read when Gradio is imported: nothing leaves the machine.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from sidiff.demo.page import launch  # noqa: PLC0415
    except ImportError as error:
        raise click.ClickException(
            f'{error.name} is not installed; pip install "sidiff[demo]".'
        ) from error
    from sidiff.serving import Recommender  # noqa: PLC0415 (imports torch)

    try:
        launch(Recommender.load(bundle), host, port)
    except SidiffError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(
            f"{host}:{port} cannot be listened on ({error}); choose another --host or "
            "--port."
        ) from error
