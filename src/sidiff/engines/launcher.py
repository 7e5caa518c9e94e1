"""torch's elastic launcher, ``torch.distributed.run``, without its reports.

What ended a worker reaches the process that asked by the exchange, in one sentence.
"""

from __future__ import annotations

import sys

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.run import main as launch

from sidiff.engines.exchange import WORKERS_FAILED


def main() -> None:
    """Start workers, and start them again, as the command line says."""
    try:
        launch()
    except ChildFailedError:
        sys.exit(WORKERS_FAILED)


if __name__ == "__main__":
    main()
