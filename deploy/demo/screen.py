"""What the newcomer sees: progress while it plays, and the account at the end. At most 80 columns."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deploy.demo.account import Account
from deploy.demo.checks import Check
from deploy.demo.ledger import Ledger
from deploy.demo.segments import PROBED, SEGMENTS
from services.kernel.settings import ROOT, Settings

OPENING = """
Playing a shop: CDNOW purchases (real) + febrl people (invented), joined by us.
Dates moved to end yesterday; gender, e-mail, browsing and opt-outs are made up
(deploy/demo/data/ORIGIN.md). Sent with segment-analytics-python, as it is.
"""


def progress(console: Console) -> Progress:
    """Bars that stay on the screen; on anything but a terminal only their last state is printed."""
    columns = (TextColumn("  {task.description:<22}"), BarColumn(24), MofNCompleteColumn())
    return Progress(*columns, console=console)


def show(console: Console, account: Account, checks: list[Check], existing: int) -> None:
    """Print the account. ``existing``: profiles that were there before this run."""
    console.print("\n[bold]What happened[/bold]")
    for label, figure, note in _figures(account, existing):
        console.print(f"  {label:<31}{figure:>11}   {note}".rstrip(), markup=False)
    console.print(
        f"\n[bold]{'Segments':<21}{'before':>8}{'entered':>9}{'left':>7}{'members':>9}[/bold]   left by"
    )
    for line in _segments(account):
        console.print(line)
    told, told_of = len(account.measured.told), len(account.transitions)
    console.print(f"  a live subscriber received {told:,} of {told_of:,} transitions, as they happened")
    for check in checks:
        if not check.held:
            console.print(f"\n[bold red]FAILED[/bold red]  {check.name}")
            console.print(f"  found   {check.found}\n  see     {check.advice}", markup=False)


def close(
    console: Console,
    settings: Settings,
    ledger: Ledger,
    checks: list[Check],
    seconds: float,
    shop: str | None,
) -> None:
    """Where to look next, how to stop, and whether every check held."""
    key = SEGMENTS[0].key
    example = ledger.books[min(ledger.members[key])].person.user_id
    here = f"http://{settings.host}"
    keys = settings.home / "keys.json"
    visit = f"{shop}         a shop to visit: browse, and enter {PROBED}\n       " if shop else ""
    console.print(f"""
Try    .venv/bin/candor why {key} user_id:{example}
       .venv/bin/candor tail events.permitted --max 3
       .venv/bin/candor verify
Open   {visit}{here}:{settings.consent_port}/transparency    what is collected, for people to read
       {here}:{settings.ingest_port}/docs    send events
       {here}:{settings.consent_port}/docs    decisions: who allows what
       {here}:{settings.segment_port}/docs    segments, members, why, the live stream
Keys   {keys.relative_to(ROOT) if keys.is_relative_to(ROOT) else keys}
Stop   make down     Remove  make clean""")
    failed = sum(not check.held for check in checks)
    minutes, rest = divmod(round(seconds), 60)
    took = f"{minutes} min {rest} s" if minutes else f"{rest} s"
    if failed:
        console.print(f"[bold red]{failed} of {len(checks)} checks failed[/bold red] in {took}.")
    else:
        console.print(f"[bold green]All {len(checks)} checks passed[/bold green] in {took}.")


def _figures(account: Account, existing: int) -> Iterator[tuple[str, str, str]]:
    measured, tried, fresh = account.measured, account.ledger.tried, account.freshness
    counts = measured.counts
    again = f"{account.sent_again:,} sent again by the SDK" if account.sent_again else ""
    yield "accepted", f"{counts.accepted:,}", again
    yield "= applied", f"{counts.applied:,}", "each had its one effect"
    yield "+ repeats", f"{counts.repeats:,}", "came again, counted once"
    late = f"{tried:,} tried after an opt-out, {counts.dropped - tried:,} were under way"
    yield "+ dropped", f"{counts.dropped:,}", late
    yield "+ bad", f"{counts.bad:,}", "kept as dead letters"
    yield "came through after an opt-out", f"{len(account.came_through):,}", f"of {tried:,} tried"
    stored = sum(measured.card_numbers.values())
    yield "card numbers masked", f"{counts.masked:,}", f"stored: {stored:,}"
    before = f"; {existing:,} more were here before" if existing else ""
    yield "people", f"{account.people:,}", f"from {account.identifiers:,} identifiers{before}"
    yield "what they bought (USD)", f"{account.turnover:,}", "to the cent"
    yield "accepted a second", f"{measured.speed:,.0f}", "one SDK client for each of two sources"
    if fresh:
        asked = f"{fresh.measured:,} of {fresh.asked:,} people; all of it on this machine"
        yield (
            "HTTP 200 → transition, p50",
            f"{fresh.p50:,.0f} ms",
            f"at {measured.steady:,.0f} events a second",
        )
        yield "                       p99", f"{fresh.p99:,.0f} ms", asked


def _segments(account: Account) -> Iterator[str]:
    for one in account.segments():
        reasons = {"rule": one.left_by_rule, "consent": one.left_by_consent, "other": one.left_otherwise}
        left_by = ", ".join(f"{reason} {number:,}" for reason, number in reasons.items() if number)
        numbers = f"{one.before:>8,}{one.entered:>9,}{one.left:>7,}{one.members:>9,}"
        yield f"  {one.key:<19}{numbers}   {left_by}".rstrip()
