-- Results of what was ordered here that nobody has taken yet, in the order in which their ends were heard of.
-- AUTOINCREMENT: whoever has looked up to a place is not shown something else under it later. What was over
-- before this step is not in here: nobody waits for it.
CREATE TABLE results (
    place INTEGER PRIMARY KEY AUTOINCREMENT,
    run INTEGER NOT NULL UNIQUE,
    batch TEXT NOT NULL,
    job TEXT NOT NULL,
    back_ms INTEGER
) STRICT;
CREATE INDEX results_of_batch ON results (batch, place);
CREATE INDEX results_of_job ON results (job, place);
CREATE INDEX results_lent ON results (back_ms) WHERE back_ms IS NOT NULL;
CREATE TRIGGER results_go_with_runs AFTER DELETE ON runs BEGIN
    DELETE FROM results WHERE run = old.number;
END;
PRAGMA user_version = 3;
