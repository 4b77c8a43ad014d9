"""GET /consent.js: our own module and the published files of vanilla-cookieconsent, as one script."""

from __future__ import annotations

import gzip
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec

from services.kernel.http import Problem
from services.kernel.settings import ROOT

WEB = ROOT / "services" / "consent" / "web"
OURS = Path("consent")
LIBRARY = Path("node_modules", "vanilla-cookieconsent", "dist")
PARTS = ("choice.js", "sdks.js", "layers.js", "candor.js")
HEADERS = {
    "Cache-Control": "public, max-age=600, stale-while-revalidate=86400",
    "Vary": "Accept-Encoding",
    "Cross-Origin-Resource-Policy": "cross-origin",
    "X-Content-Type-Options": "nosniff",
}
MISSING = (
    "vanilla-cookieconsent is not installed: npm could not fetch it when this was set up. "
    "`make up` tries again, and this answers at once when it is there"
)
RETRY_SECONDS = 60


class Script(NamedTuple):
    """The script, compressed too, and its entity tag (weak: it is of both)."""

    plain: bytes
    zipped: bytes
    etag: str


class Tag:
    """The script of the files in ``web``, put together once."""

    def __init__(self, web: Path = WEB) -> None:
        self._web = web
        self._script: Script | None = None

    def script(self) -> Script:
        """Raises FileNotFoundError where the library is not installed."""
        if self._script is None:
            self._script = _compose(self._web / OURS, self._web / LIBRARY)
        return self._script


@get(
    "/consent.js",
    tags=["pop-up"],
    sync_to_thread=True,
    responses={
        200: ResponseSpec(None, description="The script.", media_type="text/javascript"),
        304: ResponseSpec(None, description="The one that If-None-Match names is current."),
        503: ResponseSpec(dict[str, Any], description="The library that it is built on is not installed."),
    },
)
def show_tag(request: Request[Any, Any, Any], state: State) -> Response[bytes]:
    """The pop-up: `<script src="…/consent.js" data-write-key="…" async></script>`, see docs/guides/tag.md."""
    tag: Tag = state.tag
    try:
        script = tag.script()
    except FileNotFoundError:
        headers = {"Retry-After": str(RETRY_SECONDS)}
        raise Problem(503, "Not installed", MISSING, headers=headers) from None
    headers = {**HEADERS, "ETag": script.etag}
    if script.etag in request.headers.get("if-none-match", ""):
        return Response(b"", status_code=304, headers=headers)
    content = script.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["Content-Encoding"] = "gzip"
        content = script.zipped
    return Response(content, headers=headers, media_type="text/javascript")


HANDLERS: list[HTTPRouteHandler] = [show_tag]


def _compose(ours: Path, library: Path) -> Script:
    css = (library / "css-components" / "base.css").read_text() + _lean((ours / "candor.css").read_text())
    # It is told of a module system, so that it leaves no name on the page, and of a storage of ours.
    load = (
        "((localStorage)=>{const exports={},module={};\n"
        f"{(library / 'cookieconsent.umd.js').read_text()}\nreturn exports}})"
    )
    body = "\n".join(_lean((ours / part).read_text()) for part in PARTS)
    plain = f'((loadLibrary,css)=>{{"use strict";\n{body}\n}})({load},{json.dumps(css)});\n'.encode()
    etag = f'W/"{hashlib.sha256(plain).hexdigest()[:32]}"'
    return Script(plain, gzip.compress(plain, 9, mtime=0), etag)


def _lean(text: str) -> str:
    """Without indentation and lines of comment. No text over several lines may stand in our files."""
    lines = (line.strip() for line in text.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith(("//", "/*")))
