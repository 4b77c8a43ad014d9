"""The pages for people: /transparency, whole without a script, and /preferences, a client of the API in the
browser.

What opens /preferences stands in the fragment of its address, which no browser sends: neither the pages nor
their logs ever see it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from litestar import Request, Response, get
from litestar.datastructures import State
from litestar.handlers import HTTPRouteHandler
from litestar.params import FromPath, QueryParameter

from services.consent.asking import declared_place
from services.consent.domain.page import fill, period, preferred
from services.consent.domain.policy_shown import catalog_shown, policy_shown
from services.consent.flow.unlisted import KEPT, unlisted_since
from services.kernel.clock import Clock
from services.kernel.http import Problem
from services.kernel.policy import Policy
from services.kernel.policy.model import Place
from services.kernel.settings import Settings

FOLDER = Path(__file__).parent / "web" / "pages"
THEME = "theme.css"
MEDIA = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HTML_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Language",
}
ASSET_HEADERS = {"Cache-Control": "public, max-age=60", "X-Content-Type-Options": "nosniff"}

TEXTS: Mapping[str, dict[str, Any]] = {
    path.stem: msgspec.json.decode(path.read_bytes()) for path in sorted(FOLDER.glob("*.json"))
}
"""By language: its name, the texts of the pages and those of the script."""
ASSETS = {path.name: path for path in FOLDER.iterdir() if path.suffix in MEDIA}

_templates = Environment(
    loader=FileSystemLoader(FOLDER),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.filters["fill"] = fill

Language = Annotated[str | None, QueryParameter(description="BCP 47, else as Accept-Language has it")]


@get("/transparency", tags=["pages"], media_type="text/html")
async def show_transparency(
    request: Request[Any, Any, Any],
    state: State,
    language: Language = None,
    jurisdiction: Annotated[str | None, QueryParameter(description="A country such as DE, or US-CA")] = None,
) -> Response[str]:
    """What is collected, why, for how long and who gets it, for people to read."""
    place = declared_place(jurisdiction)
    policy: Policy = state.policies.current
    clock: Clock = state.clock
    reader = _reader(request, policy, language)
    seen = await unlisted_since(state.pool, clock.now() - KEPT)
    catalog = catalog_shown(policy, policy.language(reader), seen)
    return _page("transparency", policy, reader, place, catalog=catalog)


@get("/preferences", tags=["pages"], media_type="text/html", sync_to_thread=False)
def show_preferences(
    request: Request[Any, Any, Any], state: State, language: Language = None
) -> Response[str]:
    """A person's choices, receipts, data and requests. Opened with `#visitor=…` or `#link=…`."""
    policy: Policy = state.policies.current
    return _page("preferences", policy, _reader(request, policy, language), None)


@get("/pages/{name:str}", include_in_schema=False)
async def show_asset(state: State, name: FromPath[str]) -> Response[bytes]:
    """Scripts and styles of the pages; the theme is the operator's file."""
    settings: Settings = state.settings
    path = settings.theme if name == THEME else ASSETS.get(name)
    if path is None:
        raise Problem(404, "Not found")
    content = path.read_bytes() if path.is_file() else b""
    return Response(content, media_type=MEDIA[Path(name).suffix], headers=ASSET_HEADERS)


HANDLERS: list[HTTPRouteHandler] = [show_transparency, show_preferences, show_asset]


def _reader(request: Request[Any, Any, Any], policy: Policy, wanted: str | None) -> str:
    """The best language for whoever asks of those that both the pages and the policy have texts in."""
    return preferred(wanted, request.headers.get("accept-language", ""), _languages(policy))


def _languages(policy: Policy) -> list[str]:
    """The policy's in its order, as its first one is that of those who read none of the others."""
    return [language for language in policy.texts if language in TEXTS] or [next(iter(TEXTS))]


def _page(name: str, policy: Policy, language: str, place: Place | None, **more: Any) -> Response[str]:
    texts = TEXTS[language]
    shown = policy_shown(policy, policy.language(language), place)
    html = _templates.get_template(f"{name}.html").render(
        here=name,
        language=language,
        direction=shown["direction"],
        languages={code: TEXTS[code]["name"] for code in _languages(policy)},
        t=texts["page"],
        script=texts["script"],
        policy=shown,
        controller=shown["controller"],
        purposes={purpose["id"]: purpose["name"] for purpose in shown["purposes"]},
        period=lambda days: period(days, texts["page"]),
        **more,
    )
    return Response(html, media_type="text/html", headers=HTML_HEADERS)
