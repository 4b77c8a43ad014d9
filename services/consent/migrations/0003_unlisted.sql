-- What the gate saw in events and the policy's catalog does not name; kept for a while after it was last seen.
CREATE TABLE unlisted (
    kind       text   NOT NULL, -- event, field or trait
    event      text   NOT NULL, -- of a field; else empty
    name       text   NOT NULL,
    source     text   NOT NULL,
    first_seen bigint NOT NULL,
    last_seen  bigint NOT NULL,
    PRIMARY KEY (kind, event, name, source)
);
