-- The file of an agent's jobs of version 1 as it was written, with something in every table. It has to open
-- for ever after: never changed, a newer version gets a file of its own beside it.
PRAGMA application_id = 1179675234;
CREATE TABLE runs (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    job TEXT NOT NULL,
    domain TEXT NOT NULL,
    state TEXT NOT NULL,
    is_final INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    ended_ms INTEGER,
    tags TEXT NOT NULL,
        output_bytes INTEGER NOT NULL,
    record TEXT NOT NULL
) STRICT;
CREATE INDEX runs_of_job ON runs (job, number);
CREATE INDEX runs_going_on ON runs (number) WHERE is_final = 0;
CREATE INDEX runs_by_end ON runs (ended_ms);
CREATE TABLE tasks (
    name TEXT PRIMARY KEY,
    definition TEXT,
    paused INTEGER NOT NULL,
    slot_ms INTEGER,
    ticker TEXT,
    changed_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE sealed (
    run TEXT PRIMARY KEY,
    box BLOB NOT NULL
) STRICT, WITHOUT ROWID;
PRAGMA user_version = 1;
INSERT INTO runs VALUES(1,'0199aaaa-0000-7000-8000-000000000001','nightly','shop','failed',1,1795219200000,1795219201000,'{"k\"":"v"}',4,'{"id":"0199aaaa-0000-7000-8000-000000000001","job":{"version":1,"name":"nightly","domain":"shop","command":"sh","args":["-c","exit 3"],"tags":{"k\"":"v"},"kill_grace":"10s","catch_up":"none","overlap":"forbid","output":"plain","stats_interval":"10s","success_codes":[0],"enabled":true},"cause":{"kind":"slot","slot_ms":1795219200000,"late":false},"asked_by":"schedule","state":"failed","changes":[{"state":"queued","time_ms":1795219200000},{"state":"running","time_ms":1795219200100},{"state":"failed","time_ms":1795219201000,"reason":"exit 3"}],"created_ms":1795219200000,"started_ms":1795219200100,"ended_ms":1795219201000,"attempt":1,"pid":4711,"outcome":{"kind":"exited","code":3},"limits":[],"usage":{"cpu_user_seconds":0.5,"cpu_system_seconds":0.25,"memory_peak_bytes":1048576,"io_read_bytes":1,"io_write_bytes":2,"processes_max":1,"threads_max":1,"files_max":3,"oom_kills":0,"source":"cgroup2"},"output":{"stdout_bytes":4,"stderr_bytes":0,"lines":1,"kept_bytes":4,"dropped_bytes":0,"lost_bytes":0},"marks":["late"],"took_ms":900,"secret_names":["TOKEN"]}');
INSERT INTO runs VALUES(2,'0199aaaa-0000-7000-8000-000000000002','nightly','shop','running',0,1795219200000,NULL,'{"k\"":"v"}',4,'{"id":"0199aaaa-0000-7000-8000-000000000002","job":{"version":1,"name":"nightly","domain":"shop","command":"sh","args":["-c","exit 3"],"tags":{"k\"":"v"},"kill_grace":"10s","catch_up":"none","overlap":"forbid","output":"plain","stats_interval":"10s","success_codes":[0],"enabled":true},"cause":{"kind":"slot","slot_ms":1795219200000,"late":false},"asked_by":"schedule","state":"running","changes":[{"state":"queued","time_ms":1795219200000},{"state":"running","time_ms":1795219200100}],"created_ms":1795219200000,"started_ms":1795219200100,"ended_ms":null,"attempt":1,"pid":4711,"outcome":null,"limits":[],"usage":{"cpu_user_seconds":0.5,"cpu_system_seconds":0.25,"memory_peak_bytes":1048576,"io_read_bytes":1,"io_write_bytes":2,"processes_max":1,"threads_max":1,"files_max":3,"oom_kills":0,"source":"cgroup2"},"output":{"stdout_bytes":4,"stderr_bytes":0,"lines":1,"kept_bytes":4,"dropped_bytes":0,"lost_bytes":0},"marks":[],"took_ms":null,"secret_names":["TOKEN"]}');
INSERT INTO tasks VALUES('nightly',NULL,1,1795219200000,'t-1',1795219200000);
INSERT INTO tasks VALUES('asked','{"version":1,"name":"nightly","domain":"shop","command":"sh","args":["-c","exit 3"],"tags":{"k\"":"v"},"kill_grace":"10s","catch_up":"none","overlap":"forbid","output":"plain","stats_interval":"10s","success_codes":[0],"enabled":true}',0,NULL,NULL,1795219200000);
INSERT INTO sealed VALUES('0199aaaa-0000-7000-8000-000000000002',X'0102');
