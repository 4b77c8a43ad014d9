"""The demo shop's own server, as any shop has one: its pages, and what takes a secret key.

`python -m deploy.demo.storefront PORT` serves it, with the environment of the services.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import sys
from collections.abc import AsyncIterator
from string import Template

import aiohttp
from aiohttp import web

from deploy.demo.customers import Customers, Unavailable
from deploy.demo.memberships import Memberships
from deploy.demo.segments import PROBED
from services.kernel import key_file, keys
from services.kernel.settings import ROOT, SERVICES, Settings

SHOP = ROOT / "examples" / "shop"
SDK = SHOP / "node_modules" / "@segment" / "analytics-next" / "dist" / "umd"
SOURCE = "shop-web"
SEGMENT = PROBED
SERVED = {".html", ".css", ".js", ".svg"}
COOKIE = "session"


class Storefront:
    """``addresses``: of ingest, consent and segment; ``tokens``: of the pages' write key (``web``), a server
    key and one that reads segments (``admin``)."""

    def __init__(self, addresses: dict[str, str], tokens: dict[str, str]) -> None:
        self._addresses = addresses
        self._tokens = tokens
        self._sessions: dict[str, dict[str, str]] = {}
        self._client: aiohttp.ClientSession
        self._customers: Customers
        self._memberships: Memberships

    def application(self) -> web.Application:
        application = web.Application()
        application.cleanup_ctx.append(self._connected)
        application.add_routes(
            [
                web.get("/session", self.session),
                web.post("/login", self.login),
                web.post("/logout", self.logout),
                web.get("/my-data", self.my_data),
                web.get("/live", self.live),
                web.static("/analytics", SDK),
                web.get("/{name:[a-z]*(?:\\.[a-z]+)?}", self.page),
            ]
        )
        return application

    async def _connected(self, _: web.Application) -> AsyncIterator[None]:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as self._client:
            self._customers = Customers(self._client, self._addresses["consent"], self._tokens["server"])
            self._memberships = Memberships(self._client, self._addresses["segment"], self._tokens["admin"])
            yield

    async def page(self, request: web.Request) -> web.StreamResponse:
        """A file of the shop; in HTML the addresses and the write key are put in."""
        path = SHOP / (request.match_info["name"] or "index.html")
        if path.suffix not in SERVED or not path.is_file():
            raise web.HTTPNotFound
        if path.suffix != ".html":
            return web.FileResponse(path)
        values = {
            "INGEST": self._addresses["ingest"],
            "CONSENT": self._addresses["consent"],
            "WRITE_KEY": self._tokens["web"],
        }
        return web.Response(text=Template(path.read_text()).substitute(values), content_type="text/html")

    async def session(self, request: web.Request) -> web.Response:
        """Who is logged in."""
        return web.json_response(self._sessions.get(request.cookies.get(COOKIE, ""), {}))

    async def login(self, request: web.Request) -> web.Response:
        """Log in without a password, and pass the visitor's choice on before the page says who it is."""
        if request.content_type != "application/json":  # which no form of another site can send
            raise web.HTTPUnsupportedMediaType
        body = await request.json()
        customer = {"name": str(body["name"]), "user_id": _user_id(str(body["email"]))}
        try:
            await self._customers.pass_on(customer["user_id"], body.get("choice") or {})
        except Unavailable as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from error
        token = secrets.token_urlsafe()
        self._sessions[token] = customer
        answer = web.json_response(customer)
        answer.set_cookie(COOKIE, token, httponly=True, samesite="Lax")
        return answer

    async def logout(self, request: web.Request) -> web.Response:
        self._sessions.pop(request.cookies.get(COOKIE, ""), None)
        answer = web.Response(status=204)
        answer.del_cookie(COOKIE)
        return answer

    async def my_data(self, request: web.Request) -> web.Response:
        """On to the page of the customer's own data, through a link made for them; who is not logged in goes
        to log in."""
        customer = self._sessions.get(request.cookies.get(COOKIE, ""))
        if customer is None:
            raise web.HTTPSeeOther("/account.html")
        try:
            url = await self._customers.link(customer["user_id"])
        except Unavailable as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from error
        return web.Response(
            status=303,
            headers={"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"},
        )

    async def live(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events: whether this visitor is in the segment, now and from now on."""
        visitor = request.query["anonymous_id"]
        answer = web.StreamResponse(
            headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"}
        )
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError, aiohttp.ClientError):
            async for said in self._memberships.follow(SEGMENT, visitor):
                await answer.write(f"data: {json.dumps(said)}\n\n".encode())
        return answer


def _user_id(email: str) -> str:
    """Of an account; an e-mail address is no identifier to give to others."""
    return f"shop-{hashlib.sha256(email.strip().lower().encode()).hexdigest()[:16]}"


def write_key(settings: Settings) -> str:
    """The write key of the shop's pages, made where there is none yet and kept beside the first keys."""
    kept = settings.home / "shop.json"
    if kept.exists():
        token: str = json.loads(kept.read_text())[SOURCE]
        if keys.KeyRing(settings.keyring).write_key(token):
            return token
    if any(key.name == SOURCE for key in keys.list_keys(settings.keyring)):
        keys.revoke(settings.keyring, SOURCE)
    token = keys.create(settings.keyring, SOURCE, "write", SOURCE)
    key_file.replace(kept, json.dumps({SOURCE: token}).encode() + b"\n")
    return token


def main() -> None:
    """Serve the shop of this installation until told to stop."""
    settings = Settings.from_environment()
    tokens = json.loads((settings.home / "keys.json").read_text())
    addresses = {name: f"http://{settings.host}:{settings.port(name)}" for name in SERVICES}
    storefront = Storefront(
        addresses, {"web": write_key(settings), "server": tokens["demo-server"], "admin": tokens["admin"]}
    )
    # Visitors who are shown their segment live would hold a stop up.
    web.run_app(
        storefront.application(), host=settings.host, port=int(sys.argv[1]), print=None, shutdown_timeout=1
    )


if __name__ == "__main__":
    main()
