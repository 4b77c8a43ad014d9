"""The copy of a person's data: every value with where it came from, when, and what it may be used for.

Each service says its own as a list of values: ``what`` it is, the ``value``, its ``source`` and ``time``, the
``purposes`` it may be used for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from html import escape
from typing import Any

import msgspec

from services.consent.domain.ledger import Row, hashes, read_terms
from services.consent.domain.presentation import time_shown
from services.consent.domain.rule import ERASURE, RESTRICTION
from services.kernel.identifier import USER_ID, Hasher, Identifier

Value = dict[str, Any]
PROOF = ["proof of consent"]
_OF_OTHERS = ("identifiers", "key")
"""Members of a record that may name somebody else than who asks."""


def is_theirs(row: Row, person: Set[bytes], hasher: Hasher) -> bool:
    """Whether a row's record is about the person with these identifiers. As an event it is its user's; only
    one without a user is its device's, which several people may share."""
    record: dict[str, Any] = {} if row.record is None else msgspec.json.decode(row.record)
    named = [Identifier.parse(text) for text in record.get("identifiers", ())]
    users = {hasher.of(identifier) for identifier in named if identifier.kind == USER_ID}
    return (users or hashes(read_terms(row.terms))) <= person


def decision_values(rows: Iterable[Row], person: Set[bytes], hasher: Hasher) -> list[Value]:
    """The decisions that name the person, with the record kept of each, where it is somebody else's without
    names."""
    values = []
    for row in rows:
        terms = read_terms(row.terms)
        record: dict[str, Any] | None = None if row.record is None else msgspec.json.decode(row.record)
        if record is not None and not is_theirs(row, person, hasher):
            record = {name: value for name, value in record.items() if name not in _OF_OTHERS}
        kind = "request" if terms.method in (ERASURE, RESTRICTION) else "decision"
        said = {"purposes": terms.purposes, "method": terms.method, "id": terms.id, "record": record}
        values.append(
            {
                "what": f"{kind} {row.position}",
                "value": said,
                "source": terms.source,
                "time": time_shown(terms.decided_at),
                "purposes": PROOF,
            }
        )
    return values


def copy(identifiers: Iterable[str], made_at: int, services: Mapping[str, Sequence[Value]]) -> dict[str, Any]:
    """The copy, made at that time (µs)."""
    return {
        "made_at": time_shown(made_at),
        "identifiers": sorted(identifiers),
        "services": {name: {"values": list(values)} for name, values in services.items()},
    }


_STYLE = (
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a}"
    "table{border-collapse:collapse;width:100%}th,td{border:1px solid #767676;padding:.4rem .6rem;"
    "text-align:start;vertical-align:top;overflow-wrap:anywhere}dl{margin:0}dd{margin:0 0 .2rem 1rem}"
)
_TITLES = {
    "consent": "What you decided",
    "profile": "What is known of you",
    "segment": "Groups that you are or were in",
    "ingest": "What came and could not be processed",
}


def page(made: Mapping[str, Any]) -> str:
    """The copy as one HTML page that loads nothing."""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width"><title>Your data</title>',
        f"<style>{_STYLE}</style></head><body><main><h1>Your data</h1>",
        f"<p>Of {escape(', '.join(made['identifiers']))}, as of {escape(made['made_at'])}.</p>",
    ]
    for name, part in made["services"].items():
        parts += [f"<h2>{escape(_TITLES.get(name, name))}</h2>", _table(name, part["values"])]
    return "".join([*parts, "</main></body></html>"])


def _table(name: str, values: Sequence[Value]) -> str:
    if not values:
        return "<p>Nothing.</p>"
    head = "".join(f'<th scope="col">{title}</th>' for title in ("What", "Value", "From", "When", "Used for"))
    rows = "".join(
        f"<tr><td>{_shown(value['what'])}</td><td>{_shown(value['value'])}</td>"
        f"<td>{_shown(value['source'])}</td><td>{_shown(value['time'])}</td>"
        f"<td>{_shown(', '.join(value['purposes']))}</td></tr>"
        for value in values
    )
    title = f"<caption>Kept by {escape(name)}</caption>"
    return f"<table>{title}<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _shown(value: Any) -> str:
    """Objects as lists of their members, so that no JSON has to be read."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case dict():
            inner = "".join(
                f"<dt>{escape(str(name))}</dt><dd>{_shown(own)}</dd>" for name, own in value.items()
            )
            return f"<dl>{inner}</dl>"
        case list():
            return f"<ul>{''.join(f'<li>{_shown(own)}</li>' for own in value)}</ul>"
        case _:
            return escape(str(value))
