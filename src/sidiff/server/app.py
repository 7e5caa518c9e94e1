"""Routes of the HTTP service: lists, similar items, health, version, metrics."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from prometheus_client import generate_latest
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

import sidiff
from sidiff.errors import SidiffError
from sidiff.parameters import Device
from sidiff.server import messages as m
from sidiff.server.batching import Batcher, BusyError
from sidiff.server.current import ServedBundle
from sidiff.server.middleware import Middleware, problem
from sidiff.serving.recommender import ListOptions

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": m.Problem, "description": description}
    for status, description in (
        (400, "The body is no JSON"),
        (401, "No token, or a wrong one"),
        (408, "The body took too long"),
        (413, "The body is too large"),
        (422, "A value is missing, unknown or wrong"),
        (503, "Too many users are waiting"),
    )
}
_NOT_FOUND: dict[int | str, dict[str, Any]] = {
    404: {"model": m.Problem, "description": "There is no such item"}
}


def create_app(
    bundle: Path, device: Device, watch_seconds: float, token: str | None
) -> FastAPI:
    """The application that serves the newest bundle at a path.

    It checks for a newer bundle every ``watch_seconds``. Clients must give ``token``
    unless it is None.

    Raises:
        SidiffError: there is no bundle, or it is damaged.
    """
    current = ServedBundle(bundle, device)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        watch = asyncio.create_task(current.follow(watch_seconds))
        yield
        watch.cancel()

    app = FastAPI(
        title="sidiff",
        version=sidiff.__version__,
        description="Recommendations by masked diffusion over semantic IDs",
        lifespan=lifespan,
        responses=_PROBLEMS,
    )
    app.add_middleware(Middleware, token=token)
    _add_error_handlers(app)
    _add_lists(app, current)
    _add_state(app, current)
    return app


def _add_lists(app: FastAPI, current: ServedBundle) -> None:
    batcher = Batcher(current)

    @app.post("/recommendations", response_model=m.ListsResponse)
    async def recommendations(request: m.ListsRequest) -> Response:
        """The best items for one user or for several."""
        options = ListOptions(**request.model_dump(exclude={"histories"}))
        lists, recommender = await batcher.lists(request.histories, options)
        bundle = recommender.about["fingerprint"]
        return _json(m.ListsResponse(bundle=bundle, lists=lists))

    @app.get(
        "/items/{item_id:path}/similar",
        response_model=m.SimilarItems,
        responses=_NOT_FOUND,
    )
    async def similar(item_id: str, k: Annotated[m.Places, Query()] = 10) -> Any:
        """The items most similar to one item."""
        recommender = current.recommender
        if item_id not in recommender:
            raise HTTPException(404, f"There is no item {_shortened(item_id)}.")
        found = await run_in_threadpool(recommender.similar, item_id, k)
        bundle = recommender.about["fingerprint"]
        return _json(m.SimilarItems(bundle=bundle, items=list(found)))


def _add_state(app: FastAPI, current: ServedBundle) -> None:
    @app.get("/health")
    async def health() -> m.Health:
        """The state of the server and its bundle."""
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
        """Metrics for Prometheus."""
        page = generate_latest()
        return PlainTextResponse(page, media_type="text/plain; version=0.0.4")


def _add_error_handlers(app: FastAPI) -> None:
    """Answer every error with one sentence under ``detail``."""

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        if first["type"] == "json_invalid":
            return problem(400, "The body is no JSON.")
        place = ".".join(_shortened(str(part)) for part in first["loc"])
        clause = first["msg"].removeprefix("Value error, ")
        return problem(422, f"{place}: {clause}.")

    @app.exception_handler(SidiffError)
    async def refused(_: Request, error: SidiffError) -> JSONResponse:
        return problem(422, str(error))

    @app.exception_handler(BusyError)
    async def busy(_: Request, __: BusyError) -> JSONResponse:
        response = problem(503, "Too many users are waiting; try again later.")
        response.headers["Retry-After"] = "1"
        return response

    @app.exception_handler(HTTPException)
    async def other(_: Request, error: HTTPException) -> JSONResponse:
        no_json = error.status_code == HTTPStatus.BAD_REQUEST
        sentence = "The body is no JSON" if no_json else str(error.detail)
        response = problem(error.status_code, f"{sentence.rstrip('.')}.")
        response.headers.update(error.headers or {})
        return response


def _json(answer: BaseModel) -> Response:
    """JSON without the fields that have their default value."""
    content = answer.model_dump_json(exclude_defaults=True)
    return Response(content, media_type="application/json")


def _shortened(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:80]}..."  # noqa: PLR2004
