"""Where an event's context says that the person is: country, and region where it has one."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from functools import cache

import msgspec
import pycountry
from msgspec import Raw, Struct

from services.kernel.policy.model import UNKNOWN, is_place
from services.kernel.remembered import remembered

_ALIASES = {"uk": "GB"}


class _Location(Struct, gc=False):
    """``context.location``: Segment's specification has names in it ("United States", "California"), SDKs and
    servers send codes too."""

    country: object = None
    countryCode: object = None
    country_code: object = None
    region: object = None
    regionCode: object = None
    region_code: object = None
    state: object = None


_location = msgspec.json.Decoder(_Location | None)


def declared_place(context: Mapping[str, Raw]) -> str | None:
    """``CC``, or ``CC-RR`` where a region of that country is named too. None where the context names neither;
    UNKNOWN where what it names can't be told, which is not the same: the person may be anywhere."""
    location = context.get("location")
    return None if location is None else _place(bytes(location))


@remembered()
def _place(data: bytes) -> str | None:
    try:
        location = _location.decode(data)
    except msgspec.ValidationError:
        return UNKNOWN
    if location is None:
        return None
    country = _first(location.countryCode, location.country_code, location.country)
    region = _first(location.regionCode, location.region_code, location.region, location.state)
    if country is None:
        own = (region or "").upper()
        return own if "-" in own and is_place(own) else UNKNOWN if region else None
    code = _countries().get(_plain(country))
    if code is None:
        return UNKNOWN
    return _region(code, region) if region else code


def _first(*values: object) -> str | None:
    return next((value.strip() for value in values if isinstance(value, str) and value.strip()), None)


def _region(country: str, text: str) -> str:
    """The country alone where no region of it is named."""
    code = text.casefold().removeprefix(f"{country}-".casefold())
    return _regions().get((country, code)) or _regions().get((country, _plain(text))) or country


@cache
def _countries() -> dict[str, str]:
    """Codes by code, three-letter code and names."""
    names = ("alpha_2", "alpha_3", "name", "common_name", "official_name")
    return _ALIASES | {
        _plain(getattr(country, name)): country.alpha_2
        for country in pycountry.countries
        for name in names
        if hasattr(country, name)
    }


@cache
def _regions() -> dict[tuple[str, str], str]:
    """Codes by country and code within it, and by country and name."""
    known = {(region.country_code, _plain(region.name)): region.code for region in pycountry.subdivisions}
    return known | {
        (region.country_code, region.code.partition("-")[2].casefold()): region.code
        for region in pycountry.subdivisions
    }


def _plain(text: str) -> str:
    """Without case and accents."""
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))
