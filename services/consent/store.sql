-- Statements of store.py. Order of locks: identifiers by hash, then the chain; nothing after the chain.
-- Look-ups by hash go through LATERAL, so that no plan scans a table, whatever its statistics say.

-- name: closure
-- All hashes linked to the given ones at a time, with them. Cut links count until they were cut.
WITH RECURSIVE closure (hash) AS (
    SELECT unnest($1::bytea[])
    UNION
    SELECT next.other FROM closure CROSS JOIN LATERAL (
        SELECT other FROM links
        WHERE one = closure.hash AND linked_at <= $2 AND (cut_at IS NULL OR cut_at > $2) OFFSET 0
    ) AS next
)
SELECT hash FROM closure

-- name: lock
-- Locks the rows in the order of the array and makes those that are missing. An update that is never done
-- locks all the same, and a lock is all that is wanted.
INSERT INTO identifiers (hash) SELECT hash FROM unnest($1::bytea[]) AS wanted (hash)
ON CONFLICT (hash) DO UPDATE SET hash = excluded.hash WHERE false

-- name: links_of
SELECT next.one, next.other FROM unnest($1::bytea[]) AS wanted (hash) CROSS JOIN LATERAL (
    SELECT one, other FROM links
    WHERE one = wanted.hash AND linked_at <= $2 AND (cut_at IS NULL OR cut_at > $2) OFFSET 0
) AS next

-- name: known_links
-- Of the pairs those that are on record, cut or not.
SELECT given.one, given.other FROM unnest($1::bytea[], $2::bytea[]) AS given (one, other)
WHERE EXISTS (SELECT FROM links WHERE links.one = given.one AND links.other = given.other)

-- name: insert_links
INSERT INTO links (one, other, linked_at)
SELECT one, other, $3 FROM unnest($1::bytea[], $2::bytea[]) AS given (one, other)
ON CONFLICT DO NOTHING

-- name: cut_links
INSERT INTO links (one, other, linked_at, cut_at)
SELECT one, other, $3, $3 FROM unnest($1::bytea[], $2::bytea[]) AS given (one, other)
ON CONFLICT (one, other) DO UPDATE SET cut_at = coalesce(links.cut_at, excluded.cut_at)

-- name: states
SELECT found.hash, found.version, found.state, found.next_expiry
FROM unnest($1::bytea[]) AS wanted (hash) CROSS JOIN LATERAL (
    SELECT hash, version, state, next_expiry FROM identifiers WHERE identifiers.hash = wanted.hash OFFSET 0
) AS found

-- name: write_states
-- The rows exist: an insert in conflict finds them by their key, where an update might scan.
INSERT INTO identifiers (hash, version, state, next_expiry)
SELECT * FROM unnest($1::bytea[], $2::bigint[], $3::bytea[], $4::bigint[])
ON CONFLICT (hash) DO UPDATE
SET version = excluded.version, state = excluded.state, next_expiry = excluded.next_expiry

-- name: mark_unpublished
INSERT INTO unpublished (hash) SELECT unnest($1::bytea[])

-- name: unpublished_of
-- What must be published before decisions about these identifiers may be acknowledged.
SELECT found.position FROM unnest($1::bytea[]) AS wanted (hash) CROSS JOIN LATERAL (
    SELECT position FROM unpublished WHERE unpublished.hash = wanted.hash OFFSET 0
) AS found

-- name: due
-- Identifiers of which a grant has ended.
SELECT hash FROM identifiers WHERE next_expiry <= $1 ORDER BY next_expiry LIMIT $2

-- name: decisions_of
-- Decisions that name any of the hashes, in their order.
SELECT row.position, row.terms FROM (
    SELECT DISTINCT found.position FROM unnest($1::bytea[]) AS wanted (hash) CROSS JOIN LATERAL (
        SELECT position FROM ledger_identifiers WHERE ledger_identifiers.hash = wanted.hash OFFSET 0
    ) AS found
) AS naming CROSS JOIN LATERAL (
    SELECT position, terms FROM ledger WHERE ledger.position = naming.position OFFSET 0
) AS row ORDER BY row.position

-- name: lock_chain
SELECT position, hash, decided_at FROM chain FOR UPDATE

-- name: move_chain
UPDATE chain SET position = $1, hash = $2, decided_at = $3

-- name: by_id
-- Decisions already in the ledger under these sources and ids.
SELECT found.position, found.terms FROM unnest($1::text[], $2::text[]) AS wanted (source, id)
CROSS JOIN LATERAL (
    SELECT position, terms FROM ledger WHERE ledger.source = wanted.source AND ledger.id = wanted.id
) AS found

-- name: append
INSERT INTO ledger (position, source, id, terms, salt, record, commitment, hash)
SELECT * FROM unnest(
    $1::bigint[], $2::text[], $3::text[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bytea[], $8::bytea[])

-- name: index_ledger
INSERT INTO ledger_identifiers (hash, position) SELECT * FROM unnest($1::bytea[], $2::bigint[])

-- name: rows_of
-- The rows of the ledger that name one identifier, in their order.
SELECT position, terms, salt, record, commitment, hash FROM ledger
WHERE position IN (SELECT position FROM ledger_identifiers WHERE hash = $1) ORDER BY position

-- name: rows_after
-- The ledger in its order.
SELECT position, terms, salt, record, commitment, hash
FROM ledger WHERE position > $1 ORDER BY position LIMIT $2

-- name: indexed
-- How many of these pairs the index of the ledger holds.
SELECT count(*) FROM unnest($1::bytea[], $2::bigint[]) AS given (hash, position)
WHERE EXISTS (
    SELECT FROM ledger_identifiers AS known WHERE known.hash = given.hash AND known.position = given.position)

-- name: chain
SELECT position, hash, decided_at FROM chain

-- name: count_choices
INSERT INTO choices (day, language, jurisdiction, purpose, choice, count)
SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[])
ON CONFLICT (day, language, jurisdiction, purpose, choice) DO UPDATE SET count = choices.count + excluded.count

-- name: choices_between
SELECT language, jurisdiction, purpose, choice, sum(count)::bigint AS count FROM choices
WHERE day >= $1 AND day <= $2 GROUP BY language, jurisdiction, purpose, choice

-- name: to_publish
SELECT oldest.position, current.hash, current.state
FROM (SELECT position, hash FROM unpublished ORDER BY position LIMIT $1) AS oldest CROSS JOIN LATERAL (
    SELECT hash, state FROM identifiers WHERE identifiers.hash = oldest.hash OFFSET 0
) AS current

-- name: published
DELETE FROM unpublished WHERE position = ANY($1::bigint[])

-- name: still_unpublished
SELECT position FROM unpublished WHERE position = ANY($1::bigint[])

-- name: audit_chain
SELECT position, hash FROM audit_chain

-- name: lock_audit
SELECT position, hash FROM audit_chain FOR UPDATE

-- name: move_audit
UPDATE audit_chain SET position = $1, hash = $2

-- name: audit_offsets
-- The offset after the last one known, by partition.
SELECT partition, max("offset") + 1 AS next FROM audit GROUP BY partition

-- name: audited
-- Those of the places that the log holds.
SELECT partition, "offset" FROM unnest($1::int[], $2::bigint[]) AS given (partition, "offset")
WHERE EXISTS (
    SELECT FROM audit AS known WHERE known.partition = given.partition AND known."offset" = given."offset")

-- name: append_audit
INSERT INTO audit (position, partition, "offset", at, act, hash)
SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::text[], $6::bytea[])

-- name: audit_rows
SELECT position, partition, "offset", at, act, hash FROM audit
WHERE position > $1 AND at >= $3 AND at < $4 ORDER BY position LIMIT $2

-- name: lock_unlisted
-- One writer at a time, so that the names of a source can be counted.
SELECT pg_advisory_xact_lock(hashtext('consent unlisted'))

-- name: forget_unlisted
DELETE FROM unlisted WHERE last_seen < $1

-- name: unlisted_of
SELECT kind, event, name, source, first_seen FROM unlisted WHERE source = ANY($1::text[])

-- name: remove_unlisted
DELETE FROM unlisted WHERE (kind, event, name, source) IN (
    SELECT * FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]))

-- name: note_unlisted
INSERT INTO unlisted (kind, event, name, source, first_seen, last_seen)
SELECT kind, event, name, source, $5, $5
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) AS seen (kind, event, name, source)
ON CONFLICT (kind, event, name, source) DO UPDATE SET last_seen = excluded.last_seen

-- name: unlisted
SELECT kind, event, name, source, first_seen, last_seen FROM unlisted WHERE last_seen >= $1
ORDER BY source, kind, event, name

-- name: claim_visitor
INSERT INTO visitors (identifier, secret, claimed_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING

-- name: visitor_secret
SELECT secret FROM visitors WHERE identifier = $1

-- name: add_request
INSERT INTO requests (id, type, how, named, received_at, due_at) VALUES ($1, $2, $3, $4, $5, $6)

-- name: add_steps
INSERT INTO request_steps (request, service, state, at) SELECT $1, service, $3, $4 FROM unnest($2::text[]) AS service

-- name: request
SELECT id, type, how, named, received_at, due_at, erased_at, identifiers FROM requests WHERE id = $1

-- name: requests_of
-- Those that name any of the identifiers, the newest first.
SELECT id, type, how, named, received_at, due_at, erased_at, identifiers FROM requests
WHERE named && $1::bytea[] ORDER BY received_at DESC, id LIMIT $2

-- name: steps_of
SELECT request, service, state, at, counts, detail FROM request_steps WHERE request = ANY($1::text[])

-- name: take_steps
-- Steps that are not done and nobody is at, the longest waiting first; they are the caller's for a while: for $1
-- at least, and for as long again as the request had waited when it was last asked for, $4 at most. What a
-- rectification says is kept nowhere: only the person can ask again.
UPDATE request_steps SET asked_at = $2
WHERE (request, service) IN (
    SELECT step.request, step.service FROM request_steps AS step JOIN requests ON requests.id = step.request
    WHERE step.state <> 'done' AND requests.type <> 'rectification' AND step.asked_at < $2::bigint - $1::bigint
      AND step.asked_at + least(step.asked_at - requests.received_at, $4::bigint) < $2::bigint
    ORDER BY step.asked_at LIMIT $3 FOR UPDATE OF step SKIP LOCKED)
RETURNING request, service

-- name: settle_step
-- What is done stays done: an answer may come twice, and late.
UPDATE request_steps SET state = $3, at = $4, counts = $5, detail = $6
WHERE request = $1 AND service = $2 AND state <> 'done'

-- name: ask_now
UPDATE request_steps SET asked_at = 0 WHERE request = $1 AND service = $2

-- name: settle_cut
UPDATE requests SET identifiers = $2, erased_at = $3 WHERE id = $1

-- name: erase_records
-- What the chain holds by commitment only.
UPDATE ledger SET salt = NULL, record = NULL WHERE record IS NOT NULL AND position = ANY($1::bigint[])
