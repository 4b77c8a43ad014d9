"""The command line: `candor COMMAND`. Each command is one small function; what it does lies elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console
from rich.table import Table

from deploy.local.process import LocalStackError
from deploy.local.stack import Stack
from services.kernel import topics as registry
from services.kernel.outcome import CandorError
from services.kernel.settings import SERVICES

console = Console(highlight=False)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def candor() -> None:
    """Candor, an event-driven customer data platform."""


@candor.command()
def up() -> None:
    """Start Kafka, PostgreSQL and the four services, and wait until they are ready."""
    stack = Stack()
    with step("Kafka and PostgreSQL"):
        stack.start_servers()
    with step("topics, tables, keys"):
        tokens = stack.prepare()
    with step(" ".join(SERVICES)):
        stack.start_services()
    console.print()
    show(stack)
    console.print()
    for name, token in tokens.items():
        console.print(f"  {name:<12} {token}")
    console.print(f"\nKeys   {stack.home / 'keys.json'}\nLogs   {stack.home / 'logs'}")
    console.print("Stop   make down     Remove  make clean")


@candor.command()
def down() -> None:
    """Stop what `up` started; the data stays."""
    console.print("Stopped." if Stack().stop() else "Nothing was running.")


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
    table = Table("topic", "key", "partitions", "cleanup", "schema", "from", "to", box=None)
    for name, topic in registry.registry().items():
        table.add_row(
            name,
            topic.key,
            str(topic.partitions),
            str(topic.config["cleanup.policy"]),
            topic.schema,
            " ".join(topic.producers),
            " ".join(topic.consumers),
        )
    console.print(table)


@contextmanager
def step(name: str) -> Iterator[None]:
    """Show a step of a longer command with the time that it took."""
    began = time.monotonic()
    console.print(f"  {name:<34} ", end="")
    yield
    console.print(f"ok {time.monotonic() - began:4.0f} s")


def show(stack: Stack) -> bool:
    """Print the status of the stack; whether all of it is ready."""
    table = Table("process", "state", "pid", "address", "ready", box=None)
    rows = stack.status()
    for row in rows:
        table.add_row(row.name, row.state, str(row.pid or ""), row.address, row.problem or "yes")
    console.print(table)
    return not any(row.problem for row in rows)


def main() -> None:
    """Run the command; errors that the user can mend are one message and exit code 1."""
    try:
        candor(standalone_mode=True)
    except (CandorError, LocalStackError) as error:
        console.print()
        console.print(str(error), markup=False)
        sys.exit(1)
