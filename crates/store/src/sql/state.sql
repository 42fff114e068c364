CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
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
INSERT INTO meta VALUES ('agent_id', randomblob(16)), ('spool_id', randomblob(8)), ('clean', 1), ('next_seq', 1);
PRAGMA user_version = 1;
