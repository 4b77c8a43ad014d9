-- One row per partition of profiles.state: who may write it, how far it is read, and its last position.
CREATE TABLE partitions (
    partition    int    PRIMARY KEY,
    epoch        bigint NOT NULL,
    kafka_offset bigint NOT NULL DEFAULT 0, -- next record to read
    position     bigint NOT NULL DEFAULT 0, -- of the last transition
    judged_by    bigint NOT NULL DEFAULT 0  -- every record here was judged by this catalog or a newer one
);

-- How far the relay is; apart from partitions, whose rows are locked while a batch is judged.
CREATE TABLE published (
    partition int    PRIMARY KEY,
    position  bigint NOT NULL DEFAULT 0
);

CREATE TABLE segments (
    key               text   PRIMARY KEY,
    version           int    NOT NULL,
    name              text   NOT NULL,
    purpose           text   NOT NULL,
    rule              text   NOT NULL, -- JSON
    defined_at        bigint NOT NULL, -- microseconds since the epoch, as all times here
    catalog           bigint NOT NULL, -- catalog version that this version of the segment came with
    deleted           boolean NOT NULL,
    published_version int    NOT NULL DEFAULT 0
);

-- The service's own copy of golden records.
CREATE TABLE records (
    profile_id  bytea  NOT NULL,
    partition   int    NOT NULL,
    version     bigint NOT NULL,
    value       bytea,          -- as on the topic; null once the profile is gone
    merged_into bytea,          -- the profile that it became part of
    identifiers bytea  NOT NULL, -- hashes that stand in table identifiers for this profile
    due_at      bigint,         -- time at which time alone may change a membership
    catalog     bigint NOT NULL, -- catalog version that judged it last
    PRIMARY KEY (profile_id)
) PARTITION BY HASH (profile_id);
CREATE INDEX records_due ON records (partition, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX records_catalog ON records (partition, catalog);

-- Profile by identifier hash, for hashes other than the profile id itself.
CREATE TABLE identifiers (
    hash       bytea NOT NULL,
    profile_id bytea NOT NULL,
    PRIMARY KEY (hash, profile_id)
) PARTITION BY HASH (hash);

-- Every (profile, segment) that ever had a transition, and how it stands now.
CREATE TABLE memberships (
    profile_id      bytea   NOT NULL,
    segment_key     text    NOT NULL,
    member          boolean NOT NULL,
    sequence        bigint  NOT NULL, -- of the last transition; odd for members
    segment_version int     NOT NULL,
    reason          text    NOT NULL,
    occurred_at     bigint  NOT NULL,
    partition       int     NOT NULL, -- where the last transition stands
    position        bigint  NOT NULL,
    PRIMARY KEY (profile_id, segment_key),
    CHECK (member = (sequence % 2 = 1))
) PARTITION BY HASH (profile_id);
CREATE INDEX memberships_segment ON memberships (segment_key, profile_id);

-- The change log, gapless by position within a partition.
CREATE TABLE transitions (
    partition    int    NOT NULL,
    position     bigint NOT NULL,
    segment_key  text   NOT NULL,
    profile_id   bytea  NOT NULL,
    sequence     bigint NOT NULL,
    evaluated_at bigint NOT NULL,
    merged_into  bytea,
    value        bytea  NOT NULL, -- as on the topic
    PRIMARY KEY (partition, position)
);
CREATE UNIQUE INDEX transitions_sequence ON transitions (profile_id, segment_key, sequence);

-- Members by segment and partition: counting memberships would take as long as there are members.
CREATE TABLE counts (
    segment_key text   NOT NULL,
    partition   int    NOT NULL,
    members     bigint NOT NULL,
    PRIMARY KEY (segment_key, partition)
);

DO $$
BEGIN
    FOR i IN 0..7 LOOP
        EXECUTE format('CREATE TABLE records_%s PARTITION OF records
            FOR VALUES WITH (MODULUS 8, REMAINDER %s) WITH (fillfactor = 70)', i, i);
        EXECUTE format('CREATE TABLE identifiers_%s PARTITION OF identifiers
            FOR VALUES WITH (MODULUS 8, REMAINDER %s)', i, i);
        EXECUTE format('CREATE TABLE memberships_%s PARTITION OF memberships
            FOR VALUES WITH (MODULUS 8, REMAINDER %s) WITH (fillfactor = 80)', i, i);
    END LOOP;
END $$;
