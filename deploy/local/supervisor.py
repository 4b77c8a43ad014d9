"""Supervisor, which keeps the local processes running: its configuration, and its calls over a socket.

It is found by its socket alone, never by a process id from a file, so nothing of others is ever stopped.
"""

import hashlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import SupervisorTransport

from deploy.local.process import REPOSITORY, LocalStackError, Process, is_root

_SOCKET_PATH_LIMIT = 100  # the system's is 107 bytes, and Supervisor appends a suffix of its own
_STOP_SECONDS = 60


@dataclass(frozen=True, slots=True)
class State:
    """What Supervisor says of a process: its state (RUNNING, FATAL …) and id, 0 when it does not run."""

    name: str
    state: str
    pid: int


class Supervisor:
    """The one Supervisor of the folder `home`, whether it runs or not."""

    def __init__(self, home: Path) -> None:
        self._home = home.resolve()
        self._logs = self._home / "logs"
        socket = self._home / "supervisor.sock"
        if len(str(socket).encode()) > _SOCKET_PATH_LIMIT:
            digest = hashlib.sha256(str(socket).encode()).hexdigest()[:16]
            socket = Path(tempfile.gettempdir()) / f"candor-{digest}.sock"
        self._socket = socket

    def log(self, name: str) -> Path:
        """Where the output of the process goes."""
        return self._logs / f"{name}.log"

    def is_running(self) -> bool:
        """Whether a Supervisor answers on the socket, even if only to say that it is stopping."""
        try:
            with self._calls() as calls:
                calls.getState()
        except Fault:
            return True
        except OSError:
            return False
        return True

    def launch(self, processes: Iterable[Process], environment: Mapping[str, str]) -> None:
        """Start Supervisor, detached, with these processes known and none of them running."""
        self._logs.mkdir(parents=True, exist_ok=True)
        configuration = self._home / "supervisord.conf"
        configuration.write_text(self._configuration(processes))
        command = [sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)]
        result = subprocess.run(
            command, cwd=REPOSITORY, env=dict(environment), capture_output=True, text=True, check=False
        )
        if result.returncode:
            raise LocalStackError(f"supervisord did not start:\n{result.stdout}{result.stderr}")
        deadline = time.monotonic() + 10
        while not self.is_running():
            if time.monotonic() > deadline:
                raise LocalStackError(f"supervisord does not answer; its log is {self.log('supervisord')}")
            time.sleep(0.05)

    def start(self, name: str) -> None:
        """Start a process that does not run; returns at once."""
        with self._calls() as calls:
            try:
                calls.startProcess(name, False)
            except Fault as fault:
                if "ALREADY_STARTED" not in fault.faultString:
                    raise LocalStackError(
                        f"{name}: {fault.faultString}; its log is {self.log(name)}"
                    ) from fault

    def states(self) -> dict[str, State]:
        """State of every process by name; empty when Supervisor does not run or is stopping."""
        try:
            with self._calls() as calls:
                found: list[dict[str, Any]] = calls.getAllProcessInfo()
        except (Fault, OSError):
            return {}
        return {one["name"]: State(one["name"], one["statename"], one["pid"]) for one in found}

    def shutdown(self) -> None:
        """Stop every process, the last one started first, then Supervisor; returns when all have ended."""
        with self._calls() as calls:
            calls.shutdown()
        deadline = time.monotonic() + _STOP_SECONDS
        while self.is_running():
            if time.monotonic() > deadline:
                raise LocalStackError(f"supervisord is still stopping; its log is {self.log('supervisord')}")
            time.sleep(0.1)

    @contextmanager
    def _calls(self) -> Iterator[Any]:
        transport = SupervisorTransport(None, None, f"unix://{self._socket}")
        try:
            with ServerProxy("http://127.0.0.1", transport=transport) as proxy:
                yield proxy.supervisor
        finally:
            transport.close()

    def _configuration(self, processes: Iterable[Process]) -> str:
        log = self.log("supervisord")
        sections: dict[str, dict[str, object]] = {
            "unix_http_server": {"file": self._socket, "chmod": "0600"},
            "rpcinterface:supervisor": {
                "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
            },
            "supervisord": {
                "directory": REPOSITORY,
                "logfile": log,
                "logfile_maxbytes": "5MB",
                "logfile_backups": 1,
                "pidfile": self._home / "supervisord.pid",
                **({"user": "root"} if is_root() else {}),
            },
        }
        for priority, process in enumerate(processes):
            sections[f"program:{process.name}"] = {
                "command": " ".join(f'"{part}"' for part in process.command),
                "directory": REPOSITORY,
                "priority": priority,
                "autostart": "false",
                "autorestart": "true",
                "startsecs": 2,
                "startretries": 10,
                "stopsignal": process.stop_signal.name.removeprefix("SIG"),
                "stopwaitsecs": 30,
                "stopasgroup": "false",
                "killasgroup": "true",
                "redirect_stderr": "true",
                "stdout_logfile": self.log(process.name),
                "stdout_logfile_maxbytes": "20MB",
                "stdout_logfile_backups": 2,
                **({"user": process.user} if process.user else {}),
            }
        return "\n".join(
            f"[{section}]\n" + "".join(f"{key} = {_escaped(value)}\n" for key, value in options.items())
            for section, options in sections.items()
        )


def _escaped(value: object) -> str:
    return str(value).replace("%", "%%")
