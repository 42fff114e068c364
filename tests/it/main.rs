//! The one integration binary: the program from outside.

mod node_exporter;
mod tidy;

/// A file of the repository.
fn repository_file(path: &str) -> std::path::PathBuf {
    fieldpost_bed::repository().join(path)
}

/// The program under test.
fn fieldpost() -> &'static str {
    env!("CARGO_BIN_EXE_fieldpost")
}
