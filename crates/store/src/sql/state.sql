CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- Events and gaps share one run of numbers.
CREATE TABLE events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time_ms INTEGER NOT NULL,
    kind TEXT NOT NULL,
    subject TEXT NOT NULL,
    text TEXT NOT NULL
);
CREATE TABLE gaps (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    n_samples INTEGER NOT NULL,
    reason TEXT NOT NULL
);
-- Items that are no more, by the numbers they had.
CREATE TABLE lost (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    stream TEXT NOT NULL,
    seq_from INTEGER NOT NULL,
    seq_to INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    n_samples INTEGER NOT NULL,
    reason TEXT NOT NULL
);
CREATE INDEX lost_by_seq ON lost (stream, seq_from);
CREATE TABLE cursors (hub TEXT PRIMARY KEY, since_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE acked (
    hub TEXT NOT NULL,
    stream TEXT NOT NULL,
    ranges BLOB NOT NULL,
    PRIMARY KEY (hub, stream)
) WITHOUT ROWID;
INSERT INTO meta VALUES ('agent_id', randomblob(16)), ('spool_id', randomblob(8)), ('clean', 1), ('next_seq', 1), ('next_table_seq', 1);
PRAGMA user_version = 1;
