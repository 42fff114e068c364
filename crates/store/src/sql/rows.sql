CREATE TABLE meta (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE families (id INTEGER PRIMARY KEY, name TEXT NOT NULL, kind INTEGER NOT NULL, help TEXT NOT NULL);
CREATE TABLE series (id INTEGER PRIMARY KEY, family INTEGER NOT NULL, suffix TEXT NOT NULL, labels BLOB NOT NULL);
-- What each hour of the day was merged from: the range of its windows' numbers.
CREATE TABLE hours (
    hour INTEGER PRIMARY KEY,
    seq_from INTEGER NOT NULL,
    seq_to INTEGER NOT NULL,
    n_samples INTEGER NOT NULL
);
-- The very numbers of those windows.
CREATE TABLE numbers (hour INTEGER PRIMARY KEY, ranges BLOB NOT NULL);
-- Keys are number << 20 | hour of the day: of an axis, or of a group of 16 series.
CREATE TABLE axes (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE rows (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE minute_axes (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
CREATE TABLE minute_rows (key INTEGER PRIMARY KEY, crc INTEGER NOT NULL, blob BLOB NOT NULL);
PRAGMA user_version = 1;
