-- How many people were asked and what they answered, by UTC day; nobody is named. purpose '': the answer as a
-- whole. Languages and jurisdictions are those of the policy, '' for any other.
CREATE TABLE choices (
    day          int    NOT NULL, -- whole days since the epoch
    language     text   NOT NULL,
    jurisdiction text   NOT NULL,
    purpose      text   NOT NULL,
    choice       text   NOT NULL,
    count        bigint NOT NULL,
    PRIMARY KEY (day, language, jurisdiction, purpose, choice)
) WITH (fillfactor = 50);
