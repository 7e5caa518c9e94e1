"""Middleware for all requests: token, limits of the body, metrics."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse

from sidiff.server.metrics import REQUEST_SECONDS, REQUESTS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

OPEN = ("/health",)
"""Paths without a token, for load balancers."""
MOST_BYTES = 1_000_000
"""Largest size of a body."""
SECONDS = 10.0
"""Time for a body to arrive."""


class Middleware:
    """Token, limits and metrics around an ASGI application."""

    def __init__(self, app: App, token: str | None) -> None:
        """Wrap ``app``; clients must give ``token`` unless it is None."""
        self.app, self.token = app, token

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_and_keep_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        app: App = self.app
        if not self._has_token(scope):
            app = problem(401, "Give the token: Authorization: Bearer TOKEN.")
            app.headers["WWW-Authenticate"] = "Bearer"
        try:
            await app(scope, _limited(receive), send_and_keep_status)
        finally:
            # The pattern of the path, because labels must have few values.
            route = getattr(scope.get("route"), "path", "other")
            REQUESTS.labels(route, str(status)).inc()
            REQUEST_SECONDS.labels(route).observe(time.perf_counter() - began)

    def _has_token(self, scope: Message) -> bool:
        if self.token is None or scope["path"] in OPEN:
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, token = given.partition(b" ")
        same = secrets.compare_digest(token, self.token.encode())
        return same and kind.lower() == b"bearer"


def _limited(receive: Receive) -> Receive:
    """Limit the size of a body and the time in which it arrives."""
    size, whole = 0, False
    deadline = asyncio.get_running_loop().time() + SECONDS

    async def read() -> Message:
        nonlocal size, whole
        if whole:
            return await receive()
        try:
            async with asyncio.timeout_at(deadline):
                message = await receive()
        except TimeoutError as error:
            sentence = f"The body did not arrive within {SECONDS:g} seconds."
            raise HTTPException(408, sentence) from error
        size += len(message.get("body", b""))
        whole = not message.get("more_body", False)
        if size > MOST_BYTES:
            raise HTTPException(
                413,
                f"The body is larger than {MOST_BYTES:,} bytes; send fewer users or "
                "items at a time.",
            )
        return message

    return read


def problem(status: int, sentence: str) -> JSONResponse:
    """An error response with one sentence."""
    return JSONResponse({"detail": sentence}, status)
