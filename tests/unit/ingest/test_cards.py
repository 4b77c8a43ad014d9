"""Card data in texts: every brand in every writing goes, ids stay."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.kernel.masking import cards
from services.kernel.masking.issuers import brand, luhn
from tests.support.card_numbers import BRANDS, FULL_WIDTH, SEPARATORS, card_number, grouped
from tests.support.id_corpus import ids

NUMBERS = st.builds(card_number, st.sampled_from(sorted(BRANDS)), st.randoms(use_true_random=False))
WORDS = st.text("abcdefghijklmnopqrstuvwxyz &?=:,;äöü", max_size=20)


@given(NUMBERS, st.sampled_from(SEPARATORS), WORDS, WORDS)
def test_no_number_survives_whatever_stands_between_and_around(
    number: str, separator: str, before: str, after: str
) -> None:
    text = before + grouped(number, separator) + after
    masked, kinds = cards.mask(text)
    assert kinds[0] in (cards.NUMBER, cards.TRACK)
    assert grouped(number, separator) not in masked
    assert number[:-4] not in masked
    assert masked.startswith(before + "[card ")
    assert number[-4:] + "]" in masked


@given(NUMBERS)
def test_full_width_digits_are_digits(number: str) -> None:
    masked, _ = cards.mask("Karte " + number.translate(FULL_WIDTH))
    assert masked.startswith("Karte [card ") and masked.endswith(f"{number[-4:]}]")


@given(NUMBERS, st.sampled_from(["/", "-", " / ", "."]), st.sampled_from([" ", ", ", " cvv ", "|"]))
def test_expiry_and_code_go_with_the_number(number: str, slash: str, gap: str) -> None:
    masked, _ = cards.mask(f"paid {number} 12{slash}28{gap}737 thanks")
    assert re.fullmatch(r"paid \[card \w+ \d{4}] thanks", masked)


@given(NUMBERS.filter(lambda number: len(number) >= 15))
def test_a_number_with_expiry_and_code_right_behind_it_does_not_hide(number: str) -> None:
    masked, kinds = cards.mask(f"{number}1228737")
    assert kinds == [cards.NUMBER] and re.fullmatch(r"\[card \w+ \d{4}]", masked)


def test_a_number_between_other_digits_does_not_hide() -> None:
    assert cards.mask("12345 4111 1111 1111 1111 12 28 123")[0] == "12345 [card visa 1111]"
    assert cards.mask("99994111111111111111")[0] == "9999[card visa 1111]"


def test_a_last_group_may_go_on() -> None:
    assert cards.mask("4111 1111 1111 11111228")[0] == "[card visa 1111]"


@pytest.mark.parametrize("text", ["55 000000 00 000004", "550 0000000000004", "5500.000000000004"])
def test_groups_as_no_card_has_them_stay(text: str) -> None:
    assert cards.mask(text) == (text, [])


def test_two_numbers_both_go() -> None:
    masked, kinds = cards.mask("4111111111111111 5500 0000 0000 0004")
    assert (masked, kinds) == ("[card visa 1111] [card mastercard 0004]", ["number", "number"])


@pytest.mark.parametrize(
    "track",
    ["%B4111111111111111^DOE/JANE^28121010000000000?", ";4111111111111111=28121010000000000?"],
)
def test_track_data_go_whole(track: str) -> None:
    masked, kinds = cards.mask(f"swipe {track} end")
    assert kinds == [cards.TRACK]
    assert "DOE" not in masked and "2812" not in masked and masked.endswith(" end")


@pytest.mark.parametrize(
    "text",
    [
        "cvv=737",
        "CVC: 737",
        '"cvv2":"737"',
        "security code is 7371",
        "https://shop/pay?cvv=737&x=1",
        "csc 737",
    ],
)
def test_codes_behind_their_name_go(text: str) -> None:
    masked, kinds = cards.mask(text)
    assert kinds == [cards.CODE] and "737" not in masked


@pytest.mark.parametrize("kind", ["iban", "tracking number"])
def test_what_has_check_digits_of_its_own_stays(kind: str) -> None:
    texts = [text for of, text in ids(20261123, 2_000) if of == kind and len(text) >= 20]
    wrong = [text for text in texts if cards.mask(f"to {text} today")[1]]
    assert len(wrong) <= len(texts) / 500, wrong


def test_without_their_check_digits_they_do_not() -> None:
    assert cards.mask("DE00 4111 1111 1111 1111")[0] == "DE00 [card visa 1111]"
    assert cards.mask("9499994111111111111111")[1] == ["number"]


def test_what_fails_the_check_digit_or_has_no_issuer_stays() -> None:
    for text in ("4111111111111112", "1234567812345670", "0000000000000000"):
        assert cards.mask(text) == (text, [])


def test_digits_without_end_are_masked_whole_in_linear_time() -> None:
    assert cards.mask("4" * 30_000) == ("[digits]", ["number"])


@given(st.text())
def test_any_text_is_searched_and_a_second_search_finds_nothing_more(text: str) -> None:
    masked, _ = cards.mask(text)
    assert cards.mask(masked) == (masked, [])


@given(st.text("0123456789", min_size=12, max_size=19))
def test_a_brand_needs_the_check_digit(digits: str) -> None:
    assert brand(digits) is None or luhn(digits)
