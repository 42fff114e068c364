CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
-- Shapes: what series are but for whose they are, each once for all agents.
CREATE TABLE families (id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER NOT NULL, help TEXT NOT NULL);
CREATE TABLE series (id INTEGER PRIMARY KEY, family INTEGER NOT NULL, suffix TEXT NOT NULL, labels BLOB NOT NULL);
-- Agents: the ids of their series run on from the first, in the order of the shapes in the blob.
CREATE TABLE members (
    agent_id TEXT NOT NULL UNIQUE,
    first_id INTEGER NOT NULL,
    crc INTEGER NOT NULL,
    shapes BLOB NOT NULL
);
-- How many samples each slot has: an hour of the day, or a day of the month.
CREATE TABLE hours (
    hour INTEGER PRIMARY KEY,
    seq_from INTEGER NOT NULL,
    seq_to INTEGER NOT NULL,
    n_samples INTEGER NOT NULL
);
-- Keys are number << 20 | slot: of an axis, or of a group of 16 series of one agent.
CREATE TABLE axes (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE rows (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE minute_axes (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE minute_rows (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
-- What follows is carried over from the intake: see there.
CREATE TABLE sources (
    source INTEGER PRIMARY KEY,
    agent_id TEXT NOT NULL,
    spool_id TEXT NOT NULL,
    stream TEXT NOT NULL
);
CREATE INDEX sources_by_agent ON sources (agent_id);
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
-- What the windows covered, that are rows now: runs of numbers that follow one another in time.
CREATE TABLE spans (
    source INTEGER NOT NULL,
    first INTEGER NOT NULL,
    last INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL,
    PRIMARY KEY (source, first)
) WITHOUT ROWID;
-- Items of the streams that are not merged into rows.
CREATE TABLE parts (part INTEGER PRIMARY KEY, source INTEGER NOT NULL, scope TEXT NOT NULL);
CREATE INDEX parts_by_source ON parts (source);
CREATE TABLE definitions (key INTEGER PRIMARY KEY, blob BLOB NOT NULL);
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
