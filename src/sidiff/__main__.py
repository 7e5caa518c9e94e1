"""``sidiff`` and ``python -m sidiff``: the installed package run without the CLI.

A wheel carries no configuration, so say where it is: ``sidiff --conf-source=conf``.
"""

from __future__ import annotations

import sys
from typing import Any

from kedro.framework.cli.utils import find_run_command
from kedro.framework.project import configure_project


def main(*args: Any, **kwargs: Any) -> Any:
    """Run the default pipeline, or what the options of ``kedro run`` say."""
    configure_project("sidiff")
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command("sidiff")(*args, **kwargs)


if __name__ == "__main__":
    main()
