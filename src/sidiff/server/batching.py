"""Requests that wait at the same time, answered by one pass through the network.

One thread ranks. While it does, requests gather; when it is free, it takes all that ask
for lists of the same kind, so that batches grow with the load and nobody ever waits for
a batch to fill. A list does not depend on its company (``sidiff.serving``).
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from sidiff.serving import Recommender
from sidiff.serving.lists import Lists, UserList

USERS_AT_ONCE = 256
"""Users of one pass, at most, where more than one request shares it."""


class Options(NamedTuple):
    """Options that requests of one pass share; see ``Recommender.recommend``."""

    k: int
    exclude_seen: bool
    allow: tuple[str, ...] | None
    deny: tuple[str, ...] | None
    decoder: str | None
    explain: bool


class Answer(NamedTuple):
    """Lists of one request, and the bundle that they are of."""

    lists: Sequence[UserList]
    recommender: Recommender


class BusyError(Exception):
    """More users wait than the server is allowed to keep waiting."""


@dataclass(frozen=True)
class _Request:
    histories: Sequence[Sequence[str]]
    options: Options
    future: asyncio.Future[Answer]
    loop: asyncio.AbstractEventLoop

    def settle(self, answer: Answer | None, error: Exception | None) -> None:
        def settle() -> None:
            # The client may have gone meanwhile.
            if self.future.done():
                return
            if error is not None:
                self.future.set_exception(error)
            elif answer is not None:
                self.future.set_result(answer)

        with suppress(RuntimeError):  # the server has ended
            self.loop.call_soon_threadsafe(settle)


class Batcher:
    """The thread that ranks, and the requests that wait for it."""

    def __init__(
        self,
        recommender: Callable[[], Recommender],
        most_waiting: int,
        ranked: Callable[[int], None] = lambda users: None,
    ) -> None:
        """Begin with nobody waiting.

        Args:
            recommender: gives the one to use now, asked once per pass.
            most_waiting: users that may wait.
            ranked: told the users of every pass.
        """
        self._recommender, self._most, self._ranked = recommender, most_waiting, ranked
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
        self, histories: Sequence[Sequence[str]], options: Options
    ) -> Answer:
        """The lists of a request.

        Raises:
            BusyError: too many wait already.
            SidiffError: the options cannot be met.
        """
        loop = asyncio.get_running_loop()
        request = _Request(histories, options, loop.create_future(), loop)
        with self._changed:
            if self._ended or self._users + len(histories) > self._most:
                raise BusyError
            self._waiting.append(request)
            self._users += len(histories)
            self._changed.notify()
        return await request.future

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
        together = [request for request in together if not request.future.done()]
        if not together:
            return
        histories = [one for request in together for one in request.histories]
        try:
            recommender = self._recommender()
            lists: Lists = recommender.lists(histories, **together[0].options._asdict())
            each = list(lists)
        except Exception as error:
            for request in together:
                request.settle(None, error)
            return
        self._ranked(len(histories))
        first = 0
        for request in together:
            last = first + len(request.histories)
            request.settle(Answer(each[first:last], recommender), None)
            first = last
