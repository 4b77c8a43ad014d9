-- Statements of store.py. Arrays run in parallel. Look-ups by id go through LATERAL with a limit, so that the
-- planner can't choose a scan of the whole table, whatever its statistics say: 7 µs a row.

-- name: claim_partitions
-- Raises the epochs, so that whoever held the partitions before can commit nothing more.
INSERT INTO partitions (partition, epoch)
SELECT partition, 1 FROM unnest($1::int[]) AS claimed (partition)
ON CONFLICT (partition) DO UPDATE SET epoch = partitions.epoch + 1
RETURNING partition, epoch, next_offset

-- name: advance
-- Offsets never go back; a partition whose epoch is another one is left as it is.
UPDATE partitions SET
    next_offset = greatest(partitions.next_offset, done.next_offset),
    profiles = partitions.profiles + done.profiles
FROM unnest($1::int[], $2::bigint[], $3::bigint[], $4::int[]) AS done (partition, epoch, next_offset, profiles)
WHERE partitions.partition = done.partition AND partitions.epoch = done.epoch

-- name: count_profiles
SELECT coalesce(sum(profiles), 0)::bigint FROM partitions

-- name: insert_message_ids
-- Returns those that no day knew. A retry may arrive on the day after, or be read before the first copy.
INSERT INTO message_ids (day, key)
SELECT given.day, given.key FROM unnest($1::int[], $2::bytea[]) AS given (day, key)
WHERE (SELECT true FROM message_ids b WHERE b.day = given.day - 1 AND b.key = given.key LIMIT 1) IS NULL
  AND (SELECT true FROM message_ids a WHERE a.day = given.day + 1 AND a.key = given.key LIMIT 1) IS NULL
ON CONFLICT DO NOTHING
RETURNING key

-- name: lock_facets
-- Locks in the order of the array. What another transaction held is returned as that one left it.
SELECT facets.* FROM unnest($1::bytea[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, root, members, state FROM facets WHERE facets.id = wanted.id FOR UPDATE
) AS facets

-- name: read_facets
SELECT facets.* FROM unnest($1::bytea[]) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT id, root, members, state FROM facets WHERE facets.id = wanted.id LIMIT 1
) AS facets

-- name: insert_facets
-- Leaves out those that another transaction has made meanwhile.
INSERT INTO facets (id, root, members, state)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[])
ON CONFLICT (id) DO NOTHING

-- name: update_facets
-- As an upsert: an UPDATE that joins an array may be planned as a scan of all facets.
INSERT INTO facets (id, root, members, state)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[])
ON CONFLICT (id) DO UPDATE SET root = excluded.root, members = excluded.members, state = excluded.state

-- name: write_evidence
INSERT INTO evidence (child, parent, source, message_id, at)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::bigint[])
ON CONFLICT (child, parent, source) DO UPDATE SET message_id = excluded.message_id, at = excluded.at

-- name: queue_links
INSERT INTO unpublished_links (child, parent, source, message_id, at)
SELECT * FROM unnest($1::bytea[], $2::bytea[], $3::text[], $4::text[], $5::bigint[])

-- name: read_links
SELECT position, child, parent, source, message_id, at FROM unpublished_links ORDER BY position LIMIT $1

-- name: forget_links
DELETE FROM unpublished_links WHERE position = ANY ($1::bigint[])

-- name: mark
INSERT INTO marks (root) SELECT * FROM unnest($1::bytea[])

-- name: mark_profiles_of
-- Marks the roots of those identifiers that have a facet.
INSERT INTO marks (root)
SELECT DISTINCT facets.root FROM unnest($1::bytea[]) AS concerned (id)
CROSS JOIN LATERAL (SELECT root FROM facets WHERE facets.id = concerned.id LIMIT 1) AS facets

-- name: read_marks
SELECT position, root FROM marks ORDER BY position LIMIT $1

-- name: unmark
DELETE FROM marks WHERE position = ANY ($1::bigint[])

-- name: next_version
SELECT nextval('versions')

-- name: forget_expiries
DELETE FROM expiries WHERE id = ANY ($1::bytea[])

-- name: note_expiries
INSERT INTO expiries (id, expires_at) SELECT * FROM unnest($1::bytea[], $2::bigint[]) ON CONFLICT DO NOTHING

-- name: mark_expired
-- Marks the profiles of all identifiers with a grant that ended, and forgets those ends.
WITH ended AS (DELETE FROM expiries WHERE expires_at <= $1 RETURNING id)
INSERT INTO marks (root)
SELECT DISTINCT facets.root FROM ended
CROSS JOIN LATERAL (SELECT root FROM facets WHERE facets.id = ended.id LIMIT 1) AS facets

-- name: lock_days
SELECT pg_advisory_xact_lock(hashtext(current_schema()), 1)

-- name: day_partitions
SELECT child.relname AS name FROM pg_inherits
JOIN pg_class child ON child.oid = inhrelid
WHERE inhparent = $1::text::regclass

-- name: history
-- Events of these facets, the newest first.
SELECT day, facet, at, partition, "offset", purposes, record FROM events
WHERE facet = ANY ($1::bytea[]) AND at <= $2
ORDER BY at DESC, partition, "offset" LIMIT $3

-- name: all_events
SELECT record FROM events

-- name: roots_after
-- The next roots by id.
SELECT id FROM facets WHERE root = id AND id > $1 ORDER BY id LIMIT $2

-- name: mark_after
-- Marks the next roots by id.
INSERT INTO marks (root) SELECT id FROM facets WHERE root = id AND id > $1 ORDER BY id LIMIT $2 RETURNING root

-- name: begin_refolding
-- From the first root on, unless it was begun for that policy already, and not before this process judged by it.
INSERT INTO refolding (judged_by, begun_at, after) VALUES ($1, $2, '\x')
ON CONFLICT (singleton) DO UPDATE SET judged_by = excluded.judged_by, begun_at = excluded.begun_at, after = '\x'
WHERE refolding.judged_by <> excluded.judged_by OR refolding.begun_at < $3

-- name: lock_refolding
SELECT after FROM refolding FOR UPDATE

-- name: advance_refolding
UPDATE refolding SET after = $1

-- name: older_transactions
-- Of this service, begun before that time.
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND application_name = current_setting('application_name')
  AND xact_start < $1 AND pid <> pg_backend_pid()

-- name: evidence_of
SELECT found.child, found.parent, found.source, found.message_id, found.at
FROM unnest($1::bytea[]) AS wanted (child)
CROSS JOIN LATERAL (SELECT * FROM evidence WHERE evidence.child = wanted.child OFFSET 0) AS found

-- name: delete_evidence
-- Of these children what these parents' events showed.
DELETE FROM evidence WHERE child = ANY ($1::bytea[]) AND parent = ANY ($2::bytea[])

-- name: delete_facets
DELETE FROM facets WHERE id = ANY ($1::bytea[])

-- name: delete_events
DELETE FROM events WHERE facet = ANY ($1::bytea[])
RETURNING day, facet, at, partition, "offset", purposes, record

-- name: count_profiles_gone
UPDATE partitions SET profiles = profiles + $1 WHERE partition = (SELECT min(partition) FROM partitions)

-- name: note_erased
INSERT INTO erased (id, again_at) SELECT id, $2 FROM unnest($1::bytea[]) AS given (id)
ON CONFLICT (id) DO UPDATE SET again_at = excluded.again_at

-- name: mark_erased_again
WITH due AS (DELETE FROM erased WHERE again_at <= $1 RETURNING id)
INSERT INTO marks (root) SELECT id FROM due

-- name: events_page
-- Events of these facets by event time, after that place in their order.
SELECT day, facet, at, partition, "offset", purposes, record FROM events
WHERE facet = ANY ($1::bytea[]) AND (at, partition, "offset") > ($2, $3, $4)
ORDER BY at, partition, "offset" LIMIT $5
