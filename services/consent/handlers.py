"""Every path of the service."""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from services.consent import api, choices_api, pages, people_api, policy_api, privacy_api, tag

HANDLERS: list[ControllerRouterHandler] = [
    *api.HANDLERS,
    *policy_api.HANDLERS,
    *choices_api.HANDLERS,
    *people_api.HANDLERS,
    *privacy_api.HANDLERS,
    *tag.HANDLERS,
    *pages.HANDLERS,
]
