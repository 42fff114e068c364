-- 'FPjb': tells this file from any other.
PRAGMA application_id = 1179675234;
-- A run is read and replaced as a whole; the columns beside its record are for finding it.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    domain TEXT NOT NULL,
    state TEXT NOT NULL,
    is_final INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    tags TEXT NOT NULL,
    -- Before the record, so that sums over it do not read that.
    output_bytes INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX runs_of_job ON runs (job, number);
CREATE INDEX runs_going_on ON runs (number) WHERE is_final = 0;
CREATE INDEX runs_by_end ON runs (ended_ms);
-- A definition is NULL where it stands in a file: then only what is remembered of it is here.
CREATE TABLE tasks (
    name TEXT PRIMARY KEY,
    definition TEXT,
    paused INTEGER NOT NULL,
    slot_ms INTEGER,
    ticker TEXT,
    changed_ms INTEGER NOT NULL
) STRICT;
-- Values of secrets of runs that have not begun, sealed.
CREATE TABLE sealed (
    run TEXT PRIMARY KEY,
    box BLOB NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
