"""The command ``sidiff demo BUNDLE``."""

from __future__ import annotations

import os
from pathlib import Path

import click

from sidiff.listening import address_options, click_errors


@click.command()
@address_options(port=7860, least=1)
def demo(bundle: Path, host: str, port: int) -> None:
    """Show a page to compose a history, see the list, and watch the denoising.

    BUNDLE is a folder that kedro run --pipeline=packaging wrote, a folder of such
    versions, of which the latest is shown, or a link to either.
    """
    # Gradio reads these when it is imported: nothing leaves the machine.
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with click_errors("demo", host, port):
        from sidiff.demo.page import launch  # noqa: PLC0415
        from sidiff.serving import Recommender  # noqa: PLC0415 (imports torch)

        launch(Recommender.load(bundle), host, port)
