-- Runs that agents had forgotten before the hub had drawn them: behind which place, and how many.
CREATE TABLE gaps (
    agent TEXT NOT NULL,
    spool TEXT NOT NULL,
    version INTEGER NOT NULL,
    n_runs INTEGER NOT NULL,
    at_most INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    noted_ms INTEGER NOT NULL,
    PRIMARY KEY (agent, spool, version)
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 2;
