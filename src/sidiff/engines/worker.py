"""One of the workers of a training: the work itself, and what it reports.

A report is a kind and its content. The engine carries it to the process that started
the training, which shows log and epochs and keeps the result.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from sidiff.errors import SidiffError
from sidiff.snapshots import SnapshotFolder
from sidiff.storage import StorageError
from sidiff.training.denoising import Job
from sidiff.training.loop import fit
from sidiff.training.workers import Workers

REFUSED = "refused"
"""Report of an error that the user must correct; starting again would not help."""

FAILED = "failed"
"""Report of an error that may pass when the workers are started again.

Content: [is_sidiff_error, message]. It outranks the connection errors of the other
workers.
"""

Report = Callable[[str, Any], None]


class LogReports(logging.Handler):
    """A handler that reports log records, for the starting process to show."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report

    def emit(self, record: logging.LogRecord) -> None:
        """Report a record, its values put in."""
        self._report("log", [record.levelno, record.name, record.getMessage()])


def work(job: Job, report: Report, workers: Workers) -> None:
    """Do the job as one of ``workers``, and report it."""
    logger, handler = logging.getLogger("sidiff"), LogReports(report)
    # Kedro, where it is imported, would show the log of this process as well.
    logger.propagate = False
    if workers.first:
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    try:
        fitted = fit(job, lambda *epoch: report("epoch", epoch), workers)
        if workers.first:
            used = [] if job.checkpoints is None else job.checkpoints.used
            report("checkpoints", used)
            # Arrays, because tensors would go through shared memory.
            weights = {name: tensor.numpy() for name, tensor in fitted.weights.items()}
            report("result", [weights, fitted.config, fitted.history, fitted.masking])
    finally:
        logger.removeHandler(handler)
        logger.propagate = True


@contextmanager
def reported(report: Report) -> Iterator[None]:
    """Report the error that ends the block, and raise it again.

    Errors that a user must correct are not raised: the block ends as if its work was
    done, and the workers are not started again.
    """
    try:
        yield
    except StorageError as error:  # the store may be back at the next start
        report(FAILED, [True, str(error)])
        raise
    except SidiffError as error:
        report(REFUSED, str(error))
    except Exception as error:
        report("log", [logging.DEBUG, __name__, traceback.format_exc()])
        report(FAILED, [False, f"{type(error).__name__}: {error}"])
        raise


def absolute(checkpoints: SnapshotFolder | None) -> SnapshotFolder | None:
    """The checkpoints as a process with another working folder finds them."""
    if checkpoints is None:
        return None
    return SnapshotFolder(checkpoints.location, checkpoints.files)
