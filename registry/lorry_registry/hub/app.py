"""The application: the protocol's routes, and what holds for all of them."""

from __future__ import annotations

import errno
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from lorry.errors import LorryError
from lorry_registry.disk import durable
from lorry_registry.home.store import LocalStore
from lorry_registry.hub.answers import Refusal, error_answer
from lorry_registry.hub.body_limit import BodyLimit
from lorry_registry.hub.hub import Hub
from lorry_registry.hub.links import Links
from lorry_registry.hub.routes import account, files, history, lfs, listing, repositories, writing, xet
from lorry_registry.hub.settings import Settings
from lorry_registry.hub.xet import XetArea, available


def create_app(settings: Settings) -> FastAPI:
    """Return the application that serves a registry."""
    hub = Hub(LocalStore(settings.home))
    area = XetArea(hub.store) if settings.xet and available() else None

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        if area:
            area.close()

    app = FastAPI(title="lorry", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
    app.state.settings, app.state.hub, app.state.xet = settings, hub, area
    app.state.links = Links()
    for module in (account, listing, history, writing, repositories, lfs, xet, files):
        app.include_router(module.router)
    app.add_exception_handler(LorryError, _told)
    app.add_exception_handler(Refusal, _told)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _unknown)
    app.add_exception_handler(OSError, _refused_by_the_disk)
    app.add_exception_handler(ClientDisconnect, _nobody_there)
    app.add_middleware(BodyLimit)
    if settings.hosts:
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(settings.hosts), www_redirect=False)
    return app


async def _told(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, LorryError | Refusal):
        raise error
    return error_answer(error)


async def _malformed(_: Request, error: Exception) -> JSONResponse:
    first = error.errors()[0] if isinstance(error, RequestValidationError) else {"loc": (), "msg": str(error)}
    where = ".".join(map(str, first["loc"]))
    return error_answer(Refusal(400, f"{where}: {first['msg']}"))


async def _unknown(request: Request, error: Exception) -> JSONResponse:
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = error.detail if isinstance(error, HTTPException) else str(error)
    if status == HTTPStatus.NOT_FOUND:
        message = f"this server has no {request.method} {request.url.path}"
    return error_answer(Refusal(status, message))


async def _refused_by_the_disk(_: Request, error: Exception) -> JSONResponse:
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    why = durable.reason(error) if isinstance(error, OSError) else str(error)
    return error_answer(Refusal(HTTPStatus.INSUFFICIENT_STORAGE if full else HTTPStatus.INTERNAL_SERVER_ERROR, why))


async def _nobody_there(_: Request, __: Exception) -> JSONResponse:
    return error_answer(Refusal(HTTPStatus.BAD_REQUEST, "the client went away before it had sent everything"))
