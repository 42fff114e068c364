//! Merged files that stay open from one question to the next: to open one takes longer than to read a
//! series of it. They are never written again, so that what an open one has read of them stays true.

use std::ops::Deref;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::StoreError;
use crate::folder::{FileKind, StoreFile};
use crate::hub::shapes::Shapes;
use crate::hub::source::HubFile;

/// Files that are kept open though nobody asks, at most. Each has a cache of half a MiB.
const N_IDLE_MAX: usize = 40;

/// Which file it is, whatever it is called: device, number, length, and when it was written.
type Identity = (u64, u64, u64, i64);

/// The files that are open and idle.
#[derive(Default)]
pub(crate) struct Pool {
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    identity: Identity,
    file: HubFile,
    /// Nobody has asked since it was last looked at.
    is_stale: bool,
}

/// An open file, lent for one question.
pub(crate) struct Lent {
    /// Taken out only when this goes.
    file: Option<HubFile>,
    back: Option<(Arc<Pool>, Identity)>,
}

fn identity(path: &Path) -> Option<Identity> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.dev(), meta.ino(), meta.len(), meta.mtime_nsec() ^ meta.mtime() << 30))
}

impl Pool {
    /// Lends a file, opened if need be. Its series get the numbers of these shapes.
    pub(crate) fn lend(self: &Arc<Self>, file: StoreFile, shapes: &Arc<Shapes>) -> Result<Lent, StoreError> {
        let identity = if file.kind == FileKind::Hot { None } else { identity(&file.path) };
        let known = identity.and_then(|identity| {
            let mut idle = self.idle.lock();
            let place = idle.iter().position(|idle| idle.identity == identity)?;
            Some(idle.swap_remove(place).file)
        });
        let opened = match known {
            Some(known) => known.lent(file, shapes),
            None => HubFile::open(file, Arc::clone(shapes))?,
        };
        Ok(Lent { file: Some(opened), back: identity.map(|identity| (Arc::clone(self), identity)) })
    }

    /// Closes what nobody has asked for since this was last called: a file that was removed
    /// takes up its room until then.
    pub(crate) fn forget_idle(&self) {
        let mut idle = self.idle.lock();
        idle.retain(|idle| !idle.is_stale);
        idle.iter_mut().for_each(|idle| idle.is_stale = true);
    }
}

impl Deref for Lent {
    type Target = HubFile;

    fn deref(&self) -> &HubFile {
        match &self.file {
            Some(file) => file,
            // It is there until this is dropped.
            None => unreachable!("a file that was given back is asked"),
        }
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(file), Some((pool, identity))) = (self.file.take(), self.back.take()) else { return };
        let mut idle = pool.idle.lock();
        if idle.len() < N_IDLE_MAX {
            idle.push(Idle { identity, file, is_stale: false });
        }
    }
}
