"""Every path of the service."""

from __future__ import annotations

from litestar.types import ControllerRouterHandler

from services.consent import api, choices_api, policy_api

HANDLERS: list[ControllerRouterHandler] = [*api.HANDLERS, *policy_api.HANDLERS, *choices_api.HANDLERS]
