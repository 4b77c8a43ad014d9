"""Secrets and the parameters of URLs: what goes and what stays."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cleaner import CLEANER, RULES


def clean(value: Any) -> tuple[Any, list[str]]:
    raw = json.dumps(value).encode()
    cleaned, kinds = CLEANER.clean(raw)
    if kinds:
        assert CLEANER.suspicious(raw) and not CLEANER.harmless(raw)
    return msgspec.json.decode(cleaned), kinds


@pytest.mark.parametrize(
    "name",
    ["password", "Password", "user_password", "newPassword", "PASSWORD", "pass-word", "pass word", "passwd",
     "password1", "password2", "accessToken", "access_token", "X-Api-Key", "apikey", "client_secret",
     "Authorization", "Proxy-Authorization", "Set-Cookie", "credentials", "otp",
     "ｐａｓｓｗｏｒｄ", "pass\u00adword"],
)  # fmt: skip
@pytest.mark.parametrize("value", ["hunter2", 12345, {"a": "hunter2"}, ["hunter2"]])
def test_secrets_go_by_name_at_any_depth(name: str, value: Any) -> None:
    assert clean({"a": [{"b": {name: value, "plan": "gold"}}]}) == (
        {"a": [{"b": {"plan": "gold"}}]},
        ["secret"],
    )
    nested = json.dumps({"b": {name: value, "plan": "gold"}})
    assert clean({"a": nested}) == ({"a": '{"b":{"plan":"gold"}}'}, ["secret"])


@pytest.mark.parametrize(
    "members",
    [
        {"device": {"token": "abc", "type": "ios"}},
        {"deviceToken": "abc"},
        {"push_token": "abc"},
        {"tokens": 1500, "total_tokens": 3},
        {"token_type": "bearer", "password_strength": "good", "secretary": "Ada"},
        {"has_password": True, "token": None},
        {"url": "https://x.example/?utm_source=email&q=token&page=2"},
        {"url": "https://x.example/?emails=2&iphone=15&key=4"},
        {"text": "an email = a letter", "to": "a@x.example"},
    ],
)
def test_what_only_resembles_a_secret_stays(members: Any) -> None:
    assert clean(members) == (members, [])


@pytest.mark.parametrize(
    ("url", "cleaned"),
    [
        ("https://x.example/a?email=a%40b.c&x=1#top", "https://x.example/a?email=***&x=1#top"),
        ("?x=1&customerEmail=a@b.c", "?x=1&customerEmail=***"),
        ("https://x.example/#access_token=abc&state=1", "https://x.example/#access_token=***&state=1"),
        ("/reset;token=abc;x=1", "/reset;token=***;x=1"),
        ("user[email]=a@b.c&user[age]=4", "user[email]=***&user[age]=4"),
        ("?user%5Bemail%5D=a", "?user%5Bemail%5D=***"),
        ("Error at https://x.example/?E-Mail=a@b in x.js", "Error at https://x.example/?E-Mail=*** in x.js"),
        ("login failed: password=hunter2, retry", "login failed: password=*** retry"),
        ("https://ada:hunter2@x.example/a", "https://x.example/a"),
        ("/go?to=https://x.example/?token=abc", "/go?to=https://x.example/?token=***"),
    ],
)  # fmt: skip
def test_parameters_of_urls_are_hidden(url: str, cleaned: str) -> None:
    assert clean({"a": {"url": url}}) == ({"a": {"url": cleaned}}, ["query"])
    assert clean({"a": cleaned}) == ({"a": cleaned}, [])


@pytest.mark.parametrize("times", [1, 2, 3])
def test_urls_within_parameters_are_cleaned_however_often_they_are_encoded(times: int) -> None:
    inner = "https://y.example/?email=hunter2@x.example&b=1"
    for _ in range(times):
        inner = quote(inner, safe="")
    for text in (f"https://x.example/go?next={inner}&a=1", f"/?q={inner}", inner):
        cleaned, kinds = clean({"url": text})
        assert kinds == ["query"] and "hunter2" not in cleaned["url"]


NAMES = st.sampled_from(
    [
        *RULES.secrets.names,
        *RULES.queries.parameters,
        "device",
        "keep",
        "e mail",
        "x",
        "%5Btoken%5D",
        "to\\ken",
    ]
)
TEXTS = st.lists(
    st.one_of(
        NAMES, st.sampled_from(["=", "&", "?", "://", "@", "%3D", "%26", "%3F", "%25", " ", "a", "1", '"'])
    )
).map("".join)
JSON = st.recursive(
    TEXTS | st.booleans() | st.none() | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES | TEXTS, inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.integers(0, 2))
def test_what_the_look_lets_pass_the_whole_search_leaves_alone(value: Any, nested: int) -> None:
    for _ in range(nested):
        value = {"x": json.dumps(value)}
    raw = json.dumps(value).encode()
    _, kinds = CLEANER.clean(raw)
    if kinds:
        assert CLEANER.suspicious(raw) and not CLEANER.harmless(raw)


@given(JSON)
def test_cleaning_twice_is_cleaning_once(value: Any) -> None:
    once, _ = CLEANER.clean(json.dumps(value).encode())
    assert CLEANER.clean(once)[0] == once
