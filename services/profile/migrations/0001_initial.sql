-- Times are microseconds since the epoch; days are whole UTC days since the epoch; ids are identifier hashes.

-- One row per partition of events.permitted: who may write for it, and up to where it is applied.
CREATE TABLE partitions (
    partition   int    PRIMARY KEY,
    epoch       bigint NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    profiles    bigint NOT NULL DEFAULT 0 -- how many its events have made, less those merged by them
);

-- The message ids that were applied, as hashes of source and message id. A partition per received day.
CREATE TABLE message_ids (
    day int   NOT NULL,
    key bytea NOT NULL,
    PRIMARY KEY (day, key)
) PARTITION BY LIST (day);

-- What is known through one identifier. Only the id is indexed, so that updates stay within their page.
CREATE TABLE facets (
    id      bytea NOT NULL,
    root    bytea NOT NULL, -- the facet whose id is the profile's id
    members bytea NOT NULL, -- of a root: the ids of the profile's other facets, one after the other, sorted
    state   bytea NOT NULL, -- msgpack, see domain/facet.py
    PRIMARY KEY (id)
) PARTITION BY HASH (id);

-- That a source showed two identifiers to be one person, first by that event.
CREATE TABLE evidence (
    child      bytea  NOT NULL,
    parent     bytea  NOT NULL,
    source     text   NOT NULL,
    message_id text   NOT NULL,
    at         bigint NOT NULL,
    PRIMARY KEY (child, parent, source)
) PARTITION BY HASH (child);

DO $$
BEGIN
    FOR remainder IN 0..7 LOOP
        EXECUTE format(
            'CREATE TABLE facets_%s PARTITION OF facets FOR VALUES WITH (MODULUS 8, REMAINDER %s)'
            ' WITH (fillfactor = 75, autovacuum_vacuum_scale_factor = 0.05)', remainder, remainder);
        EXECUTE format(
            'CREATE TABLE evidence_%s PARTITION OF evidence FOR VALUES WITH (MODULUS 8, REMAINDER %s)',
            remainder, remainder);
    END LOOP;
END $$;

-- Every event that was applied, whole. A partition per received day.
CREATE TABLE events (
    day         int    NOT NULL,
    facet       bytea  NOT NULL,
    at          bigint NOT NULL, -- event time
    partition   int    NOT NULL, -- its place in events.permitted
    "offset"    bigint NOT NULL,
    purposes    text   NOT NULL, -- allowed when it was applied, comma-separated and sorted
    record      bytea  NOT NULL  -- the event as on the topic
) PARTITION BY LIST (day);
CREATE INDEX events_facet ON events (facet);

-- Roots, also former ones, that profiles.state does not show as they are. Several marks of one root are one.
CREATE TABLE marks (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    root     bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- Links that stand in evidence but not yet in the topic identity.links.
CREATE TABLE unpublished_links (
    position   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    child      bytea  NOT NULL,
    parent     bytea  NOT NULL,
    source     text   NOT NULL,
    message_id text   NOT NULL,
    at         bigint NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 20000);

-- When a grant of an identifier ends: its profile must be folded again then.
CREATE TABLE expiries (
    id         bytea  NOT NULL,
    expires_at bigint NOT NULL,
    PRIMARY KEY (id, expires_at)
);
CREATE INDEX expiries_due ON expiries (expires_at);

-- Versions of golden records: one for each round of publication.
CREATE SEQUENCE versions;
