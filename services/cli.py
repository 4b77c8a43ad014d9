"""The command line: `candor COMMAND`. Each command is one small function; what it does lies elsewhere."""

import asyncio
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import click
import msgspec

from deploy.local.process import LocalStackError
from deploy.local.stack import Stack
from services.commands.acting import people_of, showing, with_reason
from services.commands.breach import breach
from services.commands.deadletters import deadletters
from services.commands.keys import key_commands
from services.commands.output import columns
from services.commands.plan import plan
from services.commands.policy import policy
from services.commands.recent import show as show_recent
from services.kernel import topics as registry
from services.kernel.outcome import CandorError
from services.kernel.settings import SERVICES
from services.kernel.tail import tail as read_topic
from services.verification import verify_all, verify_audit_log, verify_decisions


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def candor() -> None:
    """Candor, an event-driven customer data platform."""


@candor.command()
def up() -> None:
    """Start Kafka, PostgreSQL and the four services, and wait until they are ready."""
    stack = Stack()
    tokens = start(stack)
    print()
    show(stack)
    print()
    for name, token in tokens.items():
        print(f"  {name:<12} {token}")
    print(f"\nKeys   {stack.home / 'keys.json'}\nLogs   {stack.home / 'logs'}")
    print("Stop   make down     Remove  make clean")


@candor.command()
def demo() -> None:
    """Start everything, play a shop through it, show what happened; exit code 0 only if every check held."""
    from deploy.demo import run, storefront  # here, as what they need is no part of the services

    began = time.monotonic()
    print("Candor demo")
    stack = Stack()
    tokens = start(stack)
    shop = open_shop(stack, storefront.SDK)
    if not run.main(stack.settings, tokens, began, shop):
        sys.exit(1)


@candor.command()
def down() -> None:
    """Stop what `up` started; the data stays."""
    print("Stopped." if Stack().stop() else "Nothing was running.")


@candor.command()
@click.confirmation_option(prompt="Delete all local data, logs and keys?")
def clean() -> None:
    """Stop, and delete the local data, logs and keys."""
    Stack().remove()


@candor.command()
def status() -> None:
    """Show every process; exit code 0 only when all are ready."""
    if not show(Stack()):
        sys.exit(1)


@candor.command()
def topics() -> None:
    """Show the registry of topics."""
    rows = [("topic", "partitions", "cleanup", "schema", "from", "to")]
    for name, topic in registry.registry().items():
        cleanup = str(topic.config["cleanup.policy"])
        senders, readers = " ".join(topic.producers), " ".join(topic.consumers)
        rows.append((name, str(topic.partitions), cleanup, topic.schema, senders, readers))
    columns(rows)


def start(stack: Stack) -> dict[str, str]:
    """Start what does not run yet, showing each step; the tokens of the first keys by name."""
    with step("Kafka and PostgreSQL"):
        stack.start_servers()
    with step("topics, tables, keys"):
        tokens = stack.prepare()
    with step(" ".join(SERVICES)):
        stack.start_services()
    return tokens


def open_shop(stack: Stack, sdk: Path) -> str | None:
    """Open the shop that one can visit, where its pages' SDK could be fetched; its address."""
    if not sdk.exists():
        print("  shop                               closed: npm could not fetch the SDK of its pages")
        return None
    with step("shop"):
        return stack.open_shop()


@candor.command()
@click.argument("topic", required=False)
@click.option("--source", help="Instead of a topic: what becomes of each event of this source.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.option("--from-beginning", is_flag=True, help="Also what stands there already.")
@click.option("--max", "most", type=click.IntRange(min=1), help="Stop after so many records.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Stop after so many seconds without a record.")
@with_reason
def tail(
    topic: str | None,
    source: str | None,
    as_json: bool,
    from_beginning: bool,
    most: int | None,
    timeout: float | None,
    reason: str | None,
) -> None:
    """Show the records of TOPIC as they come, decoded. With --max alone, records that are there count.

    With --source, show each step of each event that comes from now on, never a payload: accepted, permitted,
    then applied, repeat, test, dropped or dead. --max then counts events that have ended.
    """
    if (topic is None) == (source is None) or (source and from_beginning):
        raise click.UsageError("name a TOPIC, or a --source (of which the beginning is not kept)")

    async def run() -> None:
        settings = Stack().settings
        if topic is None:
            async with showing(settings, reason, "sources.tail", str(source)):
                await show_recent(settings, str(source), as_json=as_json, most=most, idle_seconds=timeout)
            return
        beginning = from_beginning or (most is not None and timeout is None)
        found = read_topic(settings, topic, from_beginning=beginning, idle_seconds=timeout)
        count = 0
        async with showing(settings, reason, "topic.tail", topic) as exposed, aclosing(found) as records:
            async for record in records:
                await exposed.show(identifiers=people_of(record))
                text = msgspec.json.encode(record)
                print((text if as_json else msgspec.json.format(text)).decode(), flush=True)
                count += 1
                if count == most:
                    return

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


for group in (key_commands, deadletters, plan, policy, breach):
    candor.add_command(group)


@candor.command()
@click.argument("segment")
@click.argument("person")
@with_reason
def why(segment: str, person: str, reason: str | None) -> None:
    """Say why PERSON (user_id:…, anonymous_id:… or a profile id) is in SEGMENT or not."""
    stack = Stack()
    token = json.loads((stack.home / "keys.json").read_text())["admin"]
    request = urllib.request.Request(  # noqa: S310 - our own service
        f"http://{stack.settings.host}:{stack.settings.segment_port}/v1/segments/"
        f"{quote(segment, safe='')}/why/{quote(person, safe=':')}",
        headers={
            "Authorization": f"Bearer {token}",
            "X-Candor-Reason": (reason or "").encode().decode("latin-1"),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 - our own service
            print(msgspec.json.format(answer.read()).decode())
    except urllib.error.HTTPError as error:
        raise CandorError(str(json.load(error).get("detail", error.reason))) from None
    except OSError as error:
        raise CandorError(f"the segment service does not answer: {error}") from None


@candor.command()
@click.argument("what", type=click.Choice(["ledger", "audit"]), required=False)
def verify(what: str | None) -> None:
    """Compute golden records and memberships from scratch and compare; check the chains of the ledger of
    decisions and of the audit log. With `ledger` or `audit`: that chain alone."""
    checks = {None: verify_all, "ledger": verify_decisions, "audit": verify_audit_log}
    reports = asyncio.run(checks[what](Stack().settings))
    for name, (counted, faults) in reports.items():
        print(f"  {name:<16} {counted:<64} {'ok' if not faults else f'{len(faults)} faults'}")
        for fault in faults:
            print(f"    {fault}")
    if any(faults for _, faults in reports.values()):
        sys.exit(1)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show a step of a longer command with the time that it took."""
    began = time.monotonic()
    print(f"  {name:<34} ", end="", flush=True)
    yield
    print(f"ok {time.monotonic() - began:4.0f} s")


def show(stack: Stack) -> bool:
    """Print the status of the stack; whether all of it is ready."""
    rows = stack.status()
    lines = [
        (row.name, row.state, str(row.pid or "-"), row.address, row.problem.partition("\n")[0] or "yes")
        for row in rows
    ]
    columns([("process", "state", "pid", "address", "ready"), *lines])
    return not any(row.problem for row in rows)


def main() -> None:
    """Run the command; errors that the user can mend are one message and exit code 1."""
    try:
        candor()
    except (CandorError, LocalStackError) as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)
