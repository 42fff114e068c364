//! What processes write to the disk, and what folders hold.

use std::path::Path;

/// Bytes that a process made the disk write so far, by the kernel's count.
pub fn written_bytes(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Bytes of all files under a folder whose path within it is wanted.
pub fn bytes_of(folder: &Path, wanted: &dyn Fn(&str) -> bool) -> u64 {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let (name, path) = (entry.file_name().to_string_lossy().into_owned(), entry.path());
        match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => {
                sum += bytes_of(&path, &|inner| wanted(&format!("{name}/{inner}")));
            }
            Ok(metadata) if metadata.is_file() && wanted(&name) => sum += metadata.len(),
            _ => {}
        }
    }
    sum
}
