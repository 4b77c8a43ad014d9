"""The named statements of store.sql."""

from __future__ import annotations

from pathlib import Path

from services.kernel.postgres import Queries

SQL = Queries(Path(__file__).with_name("store.sql"))
SERVICE = "segment"
TRANSITIONS = "segment_transitions"
"""Notified when there are transitions to publish."""
PUBLISHED = "segment_published"
"""Notified when transitions were published."""
DEFINITIONS = "segment_definitions"
"""Notified when a definition changed."""
