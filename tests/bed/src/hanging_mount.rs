//! A mount that hangs: a FUSE file system, spoken by hand over /dev/fuse, that leaves statfs
//! unanswered until it is told to answer. Needs root and /dev/fuse.

use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags};

/// Requests of `linux/fuse.h` that are answered, or must not be.
const OPCODE_FORGET: u32 = 2;
const OPCODE_STATFS: u32 = 17;
const OPCODE_INIT: u32 = 26;
const OPCODE_INTERRUPT: u32 = 36;
const OPCODE_BATCH_FORGET: u32 = 42;

/// The protocol this speaks: its init answer has 64 bytes since 7.23.
const PROTOCOL: (u32, u32) = (7, 31);

/// The kernel refuses to read into less than the largest write and its header, bytes.
const REQUEST_SIZE_BYTES: usize = 128 << 10;

/// How often the thread looks whether it has to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };

/// What this file system says of itself once it answers: blocks of 4096 bytes.
pub const BLOCKS: u64 = 1_000;

/// A mount whose statfs sleeps until `answer` is called. Dropping it unmounts it and wakes
/// whoever still sleeps in it.
pub struct HangingMount {
    folder: PathBuf,
    answering: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl HangingMount {
    /// Mounts it on this folder, which must exist. It hangs from the first statfs on.
    pub fn new(folder: &Path) -> Result<Self> {
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let device = rustix::fs::open("/dev/fuse", flags, Mode::empty())
            .context("cannot open /dev/fuse: run the tests as root, with the kernel's fuse module loaded")?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let options = CString::new(options).context("options without zero bytes")?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV;
        rustix::mount::mount("hanging", folder, "fuse", flags, options.as_c_str())
            .with_context(|| format!("cannot mount on {}: run the tests as root", folder.display()))?;
        let (answering, stop, asked) = (Arc::default(), Arc::default(), Arc::default());
        let server = Server {
            device,
            held: Vec::new(),
            answering: Arc::clone(&answering),
            asked: Arc::clone(&asked),
            stop: Arc::clone(&stop),
        };
        let thread = std::thread::spawn(move || server.run());
        Ok(Self { folder: folder.to_owned(), answering, asked, stop, thread: Some(thread) })
    }

    /// From now on statfs is answered, also where it already waits.
    pub fn answer(&self) {
        self.answering.store(true, Ordering::SeqCst);
    }

    /// From now on statfs hangs again.
    pub fn hang(&self) {
        self.answering.store(false, Ordering::SeqCst);
    }

    /// How often the kernel passed a statfs on to this file system.
    pub fn n_asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for HangingMount {
    fn drop(&mut self) {
        // The order matters: once the device is closed every waiting call fails, and only a lazy
        // unmount succeeds while calls wait.
        let unmounted = rustix::mount::unmount(&self.folder, UnmountFlags::DETACH);
        self.stop.store(true, Ordering::SeqCst);
        let joined = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert!(unmounted.is_ok(), "cannot unmount {}: {unmounted:?}", self.folder.display());
            assert!(matches!(joined, Some(Ok(()))), "the thread of the mount has failed");
        }
    }
}

struct Server {
    device: OwnedFd,
    held: Vec<u64>,
    answering: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
}

impl Server {
    fn run(mut self) {
        let mut request = vec![0; REQUEST_SIZE_BYTES];
        while !self.stop.load(Ordering::SeqCst) {
            if self.answering.load(Ordering::SeqCst) {
                std::mem::take(&mut self.held).into_iter().for_each(|unique| self.reply_statfs(unique));
            }
            let mut ready = [PollFd::from_borrowed_fd(self.device.as_fd(), PollFlags::IN)];
            if matches!(poll(&mut ready, Some(&LOOK)), Ok(n) if n > 0) {
                match rustix::io::read(&self.device, &mut request) {
                    Ok(length) => self.serve(&request[..length]),
                    Err(Errno::NODEV) => return,
                    Err(_) => {}
                }
            }
        }
    }

    /// A request begins with its length, its kind and a number that the answer repeats.
    fn serve(&mut self, request: &[u8]) {
        let Some(header) = request.get(..16) else { return };
        let opcode = u32::from_ne_bytes(header[4..8].try_into().expect("four bytes"));
        let unique = u64::from_ne_bytes(header[8..16].try_into().expect("eight bytes"));
        match opcode {
            OPCODE_INIT => self.reply(unique, 0, &init()),
            OPCODE_STATFS => {
                self.asked.fetch_add(1, Ordering::SeqCst);
                self.held.push(unique);
            }
            OPCODE_FORGET | OPCODE_BATCH_FORGET | OPCODE_INTERRUPT => {}
            _ => self.reply(unique, -Errno::NOSYS.raw_os_error(), &[]),
        }
    }

    /// `struct fuse_statfs_out`: blocks, free, available, inodes, free inodes, sizes.
    fn reply_statfs(&self, unique: u64) {
        let mut body = Vec::new();
        for number in [BLOCKS, BLOCKS / 2, BLOCKS / 4, 100, 50] {
            body.extend(number.to_ne_bytes());
        }
        for number in [4096_u32, 255, 4096] {
            body.extend(number.to_ne_bytes());
        }
        body.resize(80, 0);
        self.reply(unique, 0, &body);
    }

    /// The kernel may have given up the request meanwhile: a failed write is no fault.
    fn reply(&self, unique: u64, error: i32, body: &[u8]) {
        let length = u32::try_from(16 + body.len()).expect("answers are small");
        let mut answer = length.to_ne_bytes().to_vec();
        answer.extend(error.to_ne_bytes());
        answer.extend(unique.to_ne_bytes());
        answer.extend(body);
        let _ = rustix::io::write(&self.device, &answer);
    }
}

/// `struct fuse_init_out`: version first, the largest write at byte 20, everything else zero.
fn init() -> [u8; 64] {
    let mut body = [0; 64];
    body[..4].copy_from_slice(&PROTOCOL.0.to_ne_bytes());
    body[4..8].copy_from_slice(&PROTOCOL.1.to_ne_bytes());
    body[20..24].copy_from_slice(&4096_u32.to_ne_bytes());
    body
}
