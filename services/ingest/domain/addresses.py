"""Network addresses as they may be stored: IPv4 to /24, IPv6 to /48."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address

_IPV4_HOST = (1 << 8) - 1
_IPV6_HOST = (1 << 80) - 1


@lru_cache(maxsize=10_000)
def truncated(text: str) -> str | None:
    """The address without the part that tells single households apart, None for what is no address.

    IPv4 addresses that are written as IPv6 are cut as IPv4; a zone (``%eth0``) goes.
    """
    try:
        address = ip_address(text.strip())
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is None:
            return str(IPv6Address(int(address) & ~_IPV6_HOST))
        address = address.ipv4_mapped
    return str(IPv4Address(int(address) & ~_IPV4_HOST))
