"""What the pages for people need beyond templates: the reader's language, periods in words. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

_YEAR = 365.25
_MONTH = _YEAR / 12


def preferred(wanted: str | None, accepted: str, known: Sequence[str]) -> str:
    """The best of the ``known`` languages: for the one that was asked for, else for an Accept-Language header
    (RFC 9110), else the first. A tag fits when a known language is it or its base."""
    for tag in [wanted or "", *_by_quality(accepted)]:
        tag = tag.lower()
        while tag:
            if tag in known:
                return tag
            tag = tag.rpartition("-")[0]
    return known[0]


def _by_quality(accepted: str) -> list[str]:
    weighted = []
    for part in accepted.split(","):
        tag, _, weight = part.partition(";")
        try:
            quality = float(weight.strip().removeprefix("q=") or 1)
        except ValueError:
            continue
        if quality > 0:
            weighted.append((quality, tag.strip()))
    return [tag for _, tag in sorted(weighted, key=lambda one: -one[0])]


def period(days: int | None, texts: Mapping[str, str]) -> str:
    """So many days in words, rounded to months from two of them on, to years where that is nearly exact;
    None is for as long as there is a profile."""
    if days is None:
        return texts["always"]
    years, months = round(days / _YEAR), round(days / _MONTH)
    if years and abs(days - years * _YEAR) < 7:
        return texts["year"] if years == 1 else fill(texts["years"], number=years)
    if months > 1:
        return fill(texts["months"], number=months)
    return texts["day"] if days == 1 else fill(texts["days"], number=days)


def fill(text: str, **values: object) -> str:
    """The text with each ``{name}`` replaced."""
    for name, value in values.items():
        text = text.replace(f"{{{name}}}", str(value))
    return text
