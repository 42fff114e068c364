CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE families (id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER NOT NULL, help TEXT NOT NULL);
CREATE TABLE series (id INTEGER PRIMARY KEY, family INTEGER NOT NULL, suffix TEXT NOT NULL, labels BLOB NOT NULL);
CREATE TABLE windows (
    seq INTEGER PRIMARY KEY,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    n_samples INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    blob BLOB NOT NULL
);
-- Files of one lineage give no number of a series two meanings.
INSERT INTO meta VALUES ('lineage', lower(hex(randomblob(8))));
PRAGMA user_version = 1;
