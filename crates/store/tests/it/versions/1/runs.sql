-- The file of the hub's runs of version 1 as it was written, with something in every table. It has to open
-- for ever after: never changed, a newer version gets a file of its own beside it.
PRAGMA application_id = 1179674738;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    agent TEXT NOT NULL,
    id TEXT NOT NULL,
    batch TEXT NOT NULL,
    version INTEGER NOT NULL,
    job TEXT NOT NULL,
    domain TEXT NOT NULL,
    state TEXT NOT NULL,
    is_final INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    tags TEXT NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (agent, id)
) STRICT;
CREATE INDEX runs_by_id ON runs (id);
CREATE INDEX runs_by_tail ON runs (substr(id, -8));
CREATE INDEX runs_by_time ON runs (created_ms, number);
CREATE INDEX runs_of_job ON runs (job, created_ms, number);
CREATE INDEX runs_of_agent ON runs (agent, created_ms, number);
CREATE INDEX runs_of_batch ON runs (batch) WHERE batch <> '';
CREATE INDEX runs_going_on ON runs (created_ms, number) WHERE is_final = 0;
CREATE INDEX runs_by_end ON runs (ended_ms) WHERE is_final = 1;
CREATE TABLE cursors (
    agent TEXT PRIMARY KEY,
    spool TEXT NOT NULL,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE tasks (
    agent TEXT PRIMARY KEY,
    said_ms INTEGER NOT NULL,
    tasks TEXT NOT NULL
) STRICT;
PRAGMA user_version = 1;
INSERT INTO runs VALUES(1,'a','0199aaaa-0000-7000-8000-000000000001','b-1',7,'nightly','shop','failed',1,1795219200000,1795219201000,'{"k\"":"v"}','{"id":"0199aaaa-0000-7000-8000-000000000001","job":{"version":1,"name":"nightly","domain":"shop","command":"sh","args":["-c","exit 3"],"tags":{"k\"":"v"},"kill_grace":"10s","catch_up":"none","overlap":"forbid","output":"plain","stats_interval":"10s","success_codes":[0],"enabled":true},"cause":{"kind":"slot","slot_ms":1795219200000,"late":false},"asked_by":"schedule","state":"failed","changes":[{"state":"queued","time_ms":1795219200000},{"state":"running","time_ms":1795219200100},{"state":"failed","time_ms":1795219201000,"reason":"exit 3"}],"created_ms":1795219200000,"started_ms":1795219200100,"ended_ms":1795219201000,"attempt":1,"pid":4711,"outcome":{"kind":"exited","code":3},"limits":[],"usage":{"cpu_user_seconds":0.5,"cpu_system_seconds":0.25,"memory_peak_bytes":1048576,"io_read_bytes":1,"io_write_bytes":2,"processes_max":1,"threads_max":1,"files_max":3,"oom_kills":0,"source":"cgroup2"},"output":{"stdout_bytes":4,"stderr_bytes":0,"lines":1,"kept_bytes":4,"dropped_bytes":0,"lost_bytes":0},"marks":["late"],"took_ms":900,"secret_names":["TOKEN"]}');
INSERT INTO cursors VALUES('a','s',7);
INSERT INTO tasks VALUES('a',1795219200000,'[{"job":{"name":"nightly"}}]');
