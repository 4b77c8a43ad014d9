"""Bodies: what came in pieces comes out whole, and a small one can't become large."""

from __future__ import annotations

import contextlib
import gzip
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.ingest.domain.inflate import MAX_BODY, Body
from services.kernel.outcome import BadRecord


def read(data: bytes, *, compressed: bool, piece: int = 1000) -> bytes:
    body = Body(gzip=compressed)
    for start in range(0, len(data), piece):
        body.add(data[start : start + piece])
    return body.whole()


@given(st.binary(max_size=5000), st.integers(1, 700), st.booleans())
def test_a_body_in_pieces_comes_out_whole(data: bytes, piece: int, compressed: bool) -> None:
    assert read(gzip.compress(data) if compressed else data, compressed=compressed, piece=piece) == data


@pytest.mark.parametrize("compressed", [False, True])
def test_the_bound_is_on_what_comes_out(compressed: bool) -> None:
    data = os.urandom(MAX_BODY)
    assert read(gzip.compress(data) if compressed else data, compressed=compressed) == data
    with pytest.raises(BadRecord, match="too_large"):
        read(gzip.compress(data + b"x") if compressed else data + b"x", compressed=compressed)


def test_a_bomb_is_refused_before_it_is_blown_up() -> None:
    bomb = gzip.compress(b"\0" * 400_000_000)
    body = Body(gzip=True)
    with pytest.raises(BadRecord, match="too_large"):
        body.add(bomb)
    assert body.size <= MAX_BODY + 1


def test_a_body_within_the_bound_may_not_be_compressed_absurdly() -> None:
    with pytest.raises(BadRecord, match="too_large"):
        read(gzip.compress(b"\0" * 300_000), compressed=True)


@pytest.mark.parametrize(
    "data",
    [
        b"no gzip",
        gzip.compress(b"abc")[:-4],
        gzip.compress(b"abc") + b"more",
        gzip.compress(b"abc") + gzip.compress(b"def"),
        gzip.compress(b"abc") + b"\0" * 20,
        b"",
    ],
    ids=["no gzip", "cut off", "more behind", "two", "zeros behind", "empty"],  # the time is in the data
)
def test_broken_gzip_is_named_so(data: bytes) -> None:
    with pytest.raises(BadRecord, match="bad_gzip"):
        read(data, compressed=True)


def test_a_header_without_end_is_refused() -> None:
    body = Body(gzip=True)
    body.add(b"\x1f\x8b\x08\x08" + b"\0" * 6)
    with pytest.raises(BadRecord, match="too_large"):
        for _ in range(100):
            body.add(b"x" * 10_000)


@given(st.binary(max_size=300), st.integers(1, 50))
def test_whatever_comes_as_gzip_is_read_or_refused(data: bytes, piece: int) -> None:
    for body in (data, gzip.compress(b"x")[:10] + data):
        with contextlib.suppress(BadRecord):
            read(body, compressed=True, piece=piece)
