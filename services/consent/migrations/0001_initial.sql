-- Times are microseconds since the epoch; hashes are identifier hashes. See store.sql for the order of locks.

-- Every identifier that was linked or decided for: the row to lock, and its effective state.
CREATE TABLE identifiers (
    hash        bytea  PRIMARY KEY,
    version     bigint NOT NULL DEFAULT 0, -- 0: nothing was ever published
    state       bytea,                     -- a consent_state as on the topic
    next_expiry bigint                     -- when the first of its grants ends
) PARTITION BY HASH (hash);
CREATE INDEX identifiers_expiry ON identifiers (next_expiry) WHERE next_expiry IS NOT NULL;

-- That two identifiers are one person's; each pair stands twice, once from either end. Never deleted.
CREATE TABLE links (
    one       bytea  NOT NULL,
    other     bytea  NOT NULL,
    linked_at bigint NOT NULL,
    cut_at    bigint,                      -- a steward's cut outranks all evidence until it is lifted
    PRIMARY KEY (one, other)
) PARTITION BY HASH (one);

-- The decisions in their order, chained by hashes: see domain/ledger.py.
CREATE TABLE ledger (
    position   bigint PRIMARY KEY,
    source     text   NOT NULL,
    id         text   NOT NULL,
    terms      bytea  NOT NULL,
    salt       bytea,                      -- null with record, once that was erased
    record     bytea,
    commitment bytea  NOT NULL,
    hash       bytea  NOT NULL,
    UNIQUE (source, id)
);

-- Which decisions name an identifier; follows from the terms.
CREATE TABLE ledger_identifiers (
    hash     bytea  NOT NULL,
    position bigint NOT NULL,
    PRIMARY KEY (hash, position)
) PARTITION BY HASH (hash);

-- The end of the chain: one row, locked by whoever appends.
CREATE TABLE chain (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position   bigint  NOT NULL,
    hash       bytea   NOT NULL,
    decided_at bigint  NOT NULL
);
INSERT INTO chain (position, hash, decided_at) VALUES (0, decode(repeat('00', 32), 'hex'), 0);

-- States that the topic does not show yet. A row goes once Kafka has acknowledged that state or a newer one.
CREATE TABLE unpublished (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash     bytea NOT NULL
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX unpublished_hash ON unpublished (hash);

DO $$
BEGIN
    FOR remainder IN 0..7 LOOP
        EXECUTE format(
            'CREATE TABLE identifiers_%s PARTITION OF identifiers FOR VALUES WITH (MODULUS 8, REMAINDER %s)'
            ' WITH (fillfactor = 80)', remainder, remainder);
        EXECUTE format(
            'CREATE TABLE links_%s PARTITION OF links FOR VALUES WITH (MODULUS 8, REMAINDER %s)',
            remainder, remainder);
        EXECUTE format(
            'CREATE TABLE ledger_identifiers_%s PARTITION OF ledger_identifiers'
            ' FOR VALUES WITH (MODULUS 8, REMAINDER %s)', remainder, remainder);
    END LOOP;
END $$;
