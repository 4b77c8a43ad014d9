-- The audit log: every act of the topic audit.acts, once, chained by hashes: see domain/audit.py.
CREATE TABLE audit (
    position  bigint  PRIMARY KEY,
    partition integer NOT NULL,
    "offset"  bigint  NOT NULL,
    at        bigint  NOT NULL, -- as in the act
    act       text    NOT NULL, -- JSON
    hash      bytea   NOT NULL,
    UNIQUE (partition, "offset")
);

-- The end of its chain: one row, locked by whoever appends.
CREATE TABLE audit_chain (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    position  bigint  NOT NULL,
    hash      bytea   NOT NULL
);
INSERT INTO audit_chain (position, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the audit log is only appended to';
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
