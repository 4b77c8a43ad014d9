"""What SDKs fetch before they send: what their source is set up to. Pure."""

from __future__ import annotations

from typing import Any

from services.kernel.keys import Key


def settings(write_key: str, host: str) -> dict[str, Any]:
    """For Segment's SDKs: one integration, which is us. ``host``: where the client found us, with port."""
    return {"integrations": {"Segment.io": {"apiKey": write_key, "apiHost": f"{host}/v1"}}}


def source_config(write_key: str, key: Key) -> dict[str, Any]:
    """For RudderStack's SDKs (rudder-sdk-js, ``isValidSourceConfig``): a source without destinations, as
    events leave through segments only."""
    return {
        "source": {
            "id": key.id,
            "name": key.name,
            "writeKey": write_key,
            "enabled": True,
            "config": {},
            "destinations": [],
        }
    }
