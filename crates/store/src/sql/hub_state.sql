-- 'FPhs': tells this file from any other.
PRAGMA application_id = 1179674739;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES ('hub_id', lower(hex(randomblob(16)))), ('epoch', lower(hex(randomblob(8))));
CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;

-- Roles and labels are JSON: they are read and replaced as a whole.
CREATE TABLE agents (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL UNIQUE COLLATE NOCASE,
    status TEXT NOT NULL,
    comment TEXT NOT NULL,
    since_ms INTEGER NOT NULL,
    set_by TEXT NOT NULL,
    roles TEXT NOT NULL,
    labels TEXT NOT NULL,
    version TEXT NOT NULL,
    mode TEXT NOT NULL,
    key BLOB NOT NULL,
    allow_jobs TEXT NOT NULL,
    approved INTEGER NOT NULL,
    revoked_ms INTEGER,
    enrolled_ms INTEGER NOT NULL,
    last_seen_ms INTEGER,
    boot_id TEXT NOT NULL
) STRICT;
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY,
    agent TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    key BLOB NOT NULL,
    issued_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX certificates_of_agent ON certificates (agent);
CREATE INDEX certificates_of_key ON certificates (key);
CREATE TABLE spools (
    agent TEXT NOT NULL REFERENCES agents (id) ON DELETE CASCADE,
    spool TEXT NOT NULL,
    first_ms INTEGER NOT NULL,
    UNIQUE (agent, spool)
) STRICT;
-- Outlives the agent that was revoked.
CREATE TABLE revoked_keys (
    key BLOB PRIMARY KEY,
    agent TEXT NOT NULL,
    revoked_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX revoked_agents ON revoked_keys (agent);

-- Secrets are here as SHA-256 only; an id is the first eight bytes of it.
CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY,
    secret BLOB NOT NULL UNIQUE,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_ms INTEGER NOT NULL,
    uses_max INTEGER NOT NULL,
    uses INTEGER NOT NULL CHECK (uses <= uses_max),
    roles TEXT NOT NULL,
    labels TEXT NOT NULL,
    needs_approval INTEGER NOT NULL,
    for_agent TEXT,
    revoked_ms INTEGER
) STRICT;
-- By which a repeated enrolment is known. Goes with its token.
CREATE TABLE token_uses (
    token TEXT NOT NULL REFERENCES join_tokens (id) ON DELETE CASCADE,
    key BLOB NOT NULL,
    agent TEXT NOT NULL,
    used_ms INTEGER NOT NULL,
    PRIMARY KEY (token, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE users (
    name TEXT PRIMARY KEY COLLATE NOCASE,
    role TEXT NOT NULL,
    disabled INTEGER NOT NULL,
    password TEXT,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL
) STRICT;
CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    secret BLOB NOT NULL UNIQUE,
    user TEXT NOT NULL COLLATE NOCASE REFERENCES users (name) ON DELETE CASCADE,
    created_ms INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    last_used_ms INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_of_user ON sessions (user);
CREATE TABLE api_tokens (
    id TEXT PRIMARY KEY,
    secret BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    owner TEXT COLLATE NOCASE REFERENCES users (name) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    created_ms INTEGER NOT NULL,
    created_by TEXT NOT NULL,
    expires_ms INTEGER,
    last_used_ms INTEGER,
    revoked_ms INTEGER
) STRICT;
CREATE INDEX api_tokens_of_owner ON api_tokens (owner);
-- Without a user it makes the first admin.
CREATE TABLE sign_ins (
    secret BLOB PRIMARY KEY,
    user TEXT COLLATE NOCASE REFERENCES users (name) ON DELETE CASCADE,
    expires_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sign_ins_of_user ON sign_ins (user);

CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    time_ms INTEGER NOT NULL,
    actor TEXT NOT NULL,
    address TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT NOT NULL,
    hash BLOB NOT NULL
) STRICT;
-- Where the log ends, so that entries cut off at its end are missed.
CREATE TABLE audit_head (one INTEGER PRIMARY KEY CHECK (one = 1), seq INTEGER NOT NULL, hash BLOB NOT NULL) STRICT;
INSERT INTO audit_head VALUES (1, 0, zeroblob(32));
CREATE TRIGGER audit_is_not_changed BEFORE UPDATE ON audit BEGIN
    SELECT raise(ABORT, 'the audit log only grows');
END;
CREATE TRIGGER audit_is_not_cut BEFORE DELETE ON audit BEGIN
    SELECT raise(ABORT, 'the audit log only grows');
END;
