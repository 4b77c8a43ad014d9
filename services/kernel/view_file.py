"""The LMDB file of a view."""

from __future__ import annotations

import fcntl
import itertools
import os
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

import lmdb

MAP_BYTES = 64 << 30
"""Upper bound of the file; address space only, nothing is allocated ahead."""
_IDENTITY = b"identity"


class ViewFile:
    """Values, the positions up to which they are complete, and the name of what they are a copy of.

    Nothing is synced to disk: after a crash of the process the file is whole, after one of the machine it may
    not be. So the name must tell the machine's boot, too.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: IO[bytes] | None = None
        self._environment: Any = None
        self._values: Any = None
        self._meta: Any = None

    def open(self) -> None:
        folder = self._claim()
        try:
            self._open(folder)
        except lmdb.Error:
            shutil.rmtree(folder)
            self._open(folder)

    def _claim(self) -> Path:
        """The first file that no other living view has: two writers would undo each other's work."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for number in itertools.count():
            lock = (self._folder / f"{number}.lock").open("wb")
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                lock.close()
                continue
            self._lock = lock
            return self._folder / str(number)
        raise AssertionError("counting never ends")

    def _open(self, folder: Path) -> None:
        self._environment = lmdb.open(
            os.fspath(folder), map_size=MAP_BYTES, max_dbs=2, sync=False, metasync=False, max_readers=64
        )
        self._values = self._environment.open_db(b"values")
        self._meta = self._environment.open_db(b"meta")

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()
            self._environment = None
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def reading(self) -> Any:
        return self._environment.begin(self._values, buffers=False)

    def identity(self) -> bytes | None:
        with self._environment.begin(self._meta) as transaction:
            value: bytes | None = transaction.get(_IDENTITY)
            return value

    def position(self, partition: int) -> int:
        with self._environment.begin(self._meta) as transaction:
            return int(transaction.get(b"position %d" % partition, b"0"))

    def write(self, changes: Iterable[tuple[bytes, bytes | None]], positions: dict[int, int]) -> None:
        """Values (None removes) and positions together."""
        with self._environment.begin(self._values, write=True) as transaction:
            for key, value in changes:
                if value is None:
                    transaction.delete(key)
                else:
                    transaction.put(key, value)
            for partition, position in positions.items():
                transaction.put(b"position %d" % partition, b"%d" % position, db=self._meta)

    def disown(self) -> None:
        """Make sure that it is built anew, also after a restart."""
        with self._environment.begin(self._meta, write=True) as transaction:
            transaction.put(_IDENTITY, b"")

    def clear(self, mark: bytes) -> None:
        """Forget everything and become a copy of that topic."""
        with self._environment.begin(write=True) as transaction:
            transaction.drop(self._values, delete=False)
            transaction.drop(self._meta, delete=False)
            transaction.put(_IDENTITY, mark, db=self._meta)
