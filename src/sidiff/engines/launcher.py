"""torch's elastic launcher, ``torch.distributed.run``, without its reports.

What ended a worker reaches the process that asked by the exchange, in one sentence.
"""

from __future__ import annotations

import os
import sys

WORKERS_FAILED = 3
"""Exit status where workers were lost more often than they may be started again."""


def main() -> None:
    """Start workers, and start them again, as the command line says."""
    # Read when torch is imported. The workers' own loggers do not follow these.
    os.environ["LOGLEVEL"] = "CRITICAL"
    os.environ["TORCH_CPP_LOG_LEVEL"] = "FATAL"
    from torch.distributed.elastic.multiprocessing.errors import (  # noqa: PLC0415
        ChildFailedError,
    )
    from torch.distributed.run import main as launch  # noqa: PLC0415

    try:
        launch()
    except ChildFailedError:
        sys.exit(WORKERS_FAILED)


if __name__ == "__main__":
    main()
