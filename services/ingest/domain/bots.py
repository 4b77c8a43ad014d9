"""Which user agents are those of crawlers, scanners and headless browsers (crawler-user-agents' list).

To search for one takes 0.2 ms, so what was found is remembered, and one request may only cause so many.
"""

from __future__ import annotations

import msgspec
from crawleruseragents import is_crawler

MAX_SEARCHES = 50
"""A request: those beyond pass as people's."""
MAX_SEARCHED = 300
"""Characters: the longest that browsers send."""
_REMEMBERED = 10_000
_LONGEST = 1_000
"""Bytes of a user agent that is remembered."""
_APPS = ("okhttp/",)
"""On that list as HTTP libraries, and what apps on Android send with."""

_known: dict[bytes, bool] = {}
_text = msgspec.json.Decoder(str)

is_crawler("")  # the patterns are compiled at the first use: 30 ms, which no request should wait


def known(user_agent: bytes) -> bool | None:
    """Whether that JSON is the user agent of a bot; None while nobody has searched."""
    return _known.get(user_agent)


def search(user_agent: bytes) -> bool:
    """The same, found out and remembered; what is no text is no bot."""
    found = _is_bot(user_agent)
    if len(user_agent) <= _LONGEST:
        if len(_known) >= _REMEMBERED:
            _known.clear()
        _known[user_agent] = found
    return found


def _is_bot(user_agent: bytes) -> bool:
    try:
        text = _text.decode(user_agent)[:MAX_SEARCHED]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return False
    return not text.startswith(_APPS) and is_crawler(text)
