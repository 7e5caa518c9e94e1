"""Guards of the endpoints: limits of a body, the token, the counters."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.responses import JSONResponse

from sidiff.server.monitoring import Monitoring

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = ("/health",)
"""Paths that need no token: what a load balancer asks."""
SECONDS = 10.0
"""In which a body must arrive."""


class BodyGuard:
    """Reads a body whole before anything else happens, within a size and a time."""

    def __init__(self, app: App, most_bytes: int) -> None:
        self.app, self.most_bytes = app, most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(SECONDS):
                body = await self._read(receive)
        except TimeoutError:
            sentence = f"The body did not arrive within {SECONDS:g} seconds."
            await problem(408, sentence)(scope, receive, send)
            return
        if body is None:
            sentence = (
                f"The body is larger than {self.most_bytes:,} bytes; send fewer users "
                "or items at a time."
            )
            await problem(413, sentence)(scope, receive, send)
            return
        given = False

        async def again() -> MutableMapping[str, Any]:
            nonlocal given
            if given:
                return await receive()
            given = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self.app(scope, again, send)

    async def _read(self, receive: Receive) -> bytes | None:
        parts, size, more = [], 0, True
        while more:
            message = await receive()
            part = message.get("body", b"")
            size += len(part)
            if size > self.most_bytes:
                return None
            parts.append(part)
            more = message.get("more_body", False)
        return b"".join(parts)


class TokenGuard:
    """Lets in who has the token."""

    def __init__(self, app: App, token: str) -> None:
        self.app, self.token = app, token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "http" and scope["path"] not in OPEN:
            given = dict(scope["headers"]).get(b"authorization", b"")
            kind, _, token = given.partition(b" ")
            known = secrets.compare_digest(token, self.token)
            if kind.lower() != b"bearer" or not known:
                response = problem(401, "Give the token: Authorization: Bearer TOKEN.")
                response.headers["WWW-Authenticate"] = "Bearer"
                await response(scope, receive, send)
                return
        await self.app(scope, receive, send)


class Counter:
    """Counts every request by its route and outcome, and how long it took."""

    def __init__(self, app: App, monitoring: Monitoring) -> None:
        self.app, self.monitoring = app, monitoring

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def noted(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            # The pattern of the path, of which there are few.
            route = getattr(scope.get("route"), "path", "other")
            self.monitoring.requests.labels(route, str(status)).inc()
            seconds = time.perf_counter() - began
            self.monitoring.seconds.labels(route).observe(seconds)


def problem(status: int, sentence: str) -> JSONResponse:
    """A refusal in one sentence."""
    return JSONResponse({"detail": sentence}, status)
