-- Erased facets: when their tombstones are written again, so that the segments of profiles.state which still hold
-- their values close and can be cleaned, also where nothing else is written.
CREATE TABLE erased (
    id       bytea  PRIMARY KEY,
    again_at bigint NOT NULL
);
CREATE INDEX erased_due ON erased (again_at);
