"""`candor keys`: create, list, rotate and revoke API keys."""

from __future__ import annotations

from datetime import datetime, timedelta

import click

from deploy.local.stack import Stack
from services.commands.acting import note, with_reason
from services.commands.output import Span, Time, columns
from services.kernel import keys
from services.kernel.key_file import read_used
from services.kernel.settings import Settings


@click.group(name="keys")
def key_commands() -> None:
    """Create, list, rotate and revoke API keys."""


@key_commands.command(name="create")
@click.argument("name")
@click.option("--kind", type=click.Choice(list(keys.KINDS)), required=True)
@click.option("--source", help="What its events are marked with; for write and server keys.")
@click.option(
    "--scope", "scopes", multiple=True, help="Of an admin key; give it again for more. Default: all."
)
@click.option("--expires", type=Time(), help="When it ends.")
@click.option("--rate-events", type=click.IntRange(min=1), help="Events a second that ingest takes of it.")
@click.option("--rate-bytes", type=click.IntRange(min=1), help="Bytes a second that ingest takes of it.")
@with_reason
def create_key(
    name: str,
    kind: str,
    source: str | None,
    scopes: tuple[str, ...],
    expires: datetime | None,
    rate_events: int | None,
    rate_bytes: int | None,
    reason: str | None,
) -> None:
    """Make a key called NAME and print its token, this once."""
    key, token = keys.draft(
        name,
        kind,
        source,
        scopes=scopes or None,
        expires=expires,
        rate_events=rate_events,
        rate_bytes=rate_bytes,
    )
    settings = Stack().settings
    note(settings, reason, "keys.create", f"{key.id} {key.name}")
    keys.add(settings.keyring, key)
    print(token)


@key_commands.command(name="list")
def list_keys() -> None:
    """Show the keys, and when each was last used (up to a minute late)."""
    path = Stack().settings.keyring
    used = read_used(path)
    titles = "id name kind source created tokens expires last-used events/s bytes/s scopes"
    rows = [tuple(titles.split())]
    for key in keys.list_keys(path):
        rows.append(
            (
                key.id,
                key.name,
                key.kind,
                key.source or "-",
                _shown(key.created),
                str(len(keys.live_tokens(key))),
                _shown(key.expires),
                _shown(used.get(key.id)),
                str(key.rate_events or "-"),
                str(key.rate_bytes or "-"),
                " ".join(sorted(key.scopes)) or "-",
            )
        )
    columns(rows)


@key_commands.command(name="rotate")
@click.argument("key")
@click.option("--grace", type=Span(), help="How long the token before stays in force, such as 24h.")
@with_reason
def rotate_key(key: str, grace: timedelta | None, reason: str | None) -> None:
    """Give KEY (name or id) a new token and print it, this once. The token before stays in force too: for
    --grace, else until the next rotation."""
    id, settings = _noted(key, "keys.rotate", reason)
    print(keys.rotate(settings.keyring, id, grace=grace))


@key_commands.command(name="revoke")
@click.argument("key")
@with_reason
def revoke_key(key: str, reason: str | None) -> None:
    """Take KEY (name or id) out of force, within a second and without a restart."""
    id, settings = _noted(key, "keys.revoke", reason)
    print(f"{keys.revoke(settings.keyring, id).name} is revoked")


def _noted(name_or_id: str, action: str, reason: str | None) -> tuple[str, Settings]:
    """The key's id, once the audit log has it what is done to it."""
    settings = Stack().settings
    key = keys.find(settings.keyring, name_or_id)
    note(settings, reason, action, f"{key.id} {key.name}")
    return key.id, settings


def _shown(time: datetime | None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ") if time is not None else "-"
