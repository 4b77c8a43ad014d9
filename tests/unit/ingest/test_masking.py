"""Card data in JSON: wherever it stands, in any type, under a telling name; the cheap look misses none."""

from __future__ import annotations

import json
import re
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.kernel.outcome import BadRecord
from tests.support.card_numbers import BRANDS, FULL_WIDTH, SEPARATORS, card_number, grouped
from tests.support.cleaner import CLEANER

NUMBERS = st.builds(card_number, st.sampled_from(sorted(BRANDS)), st.randoms(use_true_random=False))
WRITTEN = st.one_of(
    st.builds(grouped, NUMBERS, st.sampled_from(SEPARATORS)),
    NUMBERS.map(lambda number: number.translate(FULL_WIDTH)),
    NUMBERS.map(lambda number: "".join(f"%3{digit}" for digit in number)),
    NUMBERS.map(int),
    NUMBERS.map(float).filter(lambda number: number < 2**53),
)
NAMES = st.text("abcdefgxyz_", min_size=1, max_size=8)


def places(card: Any) -> st.SearchStrategy[Any]:
    """JSON with the card somewhere in it."""
    return st.recursive(
        st.just(card),
        lambda inner: st.one_of(
            st.lists(inner, min_size=1, max_size=2),
            st.dictionaries(NAMES, inner, min_size=1, max_size=2),
        ),
        max_leaves=4,
    )


def clean(value: Any, *, ascii_only: bool = True) -> tuple[Any, list[str]]:
    cleaned, kinds = CLEANER.clean(json.dumps(value, ensure_ascii=ascii_only).encode())
    return msgspec.json.decode(cleaned), kinds


@given(WRITTEN.flatmap(places), st.booleans())
def test_a_number_goes_from_any_place_and_is_seen_by_the_cheap_look(value: Any, ascii_only: bool) -> None:
    raw = json.dumps({"a": value}, ensure_ascii=ascii_only).encode()
    assert CLEANER.suspicious(raw)
    cleaned, kinds = CLEANER.clean(raw)
    assert "number" in kinds
    assert not CLEANER.suspicious(cleaned)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
    | st.sampled_from(["cvv", "cardNumber", " [] ", '{"code":"737"}'])
    | st.text("0123456789 -.%cvsdCV+/\n", min_size=5) | WRITTEN,
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(
        st.text()
        | st.sampled_from(["cvv", "card_number", "card[cvc2]", "Security Code", "exp", "cc-no"])
        | st.sampled_from(["card", "ccData", "code", "PIN", "expiry", "name", "value"]),
        inner,
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@given(JSON, st.booleans())
def test_what_the_cheap_look_lets_pass_the_whole_search_leaves_alone(value: Any, ascii_only: bool) -> None:
    raw = json.dumps(value, ensure_ascii=ascii_only).encode()
    cleaned, kinds = CLEANER.clean(raw)
    if not CLEANER.suspicious(raw):
        assert kinds == []
    if not kinds:
        assert msgspec.json.decode(cleaned) == msgspec.json.decode(raw)


PIECES = st.lists(
    NUMBERS
    | st.builds(grouped, NUMBERS, st.sampled_from([" ", "-", ".", "%20", "  ", "+", "/", "\n", "&nbsp;"]))
    | st.sampled_from(
        ["%20", "%22", "%40", "%2F", "%26", "%3D", " ", "-", "_", ".", "x", "@", "DE", "e1", "00"]
    )
    | st.text("0123456789", min_size=1, max_size=24),
    min_size=1,
    max_size=6,
).map("".join)


@example("user%404111111111111111")
@example("?q=%224111111111111111%22")
@example("pay%204111111111111111")
@example("%2200%201234%205678%209019")
@example("%200041111111111111111")
@example("1.2.6524409800.1663494099 x 4111 1111 1111 1111 x 1.2.6524409800.1663494099")
@given(PIECES)
def test_digits_among_digits_and_escapes_are_not_let_pass(text: str) -> None:
    raw = json.dumps({"a": text}).encode()
    _, kinds = CLEANER.clean(raw)
    if kinds:
        assert CLEANER.suspicious(raw)
    for calls in ([raw], [b"{}", raw]):
        harmless, suspicious = list(CLEANER.each(calls))[-1]
        assert harmless is CLEANER.harmless(raw) and suspicious is (CLEANER.suspicious(raw) and not harmless)
        assert not (kinds and harmless)


@pytest.mark.parametrize(
    "before", ["", "[", '{"a":', '{"a":-', '{"a": ', '{"a":[', '{"a":[1,', '{"a":[[\n', '{"a":0,"b":']
)
@pytest.mark.parametrize("number", ["1" * 20, "1" * 25 + ".5", "1e400", "1.5E+999"])
def test_a_number_that_may_be_too_large_is_not_harmless(before: str, number: str) -> None:
    rest = "]" * before.count("[") + "}" * before.count("{")
    assert not CLEANER.harmless((before + number + rest).encode())
    assert not CLEANER.harmless(f'{{"batch":[{{}},{before}{number}{rest}]}}'.encode())
    assert CLEANER.harmless(f'{{"batch":[{before.replace("-", "")}"{"1" * 20}"{rest}]}}'.encode())


@pytest.mark.parametrize(
    "ids",
    [
        ["1.2.6524409800.1663494099", "fb.1.1734476260806.5274364249"],
        ["58687965206196", "978-7-852-86159-2"],
        ["20260610072041366", "010883116347300", "9670261692046649361146"],
    ],
)
def test_ids_of_digits_are_harmless_alone_and_among_others(ids: list[str]) -> None:
    raw = json.dumps(dict(zip("abc", ids, strict=False))).encode()
    assert CLEANER.harmless(raw)
    assert CLEANER.harmless(b'{"batch":[' + b",".join([raw] * 100) + b"]}")


@pytest.mark.parametrize(
    "unit",
    ["4 ", "6011 ", "4111111111111112 ", "6" * 19 + "x", "81" * 31 + "x", "%204", "%226011", "63 63-63."],
)
def test_the_look_takes_work_in_proportion_whatever_the_digits(unit: str) -> None:
    def work(size: int) -> int:
        """Calls of functions, as their time is another each time."""
        raw = f'{{"a":"{unit * (size // len(unit))}"}}'.encode()
        calls = 0

        def count(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count)
        try:
            CLEANER.suspicious(raw)
        finally:
            sys.setprofile(None)
        return calls

    assert work(64_000) < 1.2 * 16 * work(4_000)


@given(JSON)
def test_cleaning_twice_is_cleaning_once(value: Any) -> None:
    once, _ = CLEANER.clean(json.dumps(value).encode())
    assert CLEANER.clean(once) == (once, [])


@pytest.mark.parametrize(
    "name",
    ["cvv", "CVV2", "cvc", "card_cvc", "card[cvc]", "csc", "cvn", "securityCode", "card_security_code",
     "cardNumber", "card-number", "cc_number", "ccNum", "creditCardNumber", "card.number",
     "cardVerificationValue", "card_pin", "ｃｖｖ", "billing_cvv_code", "cardSecurity", "card_verification",
     "CAV2", "track2Data", "track_1_data"],
)  # fmt: skip
def test_members_are_dropped_by_their_name(name: str) -> None:
    raw = json.dumps({"payment": {name: "737", "amount": 5}}, ensure_ascii=False).encode()
    assert CLEANER.suspicious(raw)
    cleaned, kinds = CLEANER.clean(raw)
    assert (msgspec.json.decode(cleaned), kinds) == ({"payment": {"amount": 5}}, ["key"])


@pytest.mark.parametrize(
    "name", ["gift_card_number", "card_name", "cvv_result", "card_type", "discarded", "expiry", "cid"]
)
def test_innocent_names_stay(name: str) -> None:
    assert clean({name: "737"}) == ({name: "737"}, [])


@pytest.mark.parametrize("container", ["card", "creditCard", "cards", "cc", "card_data", "cardDetails"])
@pytest.mark.parametrize("name", ["code", "pin", "security", "verification", "expiry", "exp", "expDate"])
def test_short_names_are_those_of_card_data_within_a_card(container: str, name: str) -> None:
    card = {name: "737", "brand": "visa"}
    for value in (
        {container: card},
        {container: [card]},
        {container: json.dumps(card)},
        {container: {"fields": [], "a": 1} | card},
    ):
        raw = json.dumps(value).encode()
        assert CLEANER.suspicious(raw) and not CLEANER.harmless(raw)
        cleaned, kinds = CLEANER.clean(raw)
        assert kinds == ["key"] and b"visa" in cleaned and b"737" not in cleaned


@pytest.mark.parametrize("container", ["gift_card", "loyaltyCards", "coupon", "karte", "discard"])
def test_short_names_stay_elsewhere(container: str) -> None:
    value = {container: {"code": "737", "expiry": "12/28"}, "card": {"code": "SKU-737", "pin": True}}
    assert clean(value) == (value, [])


@pytest.mark.parametrize("label", ["name", "key", "id", "field"])
def test_a_value_goes_by_the_name_that_stands_beside_it(label: str) -> None:
    value = {"form": [{label: "cvv", "value": "737"}, {label: "plan", "value": "gold"}]}
    assert clean(value) == ({"form": [{label: "cvv"}, {label: "plan", "value": "gold"}]}, ["key"])
    assert CLEANER.suspicious(json.dumps(value).encode())
    assert clean({label: "password", "value": "hunter2"}) == ({label: "password"}, ["secret"])
    assert CLEANER.suspicious(json.dumps({label: "password", "value": "hunter2"}).encode())


@pytest.mark.parametrize("before", ["", " ", "\n", "\ufeff"])
def test_json_in_a_text_is_searched_with_space_around_it(before: str) -> None:
    text = before + '{"cvv": "737", "plan": "gold"}' + before.replace("\ufeff", "")
    assert clean({"body": text}) == ({"body": '{"plan":"gold"}'}, ["key"])


@pytest.mark.parametrize("separator", ["\n", "\t", "\r\n", "/"])
@pytest.mark.parametrize("nested", [0, 1, 2])
def test_a_number_over_lines_goes_however_deep_the_json_it_stands_in(separator: str, nested: int) -> None:
    value: Any = {"note": grouped("4111111111111111", separator)}
    for _ in range(nested):
        value = {"body": json.dumps(value)}
    raw = json.dumps(value).encode()
    assert CLEANER.suspicious(raw) and not CLEANER.harmless(raw)
    assert CLEANER.clean(raw)[1] == ["number"]


def test_the_expiry_in_an_address_goes_with_the_number_beside_it() -> None:
    url = "https://x.example/pay?{}&exp=12%2F28&page=2"
    assert clean({"url": url.format("n=4111111111111111")})[0] == {
        "url": "https://x.example/pay?n=[card visa 1111]&exp=***&page=2"
    }
    assert clean({"url": url.format("n=1")}) == ({"url": url.format("n=1")}, [])


def test_a_number_that_is_a_name_goes() -> None:
    assert clean({"4111111111111111": 1}) == ({"[card visa 1111]": 1}, ["number"])


def test_expiry_goes_with_the_card_it_stands_beside_and_stays_elsewhere() -> None:
    value = {
        "card": {"no": "4111111111111111", "exp_month": 12, "expYear": 2028},
        "coupon": {"expiry": "2028"},
    }
    assert clean(value) == (
        {"card": {"no": "[card visa 1111]"}, "coupon": {"expiry": "2028"}},
        ["number", "key", "key"],
    )


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("4111111111111111", "1111"),
        ("4111111111111111.0", "1111"),
        ("4.111111111111111e15", "1111"),
        ("4.0000000000051E+15", "5100"),
        ("41111111111111111228737", "1111"),
    ],
)
def test_numbers_of_json_are_searched_whatever_their_form(text: str, last: str) -> None:
    raw = f'{{"n":{text}}}'.encode()
    assert CLEANER.suspicious(raw)
    assert CLEANER.clean(raw) == (f'{{"n":"[card visa {last}]"}}'.encode(), ["number"])


@pytest.mark.parametrize(
    "text", ["52.5200065999999", "0.4111111111111111", "1e999", "100000000000000000000000000000"]
)
def test_other_numbers_keep_their_text(text: str) -> None:
    raw = f'{{"n":{text},"card_number":"x"}}'.encode()
    assert CLEANER.clean(raw) == (f'{{"n":{text}}}'.encode(), ["key"])


@pytest.mark.parametrize(
    "value",
    [
        {"t": 1764000000000, "id": "ajs-next-1764000000000-550e8400-e29b-41d4-a716-446655440000"},
        {
            "url": "https://shop.example/karte?q=gr%C3%BCn&ref=https%3A%2F%2Fx.example",
            "title": "Größe – 42 €",
        },
        {"event": "Product Card Clicked", "timestamp": "2026-11-23T15:14:00.123Z"},
    ],
)
def test_ordinary_events_are_not_searched(value: Any) -> None:
    assert not CLEANER.suspicious(json.dumps(value).encode())
    assert not CLEANER.suspicious(json.dumps(value, ensure_ascii=False).encode())


def test_a_body_of_ordinary_events_is_harmless_at_one_look() -> None:
    event = {
        "t": 1764000000000,
        "id": "ajs-next-1735700000000-550e8400-e29b-41d4-a716-446655440000",
        "n": "card",
    }
    assert CLEANER.harmless(json.dumps({"batch": [event] * 10}).encode())
    assert not CLEANER.harmless(json.dumps({"batch": [event, {"cvv": 1}]}).encode())
    assert not CLEANER.harmless(json.dumps({"batch": [event, "4111111111111111"]}).encode())
    assert not CLEANER.harmless(json.dumps({"batch": [event, "ü"]}).encode())


@given(st.integers(0, 24), st.integers(0, 24))
def test_only_the_calls_that_need_it_are_looked_at_closer(card: int, umlaut: int) -> None:
    calls = [b'{"event":"Page","userId":"u%d"}' % i for i in range(25)]
    calls[umlaut] = '{"event":"Grüße"}'.encode()
    calls[card] = b'{"note":"4111 1111 1111 1111"}'
    looks = list(CLEANER.each(calls))
    assert [i for i, (_, suspicious) in enumerate(looks) if suspicious] == [card]
    assert [i for i, (harmless, _) in enumerate(looks) if not harmless] == sorted({card, umlaut})


@example(b'{"u":"a@b://me@host"}')
@given(st.text(":/@?#b ", max_size=30).map(lambda text: f'{{"u":"x{text}"}}'.encode()))
def test_a_user_before_a_host_is_seen_wherever_it_stands(raw: bytes) -> None:
    if re.search(rb'://[^/?#\s"]*@', raw):
        assert CLEANER.suspicious(raw)


@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_a_user_before_a_host_goes_however_slashes_are_written(slash: str) -> None:
    raw = f'{{"u":"https:{slash}{slash}ada:hunter2@x.example{slash}a"}}'.encode()
    assert CLEANER.suspicious(raw) and not CLEANER.harmless(raw)
    assert CLEANER.clean(raw) == (b'{"u":"https://x.example/a"}', ["query"])


def test_what_can_not_be_read_is_refused() -> None:
    with pytest.raises(BadRecord) as caught:
        CLEANER.clean(b'{"a": "\xff4111111111111111"}')
    assert caught.value.reason == "unreadable" and "4111" not in str(caught.value)


def test_too_deep_is_refused() -> None:
    with pytest.raises(BadRecord):
        CLEANER.clean(b"[" * 5000 + b"4111111111111111" + b"]" * 5000)


def test_a_text_that_is_json_too_deep_to_be_searched_goes_whole() -> None:
    assert CLEANER.text("[" * 5_000 + "]" * 5_000) == ("***", ["secret"])
