"""The write-key paths in /openapi.json and /docs: Litestar does not serve them, so it can't describe them."""

from __future__ import annotations

from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    PathItem,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIType

from services.ingest.api import PATHS
from services.ingest.domain.calls import MAX_EVENT, MAX_EVENTS
from services.ingest.domain.inflate import MAX_BODY

_BASIC = "writeKey"
_TEXT = Schema(type=OpenAPIType.STRING)
_ID = Schema(type=[OpenAPIType.STRING, OpenAPIType.NUMBER])
_TIME = Schema(
    type=[OpenAPIType.STRING, OpenAPIType.NUMBER], description="ISO 8601, or milliseconds or seconds"
)
_OBJECT = Schema(type=OpenAPIType.OBJECT)
_SHARED = {"writeKey": _TEXT, "sentAt": _TIME, "context": _OBJECT, "integrations": _OBJECT}
_CALL = {
    "messageId": Schema(type=OpenAPIType.STRING, max_length=100),
    "userId": _ID,
    "anonymousId": _ID,
    "timestamp": _TIME,
    "context": _OBJECT,
    "integrations": _OBJECT,
}
_OF_TYPE: dict[str, tuple[dict[str, Schema], list[str]]] = {
    "track": ({"event": _TEXT, "properties": _OBJECT}, ["event"]),
    "identify": ({"traits": _OBJECT}, []),
    "page": ({"name": _TEXT, "category": _TEXT, "properties": _OBJECT}, []),
    "screen": ({"name": _TEXT, "category": _TEXT, "properties": _OBJECT}, []),
    "group": ({"groupId": _ID, "traits": _OBJECT}, ["groupId"]),
    "alias": ({"previousId": _ID}, ["previousId", "userId"]),
}
_REFUSALS = {
    "400": "Unreadable: no JSON, no batch, broken gzip",
    "401": "Unknown write key",
    "413": f"More than {MAX_BODY} bytes or {MAX_EVENTS} events",
    "503": "Can't be made durable now: come again after Retry-After seconds",
}


def describe(app: Litestar) -> None:
    """Add the write-key paths to the application's OpenAPI document."""
    schema = app.openapi_schema
    schema.paths = {path: _path(path, type_) for path, type_ in PATHS.items()} | (schema.paths or {})
    schema.components.security_schemes = (schema.components.security_schemes or {}) | {
        _BASIC: SecurityScheme(type="http", scheme="basic", description="User name: the write key")
    }


def _path(path: str, type_: str | None) -> PathItem:
    if type_ is None:
        calls = Schema(type=OpenAPIType.ARRAY, items=_call(None), max_items=MAX_EVENTS)
        body = Schema(type=OpenAPIType.OBJECT, properties={"batch": calls, **_SHARED}, required=["batch"])
        summary = f"Many calls, {MAX_EVENT} bytes each. Bad ones become dead letters, the others go on."
    else:
        body = _call(type_)
        summary = f"One {type_} call"
    problem = {
        "application/problem+json": OpenAPIMediaType(
            schema=Schema(
                type=OpenAPIType.OBJECT,
                properties={"code": _TEXT, "message": _TEXT, "error": _TEXT, "detail": _TEXT},
            )
        )
    }
    success = Schema(type=OpenAPIType.OBJECT, properties={"success": Schema(const=True)})
    responses = {
        "200": OpenAPIResponse("Durable", content={"application/json": OpenAPIMediaType(schema=success)}),
        **{status: OpenAPIResponse(text, content=dict(problem)) for status, text in _REFUSALS.items()},
    }
    responses["503"].headers = {"Retry-After": OpenAPIHeader(schema=Schema(type=OpenAPIType.INTEGER))}
    return PathItem(
        post=Operation(
            tags=["events"],
            summary=summary,
            operation_id=path.rsplit("/", 1)[1],
            security=[{_BASIC: []}, {}],
            request_body=RequestBody(
                content={kind: OpenAPIMediaType(schema=body) for kind in ("application/json", "text/plain")},
                description="The write key may stand in the body. Content-Encoding: gzip is understood.",
                required=True,
            ),
            responses=dict(responses),
        )
    )


def _call(type_: str | None) -> Schema:
    if type_ is None:
        of_types = {name: schema for members, _ in _OF_TYPE.values() for name, schema in members.items()}
        return Schema(
            type=OpenAPIType.OBJECT,
            properties={"type": Schema(enum=sorted(_OF_TYPE)), **_CALL, **of_types},
            required=["type"],
        )
    members, required = _OF_TYPE[type_]
    return Schema(type=OpenAPIType.OBJECT, properties={**_SHARED, **_CALL, **members}, required=required)
