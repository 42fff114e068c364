//! What the open store of a hub says about itself.

/// Figures of an open hub store, since it was opened unless they say otherwise.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HubStoreStats {
    /// Items that are on the disk.
    pub n_items_stored: u64,
    /// Samples in them.
    pub n_samples_stored: u64,
    /// Bytes of their blobs.
    pub bytes_stored: u64,
    /// Items that were here already: acknowledged again, and dropped.
    pub n_duplicates: u64,
    /// Items, definitions and lost ranges that were refused.
    pub n_refused: u64,
    /// Numbers that agents said are lost.
    pub n_lost: u64,
    /// Transactions.
    pub n_commits: u64,
    /// How long the last transaction took, milliseconds.
    pub commit_ms_last: f64,
    /// Batches that wait to be written.
    pub queue_batches: usize,
    /// Bytes of them.
    pub queue_bytes: usize,
    /// Batches that were sent back because too much waited.
    pub n_full: u64,
    /// Attempts to write that failed.
    pub n_write_errors: u64,
    /// What the last trouble said.
    pub last_error: Option<String>,
    /// Files of intake, rows and rollups.
    pub n_files: usize,
    /// Bytes of all files.
    pub bytes: u64,
    /// Hours merged.
    pub n_hours_merged: u64,
    /// Days merged.
    pub n_days_merged: u64,
    /// Age of the oldest hour that should have been merged, milliseconds.
    pub merge_lag_ms: i64,
    /// Blobs with a wrong checksum, left out of merges.
    pub n_bad_blobs: u64,
    /// Files that were put aside.
    pub n_quarantined: u64,
    /// Files that were let go by age or quota.
    pub n_files_dropped: u64,
}
