"""What the newcomer sees: progress while it plays, and the account at the end."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.table import Table
from rich.text import Text

from deploy.demo.account import Account
from deploy.demo.checks import Check

OPENING = """
Playing a shop: CDNOW purchases (real) + febrl people (invented), joined by us.
Dates moved to end yesterday. Gender, e-mail addresses, browsing and opt-outs are made up:
see deploy/demo/data/ORIGIN.md
"""


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s" if task.speed else "")


def progress(console: Console) -> Progress:
    """Bars that stay on the screen; on anything but a terminal only their last state is printed."""
    columns = (TextColumn("  {task.description:<34}"), BarColumn(24), MofNCompleteColumn(), _Rate())
    return Progress(*columns, console=console)


def show(console: Console, account: Account, checks: list[Check], existing: int, steady_rate: float) -> None:
    """Print the account. ``existing``: profiles that were there before this run."""
    console.print("\n[bold]What happened[/bold]")
    console.print(_events(account))
    console.print(_people(account, existing))
    console.print(_timing(account, steady_rate))
    console.print()
    console.print(_segments(account))
    console.print(f"  a live subscriber received {_received(account)}")
    _show_failures(console, checks)


def _grid() -> Table:
    table = Table.grid(padding=(0, 2), pad_edge=True)
    table.add_column(min_width=34)
    table.add_column(justify="right", min_width=9)
    table.add_column()
    return table


def _events(account: Account) -> Table:
    counts, ledger = account.measured.counts, account.ledger
    table = _grid()
    again = f"{account.sent_again:,} of them sent again by the SDK" if account.sent_again else ""
    table.add_row("accepted", f"{counts.accepted:,}", again)
    table.add_row("= applied", f"{counts.applied:,}", "each had its one effect")
    table.add_row("+ repeats", f"{counts.repeats:,}", "delivered again, counted once")
    waiting = counts.dropped - ledger.tried
    table.add_row(
        "+ dropped", f"{counts.dropped:,}", f"{waiting:,} of them under way when the person opted out"
    )
    table.add_row("+ bad", f"{counts.bad:,}", "kept as dead letters")
    table.add_row(
        "came through after an opt-out", f"{len(account.came_through):,}", f"of {ledger.tried:,} tried"
    )
    stored = sum(account.measured.card_numbers.values())
    table.add_row("card numbers masked", f"{counts.masked:,}", f"stored: {stored:,}")
    return table


def _people(account: Account, existing: int) -> Table:
    table = _grid()
    before = f"; {existing:,} were here before" if existing else ""
    table.add_row("people", f"{account.people:,}", f"from {account.identifiers:,} identifiers{before}")
    table.add_row("what they bought", f"{account.turnover:,}", "US dollars, exact to the cent")
    return table


def _timing(account: Account, steady_rate: float) -> Table:
    table = _grid()
    measured, fresh = account.measured, account.freshness
    table.add_row("accepted a second", f"{measured.counts.accepted / measured.seconds:,.0f}", "")
    if fresh:
        figures = f"p50 {fresh.p50:,.0f} ms   p99 {fresh.p99:,.0f} ms   at {steady_rate:,.0f} events/s"
        table.add_row("HTTP 200 → transition", "", figures)
    return table


def _segments(account: Account) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("Segments", min_width=34)
    for name in ("before", "entered", "left", "members"):
        table.add_column(name, justify="right", min_width=8)
    table.add_column("left by")
    for one in account.segments():
        reasons = {"rule": one.left_by_rule, "consent": one.left_by_consent, "other": one.left_otherwise}
        table.add_row(
            f"  {one.key}",
            *(f"{number:,}" for number in (one.before, one.entered, one.left, one.members)),
            ", ".join(f"{reason} {number:,}" for reason, number in reasons.items() if number),
        )
    return table


def _received(account: Account) -> str:
    return f"{len(account.measured.told):,} of {len(account.transitions):,} transitions"


def _show_failures(console: Console, checks: list[Check]) -> None:
    for check in checks:
        if not check.held:
            console.print(f"\n[bold red]FAILED[/bold red]  {check.name}")
            console.print(f"  found  {check.found}", markup=False)
            console.print(f"  see    {check.advice}", markup=False)
