"""What keeps a process from being ready, by name, with the reason."""

from __future__ import annotations

import time

from services.kernel import metrics


class Health:
    """Readiness of one service: ready when no part is red. A part is red until its first ``green``."""

    def __init__(self, service: str) -> None:
        self.service = service
        self._red: dict[str, tuple[str, float]] = {}
        self._show()

    def red(self, part: str, reason: str) -> None:
        """That part does not work, because of ``reason`` (shown to operators; no personal values)."""
        since = self._red.get(part, ("", time.monotonic()))[1]
        self._red[part] = (reason, since)
        self._show()

    def green(self, part: str) -> None:
        if part in self._red:
            del self._red[part]
            self._show()

    @property
    def ready(self) -> bool:
        return not self._red

    def reasons(self) -> dict[str, str]:
        """Reason by red part; empty when ready."""
        return {part: reason for part, (reason, _) in self._red.items()}

    def _show(self) -> None:
        metrics.READY.labels(self.service).set(0 if self._red else 1)
