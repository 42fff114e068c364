CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE entities (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    start_ms INTEGER NOT NULL,
    name TEXT NOT NULL,
    command TEXT NOT NULL,
    unit TEXT NOT NULL,
    grp TEXT NOT NULL,
    uid INTEGER NOT NULL,
    parent INTEGER NOT NULL
);
-- The key is the first tick's instant, twice, plus the kind; the chain is the key of its first blob.
CREATE TABLE blobs (key INTEGER PRIMARY KEY, chain INTEGER NOT NULL, crc INTEGER NOT NULL, blob BLOB NOT NULL);
PRAGMA user_version = 1;
