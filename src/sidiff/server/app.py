"""The HTTP service: lists, similar items, health, version, metrics."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import sidiff
from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.server import messages as m
from sidiff.server.batching import Batcher, BusyError
from sidiff.server.current import Current
from sidiff.server.guards import BodyGuard, Counter, TokenGuard, problem
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


def create_app(
    bundle: Path,
    device: Device,
    watch_seconds: float,
    most_bytes: int,
    token: str | None,
) -> FastAPI:
    """A service for one bundle and those that follow it.

    Args:
        bundle: its path, as ``Current`` takes it.
        device: where lists are made.
        watch_seconds: between two looks for a newer bundle.
        most_bytes: of a request's body.
        token: what clients must give; None for none.

    Raises:
        SidiffError: there is no bundle, or it is damaged.
    """
    monitoring = Monitoring()
    current = Current(bundle, device, watch_seconds, monitoring.refused.inc)
    batcher = Batcher(lambda: current.recommender, monitoring.users.observe)
    monitoring.waiting.set_function(lambda: batcher.waiting)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(current.follow())
        with batcher:
            yield
        watch.cancel()

    app = FastAPI(
        title="sidiff",
        version=sidiff.__version__,
        description="Recommendations by masked diffusion over semantic IDs",
        lifespan=life,
        responses=_PROBLEMS,
    )
    app.add_middleware(BodyGuard, most_bytes=most_bytes)
    if token is not None:
        app.add_middleware(TokenGuard, token=token)
    app.add_middleware(Counter, monitoring=monitoring)
    _tell_problems(app)
    _add_lists(app, current, batcher)
    _add_state(app, current, monitoring)
    return app


def _add_lists(app: FastAPI, current: Current, batcher: Batcher) -> None:
    @app.post("/recommendations", response_model=m.Recommended)
    async def recommendations(asked: m.Asked) -> Response:
        """The best items for one user or for several."""
        answer = await batcher.lists(
            asked.histories, asked.model_dump(exclude={"histories"})
        )
        bundle = answer.recommender.about["fingerprint"]
        return _json(m.Recommended(bundle=bundle, lists=answer.lists))

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
        bundle = recommender.about["fingerprint"]
        return _json(m.Similar(bundle=bundle, items=list(found)))


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
            return problem(400, "The body is no JSON.")
        place = ".".join(_shown(str(part)) for part in first["loc"])
        said = first["msg"].removeprefix("Value error, ")
        return problem(422, f"{place}: {said}.")

    @app.exception_handler(SidiffError)
    async def refused(_: Request, error: SidiffError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(BusyError)
    async def busy(_: Request, __: BusyError) -> JSONResponse:
        response = problem(503, "Too many users wait already; ask again later.")
        response.headers["Retry-After"] = "1"
        return response

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        unread = error.status_code == HTTPStatus.BAD_REQUEST
        sentence = "The body is no JSON" if unread else str(error.detail)
        response = problem(error.status_code, f"{sentence.rstrip('.')}.")
        response.headers.update(error.headers or {})
        return response


def _json(answer: BaseModel) -> Response:
    # What has a default is left out where nothing is known of it.
    content = answer.model_dump_json(exclude_defaults=True)
    return Response(content, media_type="application/json")


def _shown(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."  # noqa: PLR2004
