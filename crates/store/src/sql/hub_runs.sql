-- 'FPhr': tells this file from any other.
PRAGMA application_id = 1179674738;
-- A run is read and replaced as a whole; the columns beside its record are for finding it. An order
-- that no agent has yet is here under no agent, or with version 0.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    id TEXT NOT NULL,
    batch TEXT NOT NULL,
    version INTEGER NOT NULL,
    job TEXT NOT NULL,
    domain TEXT NOT NULL,
    state TEXT NOT NULL,
    is_final INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    tags TEXT NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (agent, id)
) STRICT;
CREATE INDEX runs_by_id ON runs (id);
CREATE INDEX runs_by_tail ON runs (substr(id, -8));
CREATE INDEX runs_by_time ON runs (created_ms, number);
CREATE INDEX runs_of_job ON runs (job, created_ms, number);
CREATE INDEX runs_of_agent ON runs (agent, created_ms, number);
CREATE INDEX runs_of_batch ON runs (batch) WHERE batch <> '';
CREATE INDEX runs_going_on ON runs (created_ms, number) WHERE is_final = 0;
CREATE INDEX runs_by_end ON runs (ended_ms) WHERE is_final = 1;
-- How far the hub is in the changes of each agent: written with what it took.
CREATE TABLE cursors (
    agent TEXT PRIMARY KEY,
    spool TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
-- What agents last said of their tasks.
CREATE TABLE tasks (
    agent TEXT PRIMARY KEY,
    said_ms INTEGER NOT NULL,
    tasks TEXT NOT NULL
) STRICT;
PRAGMA user_version = 1;
