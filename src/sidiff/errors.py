"""The one error type that carries a message meant for the person at the keyboard."""

from __future__ import annotations


class SidiffError(Exception):
    """A problem the user can solve; the message is one sentence that says how.

    Raised for bad input, bad settings and missing files. Anything else that
    escapes is a defect of sidiff and keeps its traceback.
    """


def find_problem(error: BaseException | None) -> SidiffError | None:
    """Return the ``SidiffError`` that ``error`` is or was caused by, if any."""
    while error is not None:
        if isinstance(error, SidiffError):
            return error
        error = error.__cause__
    return None
