"""What the local servers have in common: a command, a port, and the folder that it works in."""

import os
import pwd
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
HOST = "127.0.0.1"


class LocalStackError(Exception):
    """The local stack cannot do what was asked; the message says what to change."""


@dataclass(frozen=True, slots=True)
class Process:
    """A server in the foreground: run `command` in the repository, as `user` if one is named."""

    name: str
    command: tuple[str, ...]
    port: int
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM


@contextmanager
def running(process: Process, log: Path) -> Iterator["subprocess.Popen[bytes]"]:
    """Run `process` for the length of the block, output in `log`; it has ended when the block is left."""
    with log.open("ab") as output:
        child = subprocess.Popen(  # noqa: S603 - the command is our own
            process.command,
            cwd=REPOSITORY,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            user=process.user,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        child.send_signal(process.stop_signal)
        try:
            child.wait(timeout=20)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on `host:port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def is_listening(port: int, host: str = HOST) -> bool:
    """Whether a connection to `host:port` is accepted."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def let_through(folder: Path, user: str) -> None:
    """Make every folder above `folder` passable (not readable) for the system user `user`."""
    uid = pwd.getpwnam(user).pw_uid
    passable = stat.S_IXOTH | stat.S_IXGRP
    for parent in folder.resolve().parents:
        mode = parent.stat().st_mode
        # The group's bit counts as well: the server runs as that user, but in our group.
        if parent.stat().st_uid != uid and mode & passable != passable:
            parent.chmod(mode | passable)


def is_root() -> bool:
    """Whether this process may, and for PostgreSQL must, run servers as another user."""
    return os.geteuid() == 0
