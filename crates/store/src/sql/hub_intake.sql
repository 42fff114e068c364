CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- Whose numbers: an agent's stream under one of its spools.
CREATE TABLE sources (
    source INTEGER PRIMARY KEY,
    agent_id TEXT NOT NULL,
    spool_id TEXT NOT NULL,
    stream TEXT NOT NULL
);
CREATE INDEX sources_by_agent ON sources (agent_id);
-- Numbers that this file answers for: those of its items, and those that are lost.
CREATE TABLE received (
    source INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    PRIMARY KEY (source, first)
) WITHOUT ROWID;
CREATE TABLE lost (
    source INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    n_samples INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (source, first)
) WITHOUT ROWID;
-- Items of a source whose ids have the same meaning.
CREATE TABLE parts (part INTEGER PRIMARY KEY, source INTEGER NOT NULL, scope TEXT NOT NULL);
CREATE INDEX parts_by_source ON parts (source);
-- What the ids mean, as the agent said it; the key is part << 24 | number of the blob.
CREATE TABLE definitions (key INTEGER PRIMARY KEY, blob BLOB NOT NULL);
-- Items as they were sealed; the key is part << 40 | number, so that no number is there twice.
CREATE TABLE items (
    key INTEGER PRIMARY KEY,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    n_samples INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    blob BLOB NOT NULL
);
INSERT INTO meta VALUES ('file_id', randomblob(16));
PRAGMA user_version = 1;
