"""``sidiff`` and ``python -m sidiff``: what an installed package can do by itself.

``sidiff serve BUNDLE`` answers requests, ``sidiff demo BUNDLE`` shows a page. Anything
else runs the pipelines without Kedro's command line: a wheel carries no configuration,
so say where it is, ``sidiff --conf-source=conf``.
"""

from __future__ import annotations

import sys
from typing import Any


def main(*args: Any, **kwargs: Any) -> Any:
    """Run ``serve`` or ``demo``; without these words, ``kedro run``."""
    given = list(args[0]) if args else sys.argv[1:]
    # Neither of the two knows Kedro.
    if given[:1] == ["serve"]:
        from sidiff.server.command import serve  # noqa: PLC0415

        return serve(given[1:], prog_name="sidiff serve")
    if given[:1] == ["demo"]:
        from sidiff.demo.command import demo  # noqa: PLC0415

        return demo(given[1:], prog_name="sidiff demo")
    from kedro.framework.cli.utils import find_run_command  # noqa: PLC0415
    from kedro.framework.project import configure_project  # noqa: PLC0415

    configure_project("sidiff")
    kwargs["standalone_mode"] = not hasattr(sys, "ps1")
    return find_run_command("sidiff")(*args, **kwargs)


if __name__ == "__main__":
    main()
