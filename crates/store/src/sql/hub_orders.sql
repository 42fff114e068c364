-- Orders for runs, until their agents have them. Target and what is ordered are JSON: they are read
-- as a whole. Secrets are sealed with a key that is not in here.
CREATE TABLE orders (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    batch TEXT NOT NULL,
    agent TEXT,
    target TEXT NOT NULL,
    ordered TEXT NOT NULL,
    sealed BLOB NOT NULL,
    made_by TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    state TEXT NOT NULL,
    is_open INTEGER NOT NULL,
    reason TEXT NOT NULL,
    changed_ms INTEGER NOT NULL,
    killed_by TEXT
) STRICT;
CREATE INDEX open_orders ON orders (agent, number) WHERE is_open = 1;
-- Jobs that are defined at the hub.
CREATE TABLE hub_jobs (
    name TEXT PRIMARY KEY,
    job TEXT NOT NULL,
    target TEXT NOT NULL,
    paused INTEGER NOT NULL,
    chosen TEXT,
    made_by TEXT NOT NULL,
    changed_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
