"""What the API shows of payloads that can not be decoded."""

from __future__ import annotations

import pytest

from services.profile.domain.presentation import event_shown
from tests.unit.profile.model import event


@pytest.mark.parametrize("number", ["1e999", "1" * 4_301])
def test_a_payload_that_can_not_be_decoded_is_shown_as_text(number: str) -> None:
    text = f'{{"properties": {{"total": {number}}}}}'
    shown = event_shown(event(1, user_id="u", payload=text.encode()), "analytics")
    assert shown["payload"] == text
    assert "properties" not in shown
    shown = event_shown(event(1, user_id="u", properties={"total": 1}), "analytics")
    assert shown["properties"] == {"total": 1}
    assert "payload" not in shown
