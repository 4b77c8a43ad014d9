"""An independent search of every place where Candor keeps bytes: raw, knowing no formats and no services."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg
from psycopg import sql

from services.kernel.settings import Settings

LENGTH = 60
"""Bytes of a value after the mark, at most."""


def in_files(folder: Path, mark: str) -> set[str]:
    """Marked values in all files below a folder."""
    found: set[str] = set()
    for path in sorted(folder.rglob("*")):
        try:
            data = path.read_bytes() if path.is_file() else b""
        except FileNotFoundError:  # Kafka deletes meanwhile
            continue
        found |= _values(data, mark)
    return found


def where(folder: Path, mark: str) -> list[str]:
    """Files below a folder that hold the mark."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and mark.encode() in path.read_bytes()
    )


def in_tables(settings: Settings, mark: str) -> dict[str, set[str]]:
    """Marked values in every row of every table, by table; those of bytea columns too."""
    found: dict[str, set[str]] = {}
    with psycopg.connect(
        host=settings.postgres_host,
        port=settings.postgres_port,
        user=settings.postgres_user,
        password=settings.postgres_password,
        dbname=settings.postgres_database,
    ) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables "
            "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for schema, table in tables:
            rows = connection.execute(
                sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            ).fetchall()
            own: set[str] = set()
            for (row,) in rows:
                own |= _values(row.encode(), mark)
                for digits in re.findall(r"\\\\x((?:[0-9a-f]{2})+)|\\x((?:[0-9a-f]{2})+)", row):
                    own |= _values(bytes.fromhex("".join(digits)), mark)
            if own:
                found[f"{schema}.{table}"] = own
    return found


def marked(text: str, mark: str) -> set[str]:
    """Marked values in a text."""
    return _values(text.encode(), mark)


def _values(data: bytes, mark: str) -> set[str]:
    pattern = re.compile(re.escape(mark).encode() + b"-[a-z0-9]{1,%d}z" % LENGTH)
    return {value.decode() for value in pattern.findall(data)}
