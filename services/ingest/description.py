"""The write-key paths in /openapi.json and /docs: Litestar does not serve them, so it can't describe them."""

from __future__ import annotations

from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIMediaType,
    OpenAPIResponse,
    Operation,
    Parameter,
    PathItem,
    RequestBody,
    Schema,
    SecurityScheme,
)
from litestar.openapi.spec.enums import OpenAPIType

from services.ingest.domain.calls import MAX_EVENT, MAX_EVENTS
from services.ingest.domain.inflate import MAX_BODY
from services.ingest.paths import ROUTES, SETTINGS, Does, Route
from services.kernel.http import add_refusals

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
    "429": "The key has sent as much as it may for now: come again after Retry-After seconds",
    "503": "Can't be made durable now: come again after Retry-After seconds",
}


def describe(app: Litestar) -> None:
    """Add the write-key paths to the application's OpenAPI document, each once, with its other names."""
    schema = app.openapi_schema
    routes = ROUTES | {SETTINGS: Route(Does.SETTINGS, None, SETTINGS)}
    ours = {path: _item(path, route) for path, route in routes.items() if path == route.like}
    schema.paths = ours | (schema.paths or {})
    schema.components.security_schemes = (schema.components.security_schemes or {}) | {
        _BASIC: SecurityScheme(type="http", scheme="basic", description="User name: the write key")
    }
    add_refusals(schema)


def _item(path: str, route: Route) -> PathItem:
    operation = _OPERATIONS[route.does](route)
    operation.tags = ["events"]
    operation.operation_id = "_".join(part for part in path.split("/") if part and "{" not in part)
    others = [other for other in ROUTES if ROUTES[other].like == path != other and not other.endswith("/")]
    if others:
        operation.description = f"Also: {', '.join(others)}. Each with a trailing slash too."
    return PathItem(post=operation) if route.does.method == "POST" else PathItem(get=operation)


def _collect(route: Route) -> Operation:
    if route.type is None:
        calls = Schema(type=OpenAPIType.ARRAY, items=_call(None), max_items=MAX_EVENTS)
        body = Schema(type=OpenAPIType.OBJECT, properties={"batch": calls, **_SHARED}, required=["batch"])
        summary = f"Many calls, {MAX_EVENT} bytes each. Bad ones become dead letters, the others go on."
    else:
        body = _call(route.type)
        summary = f"One {route.type} call"
    success = Schema(type=OpenAPIType.OBJECT, properties={"success": Schema(const=True)})
    responses = {
        "200": OpenAPIResponse("Durable", content={"application/json": OpenAPIMediaType(schema=success)}),
        **{status: _problem(text) for status, text in _REFUSALS.items()},
    }
    for status in ("429", "503"):
        responses[status].headers = {"Retry-After": OpenAPIHeader(schema=Schema(type=OpenAPIType.INTEGER))}
    return Operation(
        summary=summary,
        security=[{_BASIC: []}, {}],
        parameters=[_TEST],
        request_body=RequestBody(
            content={kind: OpenAPIMediaType(schema=body) for kind in ("application/json", "text/plain")},
            description="The write key may stand in the body. Content-Encoding: gzip is understood.",
            required=True,
        ),
        responses=dict(responses),
    )


def _beacon(route: Route) -> Operation:
    operation = _collect(route)
    operation.parameters = [_query("writeKey", "The write key, as beacons carry no Authorization")]
    return operation


def _pixel(route: Route) -> Operation:
    return Operation(
        summary=f"One {route.type} call as an image. The answer says nothing of what became of the call.",
        parameters=[
            _query("data", "The call as JSON in base64, of either alphabet"),
            _query("writeKey", "The write key, where data has none"),
            _query("properties.NAME", "Without data: each member of the call by its place"),
        ],
        responses={"200": OpenAPIResponse("A transparent pixel", content={"image/gif": OpenAPIMediaType()})},
    )


def _ignore(route: Route) -> Operation:
    return Operation(
        summary="What SDKs measure of themselves: taken, not kept",
        responses={"200": OpenAPIResponse("Read and forgotten")},
    )


def _merge(route: Route) -> Operation:
    return Operation(
        summary="Not supported: identifiers are joined by alias calls",
        responses={"400": _problem("Always, so that SDKs don't come again")},
    )


def _settings(route: Route) -> Operation:
    key = Parameter(name="writeKey", param_in="path", schema=_TEXT, required=True)
    return Operation(
        summary="What Segment's SDKs fetch first: where to send",
        parameters=[key],
        responses={"200": OpenAPIResponse("Settings"), "404": _problem("Unknown write key")},
    )


def _source(route: Route) -> Operation:
    return Operation(
        summary="What RudderStack's SDKs fetch first: a source without destinations",
        security=[{_BASIC: []}, {}],
        parameters=[_query("writeKey", "The write key, where there is no Authorization")],
        responses={"200": OpenAPIResponse("Source"), "404": _problem("Unknown write key")},
    )


_OPERATIONS = {
    Does.COLLECT: _collect,
    Does.BEACON: _beacon,
    Does.IGNORE: _ignore,
    Does.MERGE: _merge,
    Does.PIXEL: _pixel,
    Does.SETTINGS: _settings,
    Does.SOURCE: _source,
}
_TEST = Parameter(
    name="X-Candor-Test",
    param_in="header",
    schema=Schema(const="1"),
    description="Marks test events, which are applied to no profile",
)


def _query(name: str, description: str) -> Parameter:
    return Parameter(name=name, param_in="query", schema=_TEXT, description=description)


def _problem(text: str) -> OpenAPIResponse:
    members = {"code": _TEXT, "message": _TEXT, "error": _TEXT, "detail": _TEXT}
    schema = Schema(type=OpenAPIType.OBJECT, properties=dict(members))
    return OpenAPIResponse(text, content={"application/problem+json": OpenAPIMediaType(schema=schema)})


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
