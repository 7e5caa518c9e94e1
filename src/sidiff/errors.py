"""The error type whose messages are written for the user."""

from __future__ import annotations


class SidiffError(Exception):
    """A problem that the user can solve; the message is one sentence that says how.

    It is raised for bad input, bad settings and missing files. Any other exception is a
    defect of sidiff and shows its traceback.
    """


def find_problem(error: BaseException | None) -> SidiffError | None:
    """Return the ``SidiffError`` that ``error`` is or was caused by, if any."""
    while error is not None:
        if isinstance(error, SidiffError):
            return error
        error = error.__cause__
    return None
