-- name: raise_epochs
-- Make this process the writer of these partitions; whoever was before can not commit any more.
INSERT INTO partitions AS p (partition, epoch)
SELECT partition, 1 FROM unnest($1::int[]) AS partition ORDER BY partition
ON CONFLICT (partition) DO UPDATE SET epoch = p.epoch + 1
RETURNING partition, epoch, kafka_offset

-- name: begin_publishing
INSERT INTO published (partition) SELECT unnest($1::int[]) ON CONFLICT DO NOTHING

-- name: lock_partitions
SELECT partition, epoch, position, judged_by FROM partitions
WHERE partition = ANY($1::int[]) ORDER BY partition FOR UPDATE

-- name: catalog_version
SELECT coalesce(max(catalog), 0) FROM segments

-- name: catalog
SELECT key, version, name, purpose, rule, defined_at, catalog, deleted FROM segments ORDER BY key

-- name: known
-- What is stored of these profiles; the golden record itself only of those that are gone now.
-- OFFSET 0 keeps the look-up by key: without statistics the planner would read the whole table.
SELECT r.profile_id, r.version, r.catalog, r.due_at, r.merged_into IS NOT NULL AS merged, r.identifiers,
       CASE WHEN k.gone THEN r.value END AS value
FROM unnest($1::bytea[], $2::boolean[]) AS k (profile_id, gone)
CROSS JOIN LATERAL (SELECT * FROM records r WHERE r.profile_id = k.profile_id OFFSET 0) r

-- name: standings
SELECT m.profile_id, m.segment_key, m.member, m.sequence, m.reason
FROM unnest($1::bytea[]) AS k (profile_id)
CROSS JOIN LATERAL (SELECT * FROM memberships m WHERE m.profile_id = k.profile_id OFFSET 0) m

-- name: save_records
INSERT INTO records (profile_id, partition, version, value, merged_into, identifiers, due_at, catalog)
SELECT * FROM unnest(
    $1::bytea[], $2::int[], $3::bigint[], $4::bytea[], $5::bytea[], $6::bytea[], $7::bigint[], $8::bigint[]
)
ON CONFLICT (profile_id) DO UPDATE SET
    version = excluded.version, value = excluded.value, merged_into = excluded.merged_into,
    identifiers = excluded.identifiers, due_at = excluded.due_at, catalog = excluded.catalog

-- name: save_judged
-- Records that were judged again, and stayed what they are.
UPDATE records r SET due_at = j.due_at, catalog = $3
FROM unnest($1::bytea[], $2::bigint[]) AS j (profile_id, due_at)
WHERE r.profile_id = j.profile_id

-- name: remove_identifiers
DELETE FROM identifiers i USING unnest($1::bytea[], $2::bytea[]) AS k (hash, profile_id)
WHERE i.hash = k.hash AND i.profile_id = k.profile_id

-- name: add_identifiers
INSERT INTO identifiers (hash, profile_id) SELECT * FROM unnest($1::bytea[], $2::bytea[])
ON CONFLICT DO NOTHING

-- name: add_transitions
INSERT INTO transitions
    (partition, position, segment_key, profile_id, sequence, evaluated_at, merged_into, value)
SELECT * FROM unnest(
    $1::int[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[], $6::bigint[], $7::bytea[], $8::bytea[]
)

-- name: save_memberships
INSERT INTO memberships
    (partition, position, segment_key, profile_id, sequence, member, segment_version, reason, occurred_at)
SELECT * FROM unnest(
    $1::int[], $2::bigint[], $3::text[], $4::bytea[], $5::bigint[], $6::boolean[], $7::int[], $8::text[],
    $9::bigint[]
)
ON CONFLICT (profile_id, segment_key) DO UPDATE SET
    position = excluded.position, sequence = excluded.sequence, member = excluded.member,
    segment_version = excluded.segment_version, reason = excluded.reason, occurred_at = excluded.occurred_at

-- name: count_members
INSERT INTO counts AS c (segment_key, partition, members)
SELECT * FROM unnest($1::text[], $2::int[], $3::bigint[])
ON CONFLICT (segment_key, partition) DO UPDATE SET members = c.members + excluded.members

-- name: advance
UPDATE partitions p
SET position = a.position, kafka_offset = greatest(p.kafka_offset, a.kafka_offset)
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS a (partition, position, kafka_offset)
WHERE p.partition = a.partition

-- name: waiting
-- Of these partitions those in which something is due or the catalog has changed.
SELECT p.partition FROM partitions p
WHERE p.partition = ANY($1::int[])
  AND (p.judged_by < (SELECT max(catalog) FROM segments)
       OR EXISTS (SELECT FROM records r WHERE r.partition = p.partition AND r.due_at <= $2))

-- name: due
SELECT profile_id, version, catalog, due_at, value FROM records
WHERE partition = $1 AND due_at <= $2 ORDER BY due_at LIMIT $3

-- name: judged_before
SELECT profile_id, version, catalog, due_at, value FROM records
WHERE partition = $1 AND catalog < $2 ORDER BY catalog LIMIT $3

-- name: set_judged_by
UPDATE partitions SET judged_by = $2 WHERE partition = $1

-- name: forget_transitions
-- Published transitions from before the time, oldest first; the topic is kept no longer either.
DELETE FROM transitions t USING (
    SELECT t.partition, t.position FROM published u CROSS JOIN LATERAL (
        SELECT t.partition, t.position, t.evaluated_at FROM transitions t
        WHERE t.partition = u.partition AND t.position <= u.position ORDER BY t.position LIMIT $2
    ) t WHERE t.evaluated_at < $1
) old
WHERE t.partition = old.partition AND t.position = old.position

-- name: unpublished
-- At most so many of each partition and, but for the first, so many bytes in all.
SELECT partition, position, profile_id, merged_into, value FROM (
    SELECT t.*, sum(octet_length(t.value)) OVER (ORDER BY t.partition, t.position) AS bytes
    FROM published u CROSS JOIN LATERAL (
        SELECT * FROM transitions t
        WHERE t.partition = u.partition AND t.position > u.position ORDER BY t.position LIMIT $1
    ) t
) t
WHERE bytes <= $2 OR bytes = octet_length(value)
ORDER BY partition, position

-- name: set_published
UPDATE published u SET position = greatest(u.position, a.position)
FROM unnest($1::int[], $2::bigint[]) AS a (partition, position) WHERE u.partition = a.partition

-- name: published
SELECT partition, position FROM published ORDER BY partition

-- name: oldest_kept
-- Per partition the last position of which nothing after it was forgotten.
SELECT u.partition, coalesce(
    (SELECT min(t.position) - 1 FROM transitions t WHERE t.partition = u.partition), u.position
) AS position
FROM published u

-- name: stream
-- Transitions within a range of positions per partition, of one segment or of all. No range is longer than
-- the limit, which keeps the planner to the index.
SELECT t.partition, t.position, t.segment_key, t.profile_id, t.merged_into, t.value
FROM unnest($1::int[], $2::bigint[], $3::bigint[]) AS c (partition, after, until)
CROSS JOIN LATERAL (
    SELECT * FROM transitions t
    WHERE t.partition = c.partition AND t.position > c.after AND t.position <= c.until
    ORDER BY t.position LIMIT $5
) t
WHERE $4::text IS NULL OR t.segment_key = $4
ORDER BY t.partition, t.position

-- name: members_at
-- Members of a segment when the relay stood at these positions, in the order of profile ids. What changed
-- since then is undone: sequences have no gap, so the one before the first change held, odd for members.
SELECT m.profile_id, m.sequence, r.value
FROM (
    SELECT m.profile_id, coalesce(
        (SELECT min(t.sequence) - 1 FROM transitions t
         WHERE m.position > c.position AND t.profile_id = m.profile_id AND t.segment_key = m.segment_key
           AND t.position > c.position),
        m.sequence
    ) AS sequence
    FROM memberships m
    JOIN unnest($3::int[], $4::bigint[]) AS c (partition, position) ON c.partition = m.partition
    WHERE m.segment_key = $1 AND m.profile_id > $2 AND (m.member OR m.position > c.position)
    ORDER BY m.profile_id
) m
LEFT JOIN records r USING (profile_id)
WHERE m.sequence % 2 = 1
ORDER BY m.profile_id
LIMIT $5

-- name: lock_catalog
-- One definition at a time: catalog versions become visible in their order.
SELECT pg_advisory_xact_lock(hashtext('segment catalog'))

-- name: segment
SELECT key, version, name, purpose, rule, defined_at, catalog, deleted FROM segments WHERE key = $1

-- name: save_segment
INSERT INTO segments (key, version, name, purpose, rule, defined_at, catalog, deleted)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (key) DO UPDATE SET
    version = excluded.version, name = excluded.name, purpose = excluded.purpose, rule = excluded.rule,
    defined_at = excluded.defined_at, catalog = excluded.catalog, deleted = excluded.deleted

-- name: unpublished_segments
SELECT key, version, name, purpose, rule, defined_at, deleted FROM segments
WHERE version > published_version ORDER BY catalog

-- name: set_published_segments
UPDATE segments s SET published_version = greatest(s.published_version, p.version)
FROM unnest($1::text[], $2::int[]) AS p (key, version) WHERE s.key = p.key

-- name: counts
SELECT segment_key, sum(members)::bigint AS members FROM counts GROUP BY segment_key

-- name: counts_of
SELECT segment_key, sum(members)::bigint AS members FROM counts
WHERE partition = ANY($1::int[]) GROUP BY segment_key

-- name: judged_by
SELECT coalesce(min(judged_by), 0) FROM partitions

-- name: find
-- Live profiles with that identifier hash.
SELECT profile_id FROM records
WHERE value IS NOT NULL
  AND profile_id IN (SELECT i.profile_id FROM identifiers i WHERE i.hash = $1 UNION ALL SELECT $1::bytea)
ORDER BY profile_id

-- name: record
SELECT profile_id, version, catalog, due_at, value, merged_into FROM records WHERE profile_id = $1

-- name: standing
SELECT m.member, m.sequence, m.segment_version, m.reason, m.occurred_at, t.value,
       m.position <= u.position AS published
FROM memberships m
JOIN published u ON u.partition = m.partition
LEFT JOIN transitions t ON t.partition = m.partition AND t.position = m.position
WHERE m.profile_id = $1 AND m.segment_key = $2

-- name: records_after
SELECT profile_id, version, catalog, due_at, value FROM records
WHERE profile_id > $1 ORDER BY profile_id LIMIT $2

-- name: sequence_faults
-- (profile, segment) whose kept transitions have a gap, or do not end where the membership stands.
SELECT encode(profile_id, 'hex') AS profile_id, segment_key
FROM (
    SELECT profile_id, segment_key, max(sequence) AS last, max(sequence) - min(sequence) + 1 AS span, count(*) AS kept
    FROM transitions GROUP BY profile_id, segment_key
) t
LEFT JOIN memberships m USING (profile_id, segment_key)
WHERE t.span <> t.kept OR m.sequence IS DISTINCT FROM t.last

-- name: position_faults
-- Partitions whose kept transitions have a gap in their positions, or do not end where the partition stands.
SELECT p.partition
FROM partitions p
JOIN (
    SELECT partition, max(position) AS last, max(position) - min(position) + 1 AS span, count(*) AS kept
    FROM transitions GROUP BY partition
) t USING (partition)
WHERE t.span <> t.kept OR t.last <> p.position

-- name: count_faults
SELECT segment_key, partition
FROM counts c
FULL JOIN (
    SELECT segment_key, partition, count(*) AS members FROM memberships WHERE member
    GROUP BY segment_key, partition
) m USING (segment_key, partition)
WHERE coalesce(c.members, 0) <> coalesce(m.members, 0)

-- name: transitions_of
SELECT partition, position, value FROM transitions WHERE profile_id = ANY($1::bytea[])

-- name: published_transitions_of
SELECT t.partition, t.position, t.value FROM transitions t
JOIN published u ON u.partition = t.partition AND t.position <= u.position
WHERE t.profile_id = ANY($1::bytea[])

-- name: erased_of
-- Those of the profiles that are gone for good.
SELECT profile_id FROM records
WHERE profile_id = ANY($1::bytea[]) AND value IS NULL AND merged_into IS NULL

-- name: has_unpublished
SELECT EXISTS (
    SELECT FROM transitions t JOIN published u ON u.partition = t.partition AND t.position > u.position
    WHERE t.profile_id = ANY($1::bytea[]))

-- name: rewrite_transitions
UPDATE transitions t SET value = n.value
FROM unnest($1::int[], $2::bigint[], $3::bytea[]) AS n (partition, position, value)
WHERE t.partition = n.partition AND t.position = n.position

-- name: copies_of
SELECT profile_id, value FROM records WHERE profile_id = ANY($1::bytea[])

-- name: memberships_of
SELECT profile_id, segment_key, member, sequence, segment_version, reason, occurred_at FROM memberships
WHERE profile_id = ANY($1::bytea[]) ORDER BY profile_id, segment_key
