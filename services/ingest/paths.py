"""Every path that SDKs send to, and what is done there (reference: ingest-api)."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple

from services.ingest.domain.calls import ALIAS, GROUP, IDENTIFY, PAGE, SCREEN, TRACK


class Does(Enum):
    """What a path does, with the method that it takes."""

    COLLECT = ("collect", "POST")
    BEACON = ("beacon", "POST")
    """Collects; the write key may stand in the query."""
    IGNORE = ("ignore", "POST")
    """Takes what SDKs tell of themselves, and keeps nothing."""
    MERGE = ("merge", "POST")
    PIXEL = ("pixel", "GET")
    SETTINGS = ("settings", "GET")
    SOURCE = ("source", "GET")

    @property
    def method(self) -> str:
        return self.value[1]


class Route(NamedTuple):
    """``type``: of the only call, None for a batch. ``like``: the path that this one is another name of.
    ``write_key``: the one that stands in the path."""

    does: Does
    type: str | None
    like: str
    write_key: str | None = None


_LETTERS = {TRACK: "t", IDENTIFY: "i", PAGE: "p", SCREEN: "s", GROUP: "g", ALIAS: "a"}
_BATCHES = ("/v1/batch", "/v1/import", "/v1/b", "/v1/batch/b")
_SETTINGS = "/settings"
SETTINGS = "/v1/projects/{writeKey}/settings"


def _documented() -> dict[str, Route]:
    """The paths as SDKs name them, each followed by its other names."""
    routes: dict[str, Route] = {}
    for type_, letter in _LETTERS.items():
        for path in (f"/v1/{type_}", f"/v1/{letter}"):
            routes[path] = Route(Does.COLLECT, type_, f"/v1/{type_}")
    for path in _BATCHES:
        like = path if path == "/v1/import" else "/v1/batch"
        routes[path] = Route(Does.COLLECT, None, like)
    for type_ in _LETTERS:
        routes[f"/v1/pixel/{type_}"] = Route(Does.PIXEL, type_, f"/v1/pixel/{type_}")
    routes["/v1/m"] = Route(Does.IGNORE, None, "/v1/m")
    routes["/v1/merge"] = Route(Does.MERGE, None, "/v1/merge")
    return routes


def _served() -> dict[str, Route]:
    routes = _documented()
    routes |= {path.removeprefix("/v1"): route for path, route in routes.items()}
    for type_ in (TRACK, PAGE):
        routes[f"/pixel/v1/{type_}"] = Route(Does.PIXEL, type_, f"/v1/pixel/{type_}")
    routes["/beacon/v1/batch"] = Route(Does.BEACON, None, "/beacon/v1/batch")
    routes["/sourceConfig"] = Route(Does.SOURCE, None, "/sourceConfig")
    return routes | {f"{path}/": route for path, route in routes.items()}


ROUTES = _served()
"""Each path that is always the same, with and without trailing slash."""


def route(path: str) -> Route | None:
    """What that path does, None where it is none of ours."""
    known = ROUTES.get(path)
    if known is not None:
        return known
    path = path.removesuffix("/").removeprefix("/v1")
    write_key = path.removeprefix("/projects/").removesuffix(_SETTINGS)
    if path == f"/projects/{write_key}{_SETTINGS}" and write_key and "/" not in write_key:
        return Route(Does.SETTINGS, None, SETTINGS, write_key)
    return None
