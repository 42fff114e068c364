//! The dashboard as it was built from `web/` and committed to `web/dist`: a handful of files in the
//! binary, so that the hub needs no other to show its page, and its build no Node.

use std::hash::{DefaultHasher, Hash, Hasher};

/// A file of the dashboard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its name in `web/dist`.
    pub name: &'static str,
    /// Its media type.
    pub kind: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
}

macro_rules! file {
    ($name:literal, $kind:literal) => {
        File {
            name: $name,
            kind: $kind,
            bytes: include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/web/dist/", $name)),
        }
    };
}

/// The page itself; whichever view is asked for, it draws it.
pub const PAGE: File = file!("index.html", "text/html; charset=utf-8");
/// Its script.
pub const SCRIPT: File = file!("app.js", "text/javascript; charset=utf-8");
/// Its style.
pub const STYLE: File = file!("app.css", "text/css; charset=utf-8");
/// Its icon.
pub const ICON: File = file!("icon.svg", "image/svg+xml");

impl File {
    /// By what a browser tells this version of it from others.
    pub fn tag(&self) -> String {
        let mut hasher = DefaultHasher::new();
        self.bytes.hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the page names is what the routes serve; nothing of it comes from elsewhere, and no
    /// script stands in the page.
    #[test]
    fn page_names_its_own_files_only() {
        let page = std::str::from_utf8(PAGE.bytes).unwrap();
        for own in [SCRIPT, STYLE, ICON] {
            assert!(page.contains(&format!("\"/{}", own.name)), "{}", own.name);
        }
        assert!(!page.contains("://"), "{page}");
        assert_eq!(page.matches("<script").count(), page.matches("src=\"/").count());
    }

    #[test]
    fn files_differ_by_their_tags() {
        assert_ne!(SCRIPT.tag(), STYLE.tag());
        assert_eq!(PAGE.tag(), PAGE.tag());
    }
}
