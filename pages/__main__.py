"""Write the tables and figures of README and docs.

``python -m pages`` writes them from docs/data; ``python -m pages store sample`` first
stores the figures of the latest run there (``--env=NAME`` for another environment,
``--dataset=NAME`` for another data set, ``--also=NAME=DATASET/METHOD`` with a method of
another data set in its ablation).
"""

from __future__ import annotations

import argparse

from .figures import draw
from .store import store
from .tables import PAGES, fill


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="python -m pages", description=__doc__)
    parser.add_argument("action", nargs="?", choices=["store"])
    parser.add_argument("name", nargs="?", default="sample")
    parser.add_argument("--env")
    parser.add_argument("--dataset")
    parser.add_argument(
        "--also", action="append", default=[], help="NAME=DATASET/METHOD"
    )
    arguments = parser.parse_args()
    if arguments.action == "store":
        store(arguments.name, arguments.env, arguments.also, arguments.dataset)
    for page in PAGES:
        page.write_text(fill(page))
    draw()


if __name__ == "__main__":
    main()
