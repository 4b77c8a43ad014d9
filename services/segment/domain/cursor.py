"""Where a reader of the stream stands: a position per partition, as text ``12.0.7`` by partition number.

Partitions that it does not name stand at 0, the beginning.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_FORM = re.compile(r"[0-9]{1,18}(\.[0-9]{1,18}){0,999}")

Cursor = dict[int, int]


def read_cursor(text: str) -> Cursor:
    """Raises ValueError for what is no cursor."""
    if not _FORM.fullmatch(text):
        raise ValueError("no cursor")
    return {partition: int(position) for partition, position in enumerate(text.split("."))}


def write_cursor(cursor: Mapping[int, int]) -> str:
    return ".".join(str(cursor.get(partition, 0)) for partition in range(max(cursor, default=0) + 1))
