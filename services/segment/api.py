"""HTTP: definitions, members, why, and the stream (server-sent events)."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Annotated, Any, TypeAlias

from litestar import Request, delete, get, put
from litestar.datastructures import State
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, FromQuery, JSONBody, QueryParameter
from litestar.response import Response, Stream

from services.kernel.audit import Audit, Exposed
from services.kernel.clock import Clock
from services.kernel.codec import decode
from services.kernel.events import GoldenRecord
from services.kernel.http import BEARER, Problem, action_of, actor_of, may, note, require
from services.kernel.identifier import HASH_SIZE, Hasher, Identifier
from services.kernel.predicate import InvalidRule
from services.segment.domain.cursor import Cursor, read_cursor, write_cursor
from services.segment.domain.definition import Segment, read_definition
from services.segment.domain.presentation import segment_shown
from services.segment.flow.streaming import Item, Streaming
from services.segment.flow.why import explain
from services.segment.store.catalog import CatalogStore
from services.segment.store.reading import Reader

Call: TypeAlias = Request[Any, Any, Any]

READ = [require("segment:read")]
ADMIN = [require("segment:admin")]
RETRY_MILLISECONDS = 2000
MOST_MEMBERS = 1000


async def _segment(state: State, key: str) -> Segment:
    catalogs: CatalogStore = state.catalogs
    segment = (await catalogs.current()).segments.get(key)
    if segment is None or segment.deleted:
        raise Problem(404, "Not found", "no such segment")
    return segment


async def _shown(state: State, segment: Segment) -> dict[str, Any]:
    reader: Reader = state.reader
    members = (await reader.counts()).get(segment.key, 0)
    return segment_shown(segment, members, filling=await reader.judged_by() < segment.catalog)


@get("/v1/segments", name="segments.list", guards=READ, security=BEARER, tags=["segments"])
async def list_segments(state: State) -> dict[str, Any]:
    """All segments with their number of members."""
    reader: Reader = state.reader
    catalog = await state.catalogs.current()
    counts, judged_by = await reader.counts(), await reader.judged_by()
    live = [segment for segment in catalog.segments.values() if not segment.deleted]
    return {
        "segments": [
            segment_shown(segment, counts.get(segment.key, 0), filling=judged_by < segment.catalog)
            for segment in live
        ]
    }


@get("/v1/segments/{key:str}", name="segments.read", guards=READ, security=BEARER, tags=["segments"])
async def get_segment(state: State, key: FromPath[str]) -> dict[str, Any]:
    """A segment. While `filling`, not all profiles are judged by this version yet."""
    return await _shown(state, await _segment(state, key))


@put("/v1/segments/{key:str}", name="segments.put", guards=ADMIN, security=BEARER, tags=["segments"])
async def put_segment(
    request: Call, state: State, key: FromPath[str], data: JSONBody[dict[str, Any]]
) -> Response[dict[str, Any]]:
    """Create or change a segment: `name`, `purpose`, `rule`. It fills in the background from the profiles
    that are there. The same definition again changes nothing. All problems are reported at once, each with
    its place such as `rule.all[1].count.op`."""
    catalogs: CatalogStore = state.catalogs
    clock: Clock = state.clock
    try:
        definition = read_definition(key, data, state.policies.current.purposes)
    except InvalidRule as error:
        errors = [{"place": problem.place, "message": problem.message} for problem in error.problems]
        raise Problem(400, "Not a segment", str(error), errors=errors) from None
    await note(request, target=key)
    segment, new = await catalogs.put(key, definition, clock.now())
    return Response(await _shown(state, segment), status_code=201 if new else 200)


@delete("/v1/segments/{key:str}", name="segments.delete", guards=ADMIN, security=BEARER, tags=["segments"])
async def delete_segment(request: Call, state: State, key: FromPath[str]) -> None:
    """Delete a segment; its members leave it in the background, with the reason `definition`."""
    catalogs: CatalogStore = state.catalogs
    clock: Clock = state.clock
    await note(request, target=key)
    if not await catalogs.delete(key, clock.now()):
        raise Problem(404, "Not found", "no such segment")


@get(
    "/v1/segments/{key:str}/members", name="segments.members", guards=READ, security=BEARER, tags=["members"]
)
async def list_members(
    request: Call,
    state: State,
    key: FromPath[str],
    after: FromQuery[str | None] = None,
    limit: Annotated[int, QueryParameter(ge=1, le=MOST_MEMBERS)] = MOST_MEMBERS,
) -> dict[str, Any]:
    """A snapshot of the members, in pages: give `next` as `after` until it is null. All pages show one
    moment, whatever changes meanwhile: the one at which `stream_cursor` stands. Streaming on from that
    cursor misses nothing and repeats nothing."""
    reader: Reader = state.reader
    segment = await _segment(state, key)
    try:
        cursor, last = await _page_start(reader, after)
    except ValueError:
        raise Problem(400, "Bad request", "after: expected the `next` of a page") from None
    members = await reader.members(segment.key, cursor, last, limit)
    kept = await reader.oldest_kept()
    if any(cursor.get(partition, 0) < position for partition, position in kept.items()):
        raise Problem(410, "Gone", "the snapshot is too old: begin again without `after`")
    shown = {member.profile_id for member in members}
    await note(request, target=segment.key, profiles=shown, people=len(shown))
    place = write_cursor(cursor)
    return {
        "members": [_member(member.profile_id, member.sequence, member.value) for member in members],
        "next": f"{place}~{members[-1].profile_id.hex()}" if len(members) == limit else None,
        "stream_cursor": place,
    }


async def _page_start(reader: Reader, after: str | None) -> tuple[Cursor, bytes]:
    """Positions of the snapshot and the last profile of the page before. Raises ValueError."""
    if after is None:
        return await reader.published(), b""
    place, _, last = after.partition("~")
    return read_cursor(place), bytes.fromhex(last)


def _member(profile_id: bytes, sequence: int, value: bytes | None) -> dict[str, Any]:
    golden = decode(GoldenRecord, value) if value is not None else None
    return {
        "profile_id": profile_id.hex(),
        "user_id": golden.user_ids[0] if golden and golden.user_ids else None,
        "anonymous_ids": golden.anonymous_ids if golden else [],
        "sequence": sequence,
    }


@get(
    "/v1/segments/{key:str}/why/{person:str}",
    name="segments.why",
    guards=READ,
    security=BEARER,
    tags=["members"],
)
async def why(request: Call, state: State, key: FromPath[str], person: FromPath[str]) -> dict[str, Any]:
    """Why a person is in the segment or not. `person`: `user_id:…`, `anonymous_id:…` or a profile id."""
    segment = await _segment(state, key)
    found, identifiers = await _profile(state, person)
    shown = await explain(state.reader, segment, found, state.clock.now()) if found else None
    await note(
        request,
        target=segment.key,
        profiles={found} if found else (),
        identifiers=identifiers,
        people=1 if shown else 0,
    )
    if shown is None:
        raise Problem(404, "Not found", "no such profile")
    return shown


async def _profile(state: State, person: str) -> tuple[bytes | None, tuple[bytes, ...]]:
    """The profile's id, and the hash of the identifier where one was given."""
    reader: Reader = state.reader
    hasher: Hasher = state.hasher
    if ":" not in person:
        try:
            profile_id = bytes.fromhex(person)
        except ValueError:
            profile_id = b""
        if len(profile_id) != HASH_SIZE:
            raise Problem(400, "Bad request", "expected kind:value or a profile id of 32 hexadecimal digits")
        return profile_id, ()
    try:
        id = hasher.of(Identifier.parse(person))
    except ValueError as error:
        raise Problem(400, "Bad request", str(error)) from None
    return await reader.find(id), (id,)


_STREAM = {200: ResponseSpec(None, description="Server-sent events", media_type="text/event-stream")}


@get(
    "/v1/stream", name="segments.stream_all", guards=READ, security=BEARER, tags=["stream"], responses=_STREAM
)
async def stream(request: Call, state: State, cursor: FromQuery[str | None] = None) -> Stream:
    """Transitions of all segments as server-sent events `transition`, from now on, from `Last-Event-ID`, or
    from `cursor`. Every entry and exit in its order per profile, without gap; `id` is the cursor after it. An
    event `reset` says that the cursor is older than what is kept: take a new snapshot."""
    return await _streamed(request, state.streaming, cursor, None)


@get(
    "/v1/segments/{key:str}/stream",
    name="segments.stream",
    guards=READ,
    security=BEARER,
    tags=["stream"],
    responses=_STREAM,
)
async def segment_stream(
    request: Call, state: State, key: FromPath[str], cursor: FromQuery[str | None] = None
) -> Stream:
    """The transitions of one segment, as in `/v1/stream`."""
    segment = await _segment(state, key)
    return await _streamed(request, state.streaming, cursor, segment.key)


async def _streamed(
    request: Call, streaming: Streaming, cursor: str | None, segment_key: str | None
) -> Stream:
    given = request.headers.get("last-event-id") or cursor
    try:
        start = read_cursor(given) if given else None
    except ValueError:
        raise Problem(400, "Bad request", "expected a cursor such as 12.0.7") from None
    audit: Audit = request.app.state.audit
    exposed = Exposed(audit, actor_of(request), action_of(request), segment_key or "")
    items = streaming.follow(start, segment_key)
    first = await anext(items)  # an outage is still an answer of its own, not a stream that breaks off
    await exposed.begin()
    return Stream(
        _events(first, items, lambda: may(request, "segment:read"), exposed, audit),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def _events(
    first: Item,
    items: AsyncGenerator[Item, None],
    allowed: Callable[[], bool],
    exposed: Exposed,
    audit: Audit,
) -> AsyncIterator[bytes]:
    """The WHATWG event stream format. An id without data moves the reader's cursor, and is no event.

    Ends before the first item, heartbeats included, that the reader is no longer allowed to have, or of
    which the audit log can't be told.
    """
    yield b"retry: %d\n\n" % RETRY_MILLISECONDS
    try:
        async with aclosing(items):
            yield _event(first)
            async for item in items:
                if not allowed():
                    return
                await exposed.show(profile=item.profile)
                yield _event(item)
    finally:
        audit.note_later(exposed)


def _event(item: Item) -> bytes:
    place = b"id: %s\n" % item.cursor.encode()
    if item.kind == "heartbeat":
        return b": heartbeat\n%s\n" % place
    if item.kind == "reset":
        return b'%sevent: reset\ndata: {"cursor": "%s"}\n\n' % (place, item.cursor.encode())
    return b"%sevent: transition\ndata: %s\n\n" % (place, item.data)


HANDLERS = [
    list_segments,
    get_segment,
    put_segment,
    delete_segment,
    list_members,
    why,
    stream,
    segment_stream,
]
