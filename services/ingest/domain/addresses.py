"""Network addresses as they may be stored: IPv4 to /24, IPv6 to /48."""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv6Address, ip_address

from services.kernel.remembered import remembered

_LONGEST = 100
"""Characters of an address with zone and port: 45 and what an interface may be called, with room."""
_WITH_PORT = re.compile(r"\[([^\]]+)\](?::\d+)?|([\d.]+):\d+")
_IPV4_HOST = (1 << 8) - 1
_IPV6_HOST = (1 << 80) - 1


@remembered()
def truncated(text: str) -> str | None:
    """The address without the part that tells single households apart, None for what is no address.

    IPv4 addresses that are written as IPv6 or stand in one (RFC 4291 2.5.5.2, RFC 3056) are cut as IPv4;
    ports and zones (``%eth0``) go. Of a list, as proxies write them into X-Forwarded-For, the first counts.
    """
    first = text.partition(",")[0].strip().strip('"')
    if len(first) > _LONGEST:
        return None
    bare = _WITH_PORT.fullmatch(first)
    try:
        address = ip_address(next(filter(None, bare.groups())) if bare else first)
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None:
            return str(IPv6Address(int(address) & ~_IPV6_HOST))
        address = inner
    return str(IPv4Address(int(address) & ~_IPV4_HOST))
