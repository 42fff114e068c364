-- Runs that were forgotten, in the order in which they were, with the number of their newest change: a hub
-- that had not come so far is told how many it has missed. Where there are very many the oldest are
-- counted together.
CREATE TABLE removed (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    version INTEGER NOT NULL UNIQUE,
    n_runs INTEGER NOT NULL,
    from_ms INTEGER NOT NULL,
    to_ms INTEGER NOT NULL
) STRICT;
PRAGMA user_version = 3;
