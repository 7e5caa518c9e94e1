"""Requests that wait at the same time, answered by one pass through the network.

One thread ranks. While it does, requests gather; when it is free, it takes all that ask
for lists of the same kind, so that batches grow with the load and nobody ever waits for
a batch to fill. A list does not depend on its company (``sidiff.serving``).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from sidiff.serving import Recommender
from sidiff.serving.lists import UserList

USERS_AT_ONCE = 256
"""Users of one pass, at most, where more than one request shares it."""
MOST_WAITING = 4096
"""Users that may wait for their lists."""


class Answer(NamedTuple):
    """Lists of one request, and the bundle that they are of."""

    lists: list[UserList]
    recommender: Recommender


class BusyError(Exception):
    """More users wait than the server is allowed to keep waiting."""


class _Request(NamedTuple):
    histories: Sequence[Sequence[str]]
    options: Mapping[str, Any]
    future: Future[Answer]


class Batcher:
    """The thread that ranks, and the requests that wait for it."""

    def __init__(
        self, recommender: Callable[[], Recommender], ranked: Callable[[int], None]
    ) -> None:
        """Begin with nobody waiting.

        Args:
            recommender: gives the one to use now, asked once per pass.
            ranked: told the users of every pass.
        """
        self._recommender, self._ranked = recommender, ranked
        self._waiting: deque[_Request] = deque()
        self._users = 0
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._work, daemon=True)

    def __enter__(self) -> Batcher:
        """Begin to work."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Answer who waits, and end."""
        with self._changed:
            self._ended = True
            self._changed.notify()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """Users that wait."""
        return self._users

    async def lists(
        self, histories: Sequence[Sequence[str]], options: Mapping[str, Any]
    ) -> Answer:
        """The lists of a request, with ``options`` as of ``Recommender.lists``.

        Raises:
            BusyError: too many wait already.
            SidiffError: the options cannot be met.
        """
        request = _Request(histories, options, Future())
        with self._changed:
            if self._ended or self._users + len(histories) > MOST_WAITING:
                raise BusyError
            self._waiting.append(request)
            self._users += len(histories)
            self._changed.notify()
        return await asyncio.wrap_future(request.future)

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                if not self._waiting:
                    return
                together = self._take()
            self._answer(together)

    def _take(self) -> list[_Request]:
        """The request that waits longest, and those that may share its pass."""
        first = self._waiting.popleft()
        together, size = [first], len(first.histories)
        left: deque[_Request] = deque()
        for request in self._waiting:
            fits = size + len(request.histories) <= USERS_AT_ONCE
            if request.options == first.options and fits:
                together.append(request)
                size += len(request.histories)
            else:
                left.append(request)
        self._waiting = left
        self._users -= size
        return together

    def _answer(self, together: list[_Request]) -> None:
        # The client may have gone meanwhile.
        left = [one for one in together if one.future.set_running_or_notify_cancel()]
        if not left:
            return
        histories = [one for request in left for one in request.histories]
        try:
            recommender = self._recommender()
            lists = list(recommender.lists(histories, **left[0].options))
        except Exception as error:
            for request in left:
                request.future.set_exception(error)
            return
        self._ranked(len(histories))
        first = 0
        for request in left:
            last = first + len(request.histories)
            request.future.set_result(Answer(lists[first:last], recommender))
            first = last
