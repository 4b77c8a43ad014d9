"""/consent.js: small, cached, and honest where what it is built on is missing."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import pytest
from litestar import Litestar, Request, Response
from litestar.datastructures import State
from litestar.testing import TestClient

from services.consent.tag import HANDLERS, LIBRARY, WEB, Tag
from services.kernel.http import Problem, problem_response

MOST_BYTES = 20_000
installed = pytest.mark.skipif(
    not (WEB / LIBRARY).exists(),
    reason="vanilla-cookieconsent is not installed: make test does that where it can",
)


def client(tag: Tag) -> TestClient[Litestar]:
    def refused(_: Request[Any, Any, Any], problem: Problem) -> Response[Any]:
        return problem_response(problem)

    return TestClient(Litestar(HANDLERS, state=State({"tag": tag}), exception_handlers={Problem: refused}))


@installed
def test_it_is_under_20_kb_with_everything_in_it() -> None:
    script = Tag().script()
    assert len(script.zipped) < MOST_BYTES
    assert gzip.decompress(script.zipped) == script.plain
    assert b"CookieConsent 3.1" in script.plain and b"Released under the MIT License" in script.plain
    assert b"#cc-main" in script.plain


@installed
def test_it_is_compressed_and_asked_for_once() -> None:
    with client(Tag()) as http:
        answer = http.get("/consent.js", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
        assert answer.headers["content-encoding"] == "gzip"
        assert int(answer.headers["content-length"]) < MOST_BYTES
        assert "max-age" in answer.headers["cache-control"] and answer.headers["vary"] == "Accept-Encoding"
        plain = http.get("/consent.js", headers={"Accept-Encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.content == answer.content
        again = http.get("/consent.js", headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


def test_it_says_what_is_missing_and_answers_once_it_is_there(tmp_path: Path) -> None:
    (tmp_path / "consent").symlink_to(WEB / "consent")
    with client(Tag(tmp_path)) as http:
        answer = http.get("/consent.js")
        assert answer.status_code == 503
        assert "vanilla-cookieconsent is not installed" in answer.json()["detail"]
        assert answer.headers["retry-after"]
        library = tmp_path / LIBRARY
        (library / "css-components").mkdir(parents=True)
        (library / "css-components" / "base.css").write_text("#cc-main{}")
        (library / "cookieconsent.umd.js").write_text("exports.run=()=>{}")
        assert http.get("/consent.js").status_code == 200
