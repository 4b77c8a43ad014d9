"""Secrets and the parameters of URLs: what goes and what stays."""

from __future__ import annotations

import json
import time
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


def test_of_a_url_the_value_goes_and_all_else_stays_as_it_is_written() -> None:
    url = "/go?next=https%3A%2F%2Fy.example%2F%3Femail%3D{}%26b%3D%7e1&c=(%2)"
    assert clean(url.format("a%2540b")) == (url.format("***"), ["query"])
    assert clean("?q=a%2525253Femail%2525253Da%2525b&c=1") == (
        "?q=a%2525253Femail%2525253D***&c=1",
        ["query"],
    )
    assert clean("?to=https%3A%2F%2Fada%3Apw%40x.example%2F") == ("?to=https%3A%2F%2Fx.example%2F", ["query"])
    assert clean("?%2565mail=a") == ("?%2565mail=***", ["query"])


@pytest.mark.parametrize(
    "text",
    ["/=" * 4_000 + "email%" + "25" * 20 + "3Dx", "a=" * 8_000 + "email=x", "?" + "%3D" * 5_000 + "&email=x",
     "?" + "%252Femail%253D" * 1_000, "?token=" * 2_000, "%2F%2F" * 2_000 + "a" * 4_000 + "&email=x",
     "?" + "%25" * 5_000 + "&email=x"],
)  # fmt: skip
def test_a_text_does_not_grow_and_is_cleaned_in_time_that_goes_with_its_length(text: str) -> None:
    raw = json.dumps({"u": text}).encode()
    assert CLEANER.suspicious(raw)
    began = time.process_time()
    cleaned, kinds = CLEANER.clean(raw)
    assert time.process_time() - began < 1  # 10 ms; it was a quarter of a second, or no end
    assert kinds and len(cleaned) <= len(raw) + 2


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
        NAMES,
        st.sampled_from(
            [
                "=",
                "&",
                "?",
                "://",
                "@",
                "%3D",
                "%26",
                "%3F",
                "%25",
                "%2F%2F",
                "%40",
                "%253D",
                "%65",
                " ",
                "a",
                "1",
                '"',
            ]
        ),
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
