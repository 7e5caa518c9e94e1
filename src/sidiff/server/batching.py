"""Requests answered together, by one pass through the network.

One thread ranks while further requests wait. When it is free, it takes the waiting
requests that have the same options. Batches grow with the load, and no request waits
for a batch to fill. A list does not depend on its batch (``sidiff.serving``).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from sidiff.server.current import ServedBundle
from sidiff.server.metrics import BATCH_USERS, WAITING_USERS
from sidiff.serving import Recommender
from sidiff.serving.lists import UserList
from sidiff.serving.recommender import ListOptions

USERS_AT_ONCE = 256
"""Largest number of users of a pass that several requests share."""
MOST_WAITING = 4096
"""Largest number of users that wait for their lists."""

Answer = tuple[list[UserList], Recommender]
"""Lists of one request, and the recommender that made them."""


class BusyError(Exception):
    """More users wait than ``MOST_WAITING``."""


class _Request(NamedTuple):
    histories: Sequence[Sequence[str]]
    options: ListOptions
    answer: asyncio.Future[Answer]


class Batcher:
    """The ranking thread and its queue of requests."""

    def __init__(self, current: ServedBundle) -> None:
        """Start without requests; ``current`` has the recommender of each pass."""
        self._current = current
        self._waiting: deque[_Request] = deque()
        self._users = 0
        self._thread = ThreadPoolExecutor(1)
        self._task: asyncio.Task[None] | None = None

    async def lists(
        self, histories: Sequence[Sequence[str]], options: ListOptions
    ) -> Answer:
        """The lists of a request.

        Raises:
            BusyError: too many users are waiting.
            SidiffError: an option is wrong for the bundle.
        """
        if self._users + len(histories) > MOST_WAITING:
            raise BusyError
        answer = asyncio.get_running_loop().create_future()
        self._waiting.append(_Request(histories, options, answer))
        self._count(len(histories))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        """Answer all waiting requests."""
        loop = asyncio.get_running_loop()
        while self._waiting:
            requests = self._take()
            histories = [one for request in requests for one in request.histories]
            recommender, options = self._current.recommender, requests[0].options
            try:
                lists = await loop.run_in_executor(
                    self._thread, recommender.lists, histories, options
                )
            except Exception as error:
                for request in requests:
                    if not request.answer.done():
                        request.answer.set_exception(error)
                continue
            BATCH_USERS.observe(len(histories))
            first = 0
            for request in requests:
                last = first + len(request.histories)
                if not request.answer.done():  # the client may have gone
                    request.answer.set_result((lists[first:last], recommender))
                first = last

    def _take(self) -> list[_Request]:
        """The first waiting request, and the others of its pass."""
        first = self._waiting.popleft()
        batch, size = [first], len(first.histories)
        others: deque[_Request] = deque()
        for request in self._waiting:
            fits = size + len(request.histories) <= USERS_AT_ONCE
            if request.options == first.options and fits:
                batch.append(request)
                size += len(request.histories)
            else:
                others.append(request)
        self._waiting = others
        self._count(-size)
        return batch

    def _count(self, users: int) -> None:
        """Add to the number of waiting users."""
        self._users += users
        WAITING_USERS.set(self._users)
