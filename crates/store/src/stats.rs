//! What an open store says about itself.

/// Figures of an open store, since it was opened unless they say otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct StoreStats {
    /// Windows that are on the disk.
    pub n_windows_stored: u64,
    /// Samples in them.
    pub n_samples_stored: u64,
    /// Samples that were given up; each is in a gap.
    pub n_samples_lost: u64,
    /// Table ticks that were given up.
    pub n_tables_lost: u64,
    /// Number of the last window on the disk, over the whole life of the store.
    pub last_seq: i64,
    /// Transactions.
    pub n_commits: u64,
    /// How long the last transaction took, milliseconds.
    pub commit_ms_last: f64,
    /// Attempts to write that failed.
    pub n_write_errors: u64,
    /// What the last of them said.
    pub last_error: Option<String>,
    /// Windows that wait to be written.
    pub queue_windows: usize,
    /// Bytes in the log of the hot file.
    pub wal_bytes: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// Files of windows, rows and tables.
    pub n_files: usize,
    /// Hours merged.
    pub n_hours_merged: u64,
    /// Age of the oldest hour that should have been merged, milliseconds.
    pub merge_lag_ms: i64,
    /// Blobs with a wrong checksum, left out.
    pub n_bad_blobs: u64,
    /// Files that were put aside.
    pub n_quarantined: u64,
}
