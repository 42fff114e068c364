CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- Numbers whose items were here and were let go: they are not asked for again.
CREATE TABLE floor (
    agent_id TEXT NOT NULL,
    spool_id TEXT NOT NULL,
    stream TEXT NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (agent_id, spool_id, stream, first)
) WITHOUT ROWID;
PRAGMA user_version = 1;
