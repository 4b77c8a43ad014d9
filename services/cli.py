"""The command line: `candor COMMAND`. Each command is one small function; what it does lies elsewhere."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from deploy.local.process import LocalStackError
from deploy.local.stack import Stack
from services.kernel import topics as registry
from services.kernel.outcome import CandorError
from services.kernel.settings import SERVICES


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
    from deploy.demo import run  # here, as the SDK that it plays with is no part of the services

    began = time.monotonic()
    print("Candor demo")
    stack = Stack()
    if not run.main(stack.settings, start(stack), began):
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


def columns(rows: Sequence[Sequence[str]]) -> None:
    """Print rows with their columns aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


def main() -> None:
    """Run the command; errors that the user can mend are one message and exit code 1."""
    try:
        candor()
    except (CandorError, LocalStackError) as error:
        print(f"\n{error}", file=sys.stderr)
        sys.exit(1)
