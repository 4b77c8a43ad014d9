"""What `candor verify` checks: each service's own verification, run beside the services on their tables."""

from __future__ import annotations

from services.consent.flow.audit import verify_audit
from services.consent.flow.reading import verify_ledger
from services.kernel.clock import SystemClock
from services.kernel.postgres import connect
from services.kernel.settings import Settings
from services.profile.flow.verify import verify as verify_profiles
from services.segment.flow.verify import verify as verify_memberships


async def verify_all(settings: Settings) -> dict[str, tuple[str, list[str]]]:
    """By name: what was compared, in words, and the faults found (the first few)."""
    reports = {}
    async with await connect(settings, "profile", size=1) as pool:
        profiles = await verify_profiles(pool, settings.hasher())
        counted = (
            f"{profiles.events} events, {profiles.identifiers} identifiers, {profiles.profiles} profiles"
        )
        reports["golden records"] = (counted, profiles.examples)
    async with await connect(settings, "segment", size=2) as pool:
        segments = await verify_memberships(pool, SystemClock().now())
        counted = (
            f"{segments.profiles} profiles, {segments.memberships} memberships, {segments.pending} pending"
        )
        reports["memberships"] = (counted, segments.examples)
    return reports | await verify_decisions(settings) | await verify_audit_log(settings)


async def verify_decisions(settings: Settings) -> dict[str, tuple[str, list[str]]]:
    """As :func:`verify_all`, of the ledger of decisions alone."""
    async with await connect(settings, "consent", size=1) as pool:
        faults = [fault async for fault in verify_ledger(pool)]
        rows = await pool.fetchval("SELECT count(*) FROM ledger")
        return {"ledger": (f"{rows} decisions", faults)}


async def verify_audit_log(settings: Settings) -> dict[str, tuple[str, list[str]]]:
    """As :func:`verify_all`, of the audit log alone. Whoever keeps the hash of its end elsewhere can tell
    later whether the end was cut off."""
    async with await connect(settings, "consent", size=1) as pool:
        counted, faults = "", []
        async for found in verify_audit(pool):
            if isinstance(found, str):
                faults.append(found)
            else:
                counted = f"{found.position} acts, the last hashed {found.hash.hex()[:16]}"
    return {"audit": (counted, faults)}
