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
-- The number runs on over all days.
CREATE TABLE blobs (
    key INTEGER PRIMARY KEY,
    chain INTEGER NOT NULL,
    seq INTEGER NOT NULL UNIQUE,
    to_ms INTEGER NOT NULL,
    n_rows INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    blob BLOB NOT NULL
);
INSERT INTO meta VALUES ('lineage', lower(hex(randomblob(8))));
PRAGMA user_version = 1;
