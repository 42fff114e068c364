-- The changes of runs are numbered, so that a hub draws what is new: a run has the number of its newest
-- one only. The numbering has a name: another one begins anew.
CREATE TABLE numbering (
    spool TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT;
ALTER TABLE runs ADD COLUMN version INTEGER NOT NULL DEFAULT 0;
UPDATE runs SET version = number;
INSERT INTO numbering SELECT lower(hex(randomblob(16))), coalesce(max(number), 0) FROM runs;
CREATE INDEX runs_by_version ON runs (version);
-- Ids of runs that hubs ordered and that were forgotten here: an order that comes again is not run again.
CREATE TABLE forgotten (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE
) STRICT;
CREATE TRIGGER ordered_once BEFORE INSERT ON runs WHEN EXISTS (SELECT 1 FROM forgotten WHERE id = new.id)
BEGIN
    SELECT RAISE(ABORT, 'this run was here before');
END;
PRAGMA user_version = 2;
