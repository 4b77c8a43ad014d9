"""The four services as real processes, which a test may kill, pause and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from deploy.local.process import REPOSITORY
from services.kernel.settings import SERVICES, Settings

_START_SECONDS = 60


def environment_of(settings: Settings) -> dict[str, str]:
    """The variables from which a process reads just these settings."""
    return {
        "CANDOR_IDENTIFIER_KEY": settings.identifier_key.hex(),
        "CANDOR_POSTGRES_PASSWORD": settings.postgres_password,
        "CANDOR_HOME": str(settings.home),
        "CANDOR_KAFKA": settings.kafka,
        "CANDOR_POSTGRES_HOST": settings.postgres_host,
        "CANDOR_POSTGRES_PORT": str(settings.postgres_port),
        "CANDOR_POSTGRES_USER": settings.postgres_user,
        "CANDOR_POSTGRES_DATABASE": settings.postgres_database,
        "CANDOR_TOPIC_PREFIX": settings.topic_prefix,
        "CANDOR_INGEST_PORT": str(settings.ingest_port),
        "CANDOR_CONSENT_PORT": str(settings.consent_port),
        "CANDOR_PROFILE_PORT": str(settings.profile_port),
        "CANDOR_SEGMENT_PORT": str(settings.segment_port),
        "CANDOR_KEYRING": str(settings.keyring),
        "CANDOR_POLICY": str(settings.policy),
        "CANDOR_PLAN": str(settings.plan),
        "CANDOR_LOG_LEVEL": settings.log_level,
    }


class Service:
    """One service's process. Its log is ``settings.home/NAME.log``, appended over restarts."""

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://{self._settings.host}:{self._settings.port(self.name)}"

    @property
    def log(self) -> Path:
        return self._settings.home / f"{self.name}.log"

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process.pid

    def start(self, extra: Mapping[str, str] = {}) -> None:  # noqa: B006 - never changed
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.{self.name}"],
                cwd=REPOSITORY,
                env={**os.environ, **environment_of(self._settings), **extra},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def ready(self) -> bool:
        """Whether it answers that it is ready. Raises RuntimeError when the process has ended."""
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(f"{self.name} ended:\n{self.tail()}")
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=2).is_success
        except httpx.HTTPError:
            return False

    def wait_ready(self, seconds: float = _START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not self.ready():
            if time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} is not ready: {self.why()}\n{self.tail()}")
            time.sleep(0.1)

    def why(self) -> str:
        """What it says of itself when it is not ready."""
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=2).text
        except httpx.HTTPError as error:
            return type(error).__name__

    def tail(self) -> str:
        """The end of its log, without what aiokafka says again and again of a broker that is away."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join([line for line in lines if '"logger": "aiokafka' not in line][-25:])

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9, and wait until it is gone."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait()

    def stop(self) -> int:
        """SIGTERM; its exit code. Killed when it does not end in time."""
        if self._process is None:
            return 0
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(timeout=25)
        except subprocess.TimeoutExpired:
            self.kill()
            return -signal.SIGKILL


@contextmanager
def services(settings: Settings, names: tuple[str, ...] = SERVICES) -> Iterator[dict[str, Service]]:
    """The services by name, ready; all of them have ended when the block is left."""
    settings.home.mkdir(parents=True, exist_ok=True)
    started = {name: Service(name, settings) for name in names}
    try:
        for service in started.values():
            service.start()
        for service in started.values():
            service.wait_ready()
        yield started
    finally:
        for service in started.values():
            service.signal(signal.SIGTERM)
        for service in started.values():
            service.stop()
