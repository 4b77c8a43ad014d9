"""Plays calls through segment-analytics-python as its documentation says, and posts the opt-outs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import deepcopy
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from segment.analytics.client import Client
from urllib3 import Retry

from deploy.demo.calls import SERVER, WEB, Call
from deploy.demo.plan import OptOut

FLUSH_EVERY = 1000
AT_ONCE = 16
RETRIES = 8
STEADY_RATE = 150.0
PROBE_RATE = 30.0
Progress = Callable[[int], object]


class Player:
    """One SDK client for each source. Not for use in several threads, apart from ``probe``.

    ``errors`` collects what the SDK gave up on; it never raises.
    """

    def __init__(self, ingest: str, consent: str, keys: Mapping[str, str]) -> None:
        self.errors: list[str] = []
        self._keys = keys
        self._ingest = ingest
        self._consent = consent
        self._clients = {
            source: Client(
                keys[source],
                host=ingest,
                on_error=self._failed,
                upload_interval=0.05,
                max_queue_size=5 * FLUSH_EVERY,
            )
            for source in (WEB, SERVER)
        }

    def play(self, calls: Sequence[Call], progress: Progress) -> None:
        """Deliver all; when it returns every request was answered. ``progress``: so many calls were."""
        for start in range(0, len(calls), FLUSH_EVERY):
            part = calls[start : start + FLUSH_EVERY]
            for call in part:
                self._send(self._clients[call.source], call)
            self._flush()
            progress(len(part))

    def play_steadily(self, calls: Iterable[Call], progress: Progress) -> None:
        """Deliver STEADY_RATE calls a second."""
        begin = time.monotonic()
        for number, call in enumerate(calls):
            time.sleep(max(0.0, begin + number / STEADY_RATE - time.monotonic()))
            self._send(self._clients[call.source], call)
            progress(1)
        self._flush()

    def probe(self, calls: Iterable[Call], progress: Progress) -> dict[str, float]:
        """Deliver PROBE_RATE calls a second, one request each; by user_id, the monotonic time of the 200."""
        client = Client(self._keys[WEB], host=self._ingest, sync_mode=True)
        answered = {}
        begin = time.monotonic()
        for number, call in enumerate(calls):
            time.sleep(max(0.0, begin + number / PROBE_RATE - time.monotonic()))
            try:
                self._send(client, call)
            except Exception as error:  # sync mode hands on whatever requests raises
                self._failed(error, [call])
                continue
            answered[call.arguments["user_id"]] = time.monotonic()
            progress(1)
        return answered

    def opt_out(self, decisions: Sequence[OptOut], progress: Progress) -> dict[str, int]:
        """Post the decisions, AT_ONCE at a time; by person, when each was acknowledged (µs since the epoch).

        What is answered with 503 is sent again with the same id. Raises requests.RequestException for any
        that was not acknowledged in the end.
        """
        again = Retry(RETRIES, status_forcelist=(503,), allowed_methods=None)
        with requests.Session() as session, ThreadPoolExecutor(AT_ONCE) as pool:
            session.headers["Authorization"] = f"Bearer {self._keys[SERVER]}"
            session.mount("http://", HTTPAdapter(pool_maxsize=AT_ONCE, max_retries=again))

            def post(opt_out: OptOut) -> tuple[str, int]:
                answer = session.post(f"{self._consent}/v1/decisions", json=_decision(opt_out), timeout=30)
                answer.raise_for_status()
                acknowledged = time.time_ns() // 1000
                progress(1)
                return opt_out.person.name, acknowledged

            return dict(pool.map(post, decisions))

    def close(self) -> None:
        for client in self._clients.values():
            client.shutdown()

    def _send(self, client: Client, call: Call) -> None:
        arguments = deepcopy(call.arguments)  # the SDK writes into the context it is given
        getattr(client, call.method)(**arguments, timestamp=call.at, message_id=call.id)

    def _flush(self) -> None:
        for client in self._clients.values():
            client.flush()

    def _failed(self, error: Exception, batch: Sequence[object]) -> None:
        self.errors.append(f"{len(batch)} events: {error}")


def _decision(opt_out: OptOut) -> Any:
    return {
        "identifiers": [f"{kind}:{value}" for kind, value in opt_out.identifiers],
        "id": f"opt-out {opt_out.person.user_id}",
        "purposes": dict.fromkeys(opt_out.purposes, "deny"),
    }
