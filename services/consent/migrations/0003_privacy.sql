-- Whose anonymous_id it is: the first secret that came with it.
CREATE TABLE visitors (
    identifier bytea  PRIMARY KEY,
    secret     bytea  NOT NULL,     -- SHA-256
    claimed_at bigint NOT NULL
);

-- What people asked for. Hashes only; a copy is made when it is read, and kept nowhere.
CREATE TABLE requests (
    id          text    PRIMARY KEY,
    type        text    NOT NULL,
    how         text    NOT NULL,           -- visitor, link or key
    named       bytea[] NOT NULL,           -- the identifiers it was asked for
    identifiers bytea[] NOT NULL DEFAULT '{}', -- all that an erasure reaches, once it was cut
    received_at bigint  NOT NULL,
    due_at      bigint  NOT NULL,
    erased_at   bigint  NOT NULL DEFAULT 0  -- the cut
);
CREATE INDEX requests_named ON requests USING gin (named);

-- What each service has to do for a request.
CREATE TABLE request_steps (
    request  text   NOT NULL REFERENCES requests (id),
    service  text   NOT NULL,
    state    text   NOT NULL,               -- waiting, done, failed
    asked_at bigint NOT NULL DEFAULT 0,     -- whoever moved it is at it
    at       bigint,
    counts   text   NOT NULL DEFAULT '{}',  -- JSON
    detail   text   NOT NULL DEFAULT '',
    PRIMARY KEY (request, service)
);
CREATE INDEX request_steps_open ON request_steps (asked_at) WHERE state <> 'done';
