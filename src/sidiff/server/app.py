"""The HTTP service: lists, similar items, health, version, metrics."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, NamedTuple

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic_core import to_json
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import sidiff
from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.server import messages as m
from sidiff.server.batching import Batcher, BusyError, Options
from sidiff.server.current import Current
from sidiff.server.guards import BodyGuard, Counter, TokenGuard
from sidiff.server.monitoring import Monitoring

logger = logging.getLogger(__name__)

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": m.Problem, "description": what}
    for status, what in (
        (400, "The body is no JSON"),
        (401, "No token, or a wrong one"),
        (408, "The body took too long"),
        (413, "The body is too large"),
        (422, "A value is missing, unknown or wrong"),
        (503, "Too many wait already"),
    )
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": m.Problem, "description": "There is no such item"}
}


class Settings(NamedTuple):
    """The settings of a server.

    Attributes:
        path: of the bundle, as ``Current`` takes it.
        device: where lists are made.
        watch_seconds: between two looks for a newer bundle.
        most_bytes: of a body.
        body_seconds: in which a body must arrive.
        most_waiting: users that may wait for their lists.
        token: what clients must give; None for none.
    """

    path: Path
    device: Device = "auto"
    watch_seconds: float = 10.0
    most_bytes: int = 1_000_000
    body_seconds: float = 10.0
    most_waiting: int = 4096
    token: str | None = None


def create_app(settings: Settings) -> FastAPI:
    """A service for one bundle and those that follow it.

    Raises:
        SidiffError: there is no bundle, or it is damaged.
    """
    monitoring = Monitoring()
    current = Current(
        settings.path, settings.device, settings.watch_seconds, monitoring.refused
    )
    batcher = Batcher(
        lambda: current.recommender, settings.most_waiting, monitoring.ranked
    )
    monitoring.waiting(lambda: batcher.waiting)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        with current, batcher:
            yield

    app = FastAPI(
        title="sidiff",
        version=sidiff.__version__,
        description="Recommendations by masked diffusion over semantic IDs",
        lifespan=life,
        responses=_PROBLEMS,
    )
    app.add_middleware(
        BodyGuard, most_bytes=settings.most_bytes, seconds=settings.body_seconds
    )
    if settings.token is not None:
        app.add_middleware(TokenGuard, token=settings.token)
    app.add_middleware(Counter, monitoring=monitoring)
    _tell_problems(app)
    _add_lists(app, current, batcher)
    _add_state(app, current, monitoring)
    return app


def _add_lists(app: FastAPI, current: Current, batcher: Batcher) -> None:
    @app.post("/recommendations", response_model=m.Recommended)
    async def recommendations(asked: m.Asked) -> Response:
        """The best items for one user or for several."""
        options = Options(
            asked.k,
            asked.exclude_seen,
            None if asked.allow is None else tuple(asked.allow),
            None if asked.deny is None else tuple(asked.deny),
            asked.decoder,
            asked.explain,
        )
        answer = await batcher.lists(asked.histories, options)
        bundle = str(answer.recommender.about["fingerprint"])
        return _json(
            {"bundle": bundle, "lists": [m.listed(one) for one in answer.lists]}
        )

    @app.get(
        "/items/{item_id:path}/similar",
        response_model=m.Similar,
        responses=_NOT_FOUND,
    )
    async def similar(item_id: str, k: Annotated[m.Places, Query()] = 10) -> Any:
        """The items most like one item."""
        recommender = current.recommender
        if item_id not in recommender:
            raise HTTPException(404, f"There is no item {_shown(item_id)}.")
        found = await run_in_threadpool(recommender.similar, item_id, k)
        items = [m.place_of(item) for item in found.items]
        return _json({"bundle": recommender.about["fingerprint"], "items": items})


def _add_state(app: FastAPI, current: Current, monitoring: Monitoring) -> None:
    @app.get("/health")
    async def health() -> m.Health:
        """Whether lists can be made, and from which bundle."""
        about = current.recommender.about
        return m.Health(status="ok", bundle=about["fingerprint"])

    @app.get("/version")
    async def version() -> m.Version:
        """The version of server and bundle."""
        recommender = current.recommender
        about = recommender.about
        return m.Version(
            sidiff=sidiff.__version__,
            bundle=about["fingerprint"],
            dataset=about.get("dataset"),
            created=about.get("created"),
            items=about["items"],
            decoders=list(recommender.decoders),
        )

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> PlainTextResponse:
        """Counters for Prometheus."""
        page = monitoring.page(current.recommender.about["fingerprint"])
        return PlainTextResponse(page, media_type="text/plain; version=0.0.4")


def _tell_problems(app: FastAPI) -> None:
    """Every refusal is one sentence under ``detail``."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return _problem(400, "The body is no JSON.")
        place = ".".join(_shown(str(part)) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        return _problem(422, f"{place}: {said}.")

    @app.exception_handler(SidiffError)
    async def refused(_: Request, error: SidiffError) -> JSONResponse:
        return _problem(422, str(error))

    @app.exception_handler(BusyError)
    async def busy(_: Request, __: BusyError) -> JSONResponse:
        response = _problem(503, "Too many users wait already; ask again later.")
        response.headers["Retry-After"] = "1"
        return response

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        unread = error.status_code == HTTPStatus.BAD_REQUEST
        sentence = "The body is no JSON" if unread else str(error.detail)
        response = _problem(error.status_code, f"{sentence.rstrip('.')}.")
        response.headers.update(error.headers or {})
        return response


def _json(content: Any) -> Response:
    # A fifth of what a request costs beside its list is JSON by the standard library.
    return Response(to_json(content), media_type="application/json")


def _problem(status: int, sentence: str) -> JSONResponse:
    return JSONResponse({"detail": sentence}, status)


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."  # noqa: PLR2004
