-- By which policy golden records were folded, and how far those of the policy before it are marked: one row.
CREATE TABLE refolding (
    singleton boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    judged_by text   NOT NULL,           -- Policy.judged_by
    begun_at  bigint NOT NULL,
    after     bytea                      -- roots up to this one are marked; null once all are
);
