"""What every service's HTTP side shares: problem documents (RFC 9457), keys, health, metrics, docs."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeAlias

from litestar import Litestar, MediaType, Request, Response, get
from litestar.config.cors import CORSConfig
from litestar.connection import ASGIConnection
from litestar.datastructures import State
from litestar.exceptions import HTTPException, ValidationException
from litestar.handlers import BaseRouteHandler
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import SwaggerRenderPlugin
from litestar.openapi.spec import Components, OpenAPI, OpenAPIResponse, SecurityScheme
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from services.kernel.audit import Actor, Audit, Outcome, bounded
from services.kernel.health import Health
from services.kernel.identifier import HASH_SIZE, Identifier
from services.kernel.internal import ACTING, INTERNAL, REASON
from services.kernel.keys import Key, KeyRing
from services.kernel.outcome import CandorError, Outage
from services.kernel.postgres import DATA, OUTAGES

RETRY_SECONDS = 2
"""Retry-After of a 503."""
BEARER: list[dict[str, list[str]]] = [{"key": []}]
"""The ``security`` of handlers that need a key."""

_REFUSALS = {
    "408": "Not complete in time",
    "431": "Address and headers are too large",
    "503": "Not available now: come again after Retry-After seconds",
}
"""Anything may be answered so, by services.kernel.connection before anybody reads it."""
_KEY_REFUSALS = {"401": "No live key", "403": "The key lacks the scope that the detail names"}

log = logging.getLogger(__name__)


class Problem(CandorError):
    """An answer other than success. ``detail`` names the place in what was sent, ``headers`` go along."""

    def __init__(
        self, status: int, title: str, detail: str = "", *, headers: dict[str, str] | None = None, **more: Any
    ) -> None:
        super().__init__(f"{status} {title}: {detail}")
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers or {}
        self.more = more


def problem_response(problem: Problem) -> Response[dict[str, Any]]:
    body = {"type": "about:blank", "title": problem.title, "status": problem.status}
    if problem.detail:
        body["detail"] = problem.detail
    return Response(
        {**body, **problem.more},
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def _on_problem(_: Request[Any, Any, Any], error: Problem) -> Response[dict[str, Any]]:
    return problem_response(error)


def _on_http(_: Request[Any, Any, Any], error: HTTPException) -> Response[dict[str, Any]]:
    """Litestar's own errors. Of validation errors the places are told, never the values."""
    more: dict[str, Any] = {}
    detail = error.detail
    if isinstance(error, ValidationException):
        detail = "the request does not fit"
        more["errors"] = [
            {"place": str(item.get("key", "")), "expected": item.get("message", "")}
            for item in (error.extra or [])
            if isinstance(item, dict)
        ]
    title = {400: "Bad request", 404: "Not found", 405: "Method not allowed"}.get(error.status_code, "Error")
    return problem_response(
        Problem(error.status_code, title, detail, headers=dict(error.headers or {}), **more)
    )


def _on_outage(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    log.warning(
        "request met an outage", extra={"path": request.route_handler.handler_name, "why": str(error)}
    )
    headers = {"Retry-After": str(RETRY_SECONDS)}
    return problem_response(Problem(503, "Not available now", "try again", headers=headers))


def _on_data(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Postgres can't hold a value of the request."""
    return problem_response(Problem(400, "Bad request", "a value is out of range"))


def _on_error(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """A defect: logged with its place in the code, without what was sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace is not None else ""
    log.error("request failed", extra={"error": type(error).__name__, "place": place})
    return problem_response(Problem(500, "Internal error"))


Connection: TypeAlias = ASGIConnection[Any, Any, Any, Any]


def require(scope: str) -> Callable[[Connection, BaseRouteHandler], Awaitable[None]]:
    """A guard that lets live keys with that scope pass; others get 401, or 403 saying which is missing, which
    is logged."""

    async def guard(connection: Connection, _: BaseRouteHandler) -> None:
        if scope not in bearer(connection).scopes:
            named = connection.path_params
            target = next((str(named[name]) for name in ("key", "id", "source") if name in named), "")
            person = next((str(named[name]) for name in ("person", "identifier") if name in named), None)
            whose = set() if person is None else _hashed(connection, person)
            await note(connection, target=target, identifiers=whose, outcome="refused")
            raise Problem(403, "Forbidden", f"the key lacks the scope {scope}")

    return guard


def _hashed(connection: Connection, person: str) -> set[bytes]:
    """Whom a path names: by an identifier, or by a profile's id. Nobody, where it can't be read."""
    try:
        return {connection.app.state.hasher.of(Identifier.parse(person.removeprefix("/")))}
    except ValueError:
        pass
    try:
        id = bytes.fromhex(person)
    except ValueError:
        return set()
    return {id} if len(id) == HASH_SIZE else set()


def may(connection: Connection, scope: str) -> bool:
    """Whether the request's key is live and has that scope, as of now."""
    try:
        return scope in bearer(connection).scopes
    except Problem:
        return False


async def note(
    connection: Connection,
    *,
    target: str = "",
    profiles: Collection[bytes] = (),
    identifiers: Collection[bytes] = (),
    people: int = 0,
    outcome: Outcome = "allowed",
) -> None:
    """Log what this request is about to do, see Audit.note; the action is the name of its handler. Raises
    Outage, which is answered with 503."""
    audit: Audit = connection.app.state.audit
    await audit.note(
        actor_of(connection),
        action_of(connection),
        target=target,
        profiles=profiles,
        identifiers=identifiers,
        people=people,
        outcome=outcome,
    )


def actor_of(connection: Connection) -> Actor:
    """The request's key, or for whom another service asks, with the reason of the header X-Candor-Reason
    (UTF-8). Raises Problem."""
    key = bearer(connection)
    acting = _text(connection, ACTING) if key.id == INTERNAL else None
    return Actor(key.id, acting or key.name, reason_of(connection))


def reason_of(connection: Connection) -> str | None:
    """What the request gives as its reason, None where it gives none."""
    return bounded(_text(connection, REASON))


def _text(connection: Connection, header: str) -> str | None:
    """A header's value, which is UTF-8."""
    value = connection.headers.get(header)
    return value and value.encode("latin-1").decode("utf-8", "replace")


def action_of(connection: Connection) -> str:
    """What the audit log calls the request's handler."""
    handler = connection.route_handler
    return str(handler.name or handler.handler_name)


def bearer(connection: Connection) -> Key:
    """The live key of ``Authorization: Bearer``. Raises Problem 401."""
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    ring: KeyRing = connection.app.state.keyring
    key = ring.bearer(token.strip()) if scheme.lower() == "bearer" else None
    if key is None:
        raise Problem(
            401,
            "Unauthorized",
            "a live key is needed: Authorization: Bearer candor_…",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return key


@get("/health/live", media_type=MediaType.TEXT, sync_to_thread=False, tags=["operators"])
def live() -> str:
    """The process runs."""
    return "live"


@get("/health/ready", sync_to_thread=False, tags=["operators"])
def ready(state: State) -> Response[dict[str, Any]]:
    """200 when the service does its work, else 503 with the reason by part."""
    health: Health = state.health
    return Response(
        {"service": health.service, "ready": health.ready, "reasons": health.reasons()},
        status_code=200 if health.ready else 503,
    )


@get("/metrics", sync_to_thread=False, tags=["operators"])
def metrics_page() -> Response[bytes]:
    """Prometheus metrics."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST.removesuffix("; charset=utf-8"))


@get("/openapi.json", sync_to_thread=False, include_in_schema=False)
def openapi(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The service's OpenAPI document."""
    return request.app.openapi_schema.to_schema()


def create_app(
    service: str,
    summary: str,
    handlers: Sequence[ControllerRouterHandler],
    health: Health,
    keyring: KeyRing,
    audit: Audit,
    *,
    cors: CORSConfig | None = None,
    **state: Any,
) -> Litestar:
    """The service's application: ``handlers`` and what all services have. ``state`` goes to app.state.

    ``cors``: for a service that browsers call from the pages of others.
    """
    static = files("swagger_ui") / "static"
    app = Litestar(
        [
            *handlers,
            live,
            ready,
            metrics_page,
            openapi,
            create_static_files_router(
                "/docs/assets", [str(static)], include_in_schema=False, opt={"public": True}
            ),
        ],
        state=State({"health": health, "keyring": keyring, "audit": audit, **state}),
        exception_handlers={
            Problem: _on_problem,
            HTTPException: _on_http,
            Outage: _on_outage,
            **dict.fromkeys(OUTAGES, _on_outage),
            **dict.fromkeys(DATA, _on_data),
            Exception: _on_error,
        },
        openapi_config=OpenAPIConfig(
            title=f"Candor {service}",
            version="1",
            description=summary,
            path="/docs",
            components=Components(
                security_schemes={"key": SecurityScheme(type="http", scheme="bearer", description="candor_…")}
            ),
            render_plugins=[
                SwaggerRenderPlugin(
                    path="/",
                    favicon='<link rel="icon" href="/docs/assets/favicon-32x32.png">',
                    js_url="/docs/assets/swagger-ui-bundle.js",
                    css_url="/docs/assets/swagger-ui.css",
                    standalone_preset_js_url="/docs/assets/swagger-ui-standalone-preset.js",
                ),
            ],
        ),
        cors_config=cors,
        lifespan=[lambda _: keyring.noting()],
        logging_config=None,
        debug=False,
    )
    add_refusals(app.openapi_schema)
    return app


def add_refusals(document: OpenAPI) -> None:
    """Add to each operation the refusals that it does not name itself."""
    for item in (document.paths or {}).values():
        for operation in filter(None, (item.get, item.put, item.post, item.delete)):
            refusals = _REFUSALS | (_KEY_REFUSALS if operation.security == BEARER else {})
            told = {status: OpenAPIResponse(text) for status, text in refusals.items()}
            operation.responses = dict(sorted({**told, **(operation.responses or {})}.items()))
