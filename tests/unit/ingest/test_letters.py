"""Letters beyond ASCII are taken out of the way of the look, and nothing of what it must see."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.ingest.domain.letters import without_letters
from tests.support.card_numbers import SEPARATORS
from tests.support.cleaner import CLEANER

CARD = "4111 1111 1111 1111"
SIGNS = st.sampled_from(
    [*"éßØ日😀–\u00a0…ﬁ４₄\u0301K\u0130\u200b−\u2010\ufe0f\u00ad", *SEPARATORS, "]", "'", "€"]
)
PIECES = st.lists(
    st.one_of(
        SIGNS,
        st.sampled_from(
            [CARD, *CARD.split(), "4111111111111111", "token", "email=", "a@b", "https://", "://"]
        ),
        st.sampled_from(["cvv", "00", "12", ".", "%", "%3D", "%C3%A9", "DE44", "\\u00e9"]),
        st.characters(codec="utf-8"),
    ),
    max_size=12,
).map("".join)


@pytest.mark.parametrize("text", ["Größe", "Zoë – x", "12\u00a0€", "日本", "😀", "„so“", "Škoda"])
def test_what_people_write_is_looked_at_as_ascii(text: str) -> None:
    for ascii_only in (False, text == "😀"):
        raw = json.dumps({"a": text}, ensure_ascii=ascii_only).encode()
        assert CLEANER.harmless(without_letters(raw)) is not ascii_only


@pytest.mark.parametrize("text", ["４111", "ﬁ", "①", "e\u0301", "\u200b", "K", "…"])
def test_what_may_hide_something_stays(text: str) -> None:
    raw = json.dumps({"a": text}, ensure_ascii=False).encode()
    assert without_letters(raw) == raw


@given(PIECES, PIECES, st.booleans())
@example("00é001234560000000018", "", False)
@example("4111–1111–1111–1111", "", False)
@example("4111\u00a01111\u00a01111\u00a01111", "", False)
@example("4111 – 1111 – 1111 – 1111", "", False)
@example("12é4111111111111111", "", True)
@example("https://ü:geheim@a", "", False)
@example("?tokené=x&émail=y&email=z", "", True)
@example("4111\\u00e91111", "", True)
def test_what_is_let_pass_without_letters_holds_nothing_to_take_out(
    name: str, text: str, ascii_only: bool
) -> None:
    for value in ({name: text}, {"a": name}):
        raw = json.dumps(value, ensure_ascii=ascii_only).encode()
        looked_at = without_letters(raw)
        assert len(msgspec.json.decode(looked_at)) == 1
        if not CLEANER.suspicious(looked_at):
            assert CLEANER.clean(raw)[1] == []
