"""Starting and stopping a service: settings, structured logs, HTTP server, background tasks, shutdown."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog
import uvicorn
import uvloop

from services.kernel.clock import Clock, SystemClock
from services.kernel.connection import at_most
from services.kernel.health import Health
from services.kernel.outcome import Outage
from services.kernel.postgres import OUTAGES
from services.kernel.settings import InvalidSettings, Settings

COLLECTOR = (50_000, 20, 50)
"""When the cycle collector runs. A batch makes tens of thousands of objects and no cycles: Python's defaults
(700, 10, 10) made the gate take 20.8 µs an event instead of 16.4."""

log = logging.getLogger(__name__)

_NOT_YET: tuple[type[Exception], ...] = (Outage, *OUTAGES)


@dataclass(frozen=True, slots=True)
class Running:
    """A built service: its ASGI application and what runs beside it until the process stops.

    ``closing`` is called when the process begins to stop: responses without an end must end then.
    """

    app: Any
    tasks: Mapping[str, Coroutine[Any, Any, None]] = field(default_factory=dict)
    closing: Callable[[], None] = lambda: None


Build = Callable[[Settings, Health, Clock], AbstractAsyncContextManager[Running]]


def main(service: str, build: Build) -> None:
    """Run the service until SIGTERM or SIGINT; exits 0 then, 1 when it could not start or a task failed."""
    try:
        settings = Settings.from_environment()
    except InvalidSettings as error:
        print(f"candor {service}: {error}", file=sys.stderr)
        sys.exit(1)
    configure_logs(service, settings.log_level)
    gc.set_threshold(*COLLECTOR)
    sys.exit(uvloop.run(serve(service, settings, build)))


async def serve(service: str, settings: Settings, build: Build, clock: Clock | None = None) -> int:
    """As :func:`main`, in a running loop. While Kafka or Postgres does not answer at start it tries again."""
    clock = clock or SystemClock()
    delay = 0.2
    while True:
        health = Health(service)
        try:
            async with build(settings, health, clock) as running:
                return await _serve(service, settings, health, running)
        except _NOT_YET as error:
            log.warning("can not start yet", extra={"why": str(error) or type(error).__name__})
            await asyncio.sleep(delay)
            delay = min(delay * 2, 5)


class _Server(uvicorn.Server):
    """Uvicorn would raise SIGTERM again once it has ended, before producers and relays could close."""

    def __init__(self, config: uvicorn.Config, closing: Callable[[], None]) -> None:
        super().__init__(config)
        self._closing = closing

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        with super().capture_signals():
            yield
            self._captured_signals.clear()


async def _serve(service: str, settings: Settings, health: Health, running: Running) -> int:
    server = _Server(
        uvicorn.Config(
            running.app,
            host=settings.host,
            port=settings.port(service),
            loop="none",
            http=at_most(settings.connections),
            forwarded_allow_ips=settings.proxies,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=30,
            backlog=2048,
        ),
        running.closing,
    )
    serving = asyncio.create_task(server.serve(), name="http")
    tasks = {asyncio.create_task(run, name=name) for name, run in running.tasks.items()}
    done, _ = await asyncio.wait({serving, *tasks}, return_when=asyncio.FIRST_COMPLETED)
    failed = False
    for task in done - {serving}:
        failed = True
        error = task.exception() if not task.cancelled() else None
        health.red(task.get_name(), "stopped")
        log.critical("task ended, the process stops", extra={"task": task.get_name()}, exc_info=error)
    server.should_exit = True
    await asyncio.wait({serving})
    for task in tasks:
        task.cancel()
    if tasks:
        await asyncio.wait(tasks, timeout=15)
    return 1 if failed else 0


def configure_logs(service: str, level: str) -> None:
    """One JSON object a line on standard error: time, level, service, logger, event, and what was passed as
    ``extra``. Never pass identifiers or payloads."""
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        lambda _logger, _method, event: {"service": service, **event},
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(ensure_ascii=False),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for noisy in ("aiokafka", "uvicorn", "kafka", "faust", "mode", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelName(level)))
