//! A TCP proxy that does what networks do to connections: cuts them after any number of bytes
//! either way, lets them hang, swallows what is sent without a word, and carries little at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::Random;

/// How often a thread that waits looks whether it is still wanted.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Bytes that are carried at once.
const PIECE_BYTES: usize = 4 << 10;
/// Offsets of cuts are below 2^4 to 2^17 bytes, each as likely: upgrade, handshakes,
/// introduction and frames all get their share.
const CUT_BITS: (u32, u32) = (4, 17);

/// What is done to connections.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Faults {
    /// Each new connection is cut after some bytes, in one of the directions.
    pub cuts: bool,
    /// Now and then nothing goes on for as long as this, at most; milliseconds.
    pub stall_ms_max: u64,
    /// The most bytes a second, either way of each connection; 0: no bound.
    pub bytes_per_second: u64,
}

/// A proxy on a free port of loopback; its connections end with this value.
pub struct FaultProxy {
    address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    target: Mutex<SocketAddr>,
    faults: Mutex<Faults>,
    random: Mutex<Random>,
    pairs: Mutex<Vec<Arc<Pair>>>,
    n_cuts: AtomicU64,
    n_connections: AtomicU64,
    n_bytes: AtomicU64,
    closed: AtomicBool,
}

/// A connection and the one beyond it.
struct Pair {
    near: TcpStream,
    far: TcpStream,
    /// Everything is swallowed, and neither side is told.
    is_hole: AtomicBool,
    ended: AtomicBool,
}

impl Pair {
    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        // Both may be gone already.
        let _near = self.near.shutdown(Shutdown::Both);
        let _far = self.far.shutdown(Shutdown::Both);
    }
}

impl FaultProxy {
    /// Carries everything faithfully to this address until it is told otherwise.
    pub fn to(target: SocketAddr, random: Random) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: Mutex::new(target),
            faults: Mutex::default(),
            random: Mutex::new(random),
            pairs: Mutex::default(),
            n_cuts: AtomicU64::new(0),
            n_connections: AtomicU64::new(0),
            n_bytes: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        });
        let accepting = Arc::clone(&shared);
        std::thread::Builder::new().name("proxy".into()).spawn(move || accept(&listener, &accepting))?;
        Ok(Self { address, shared })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Leads new connections elsewhere.
    pub fn lead_to(&self, target: SocketAddr) {
        *held(&self.shared.target) = target;
    }

    /// What happens to new connections from now on; the rate holds for those of before as well.
    pub fn set(&self, faults: Faults) {
        *held(&self.shared.faults) = faults;
    }

    /// Cuts everything that is open now.
    pub fn cut_all(&self) {
        held(&self.shared.pairs).drain(..).for_each(|pair| pair.end());
    }

    /// Swallows from now on what goes over the connections that are open now: each side believes
    /// that the other is there. New ones are carried.
    pub fn swallow(&self) {
        held(&self.shared.pairs).iter().for_each(|pair| pair.is_hole.store(true, Ordering::Relaxed));
    }

    /// Connections that were cut at an offset.
    pub fn n_cuts(&self) -> u64 {
        self.shared.n_cuts.load(Ordering::Relaxed)
    }

    /// Connections that came.
    pub fn n_connections(&self) -> u64 {
        self.shared.n_connections.load(Ordering::Relaxed)
    }

    /// Bytes that were carried, both ways together.
    pub fn n_bytes(&self) -> u64 {
        self.shared.n_bytes.load(Ordering::Relaxed)
    }
}

impl Drop for FaultProxy {
    fn drop(&mut self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.cut_all();
    }
}

fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.closed.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((near, _)) => {
                shared.n_connections.fetch_add(1, Ordering::Relaxed);
                // Where nobody listens the connection ends at once, as it would without a proxy.
                let target = *held(&shared.target);
                if let Ok(far) = TcpStream::connect(target) {
                    drop(carry(near, far, shared));
                }
            }
            Err(_) => std::thread::sleep(LOOK_EVERY),
        }
    }
}

fn carry(near: TcpStream, far: TcpStream, shared: &Arc<Shared>) -> std::io::Result<()> {
    for stream in [&near, &far] {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(LOOK_EVERY))?;
    }
    let pair = Arc::new(Pair { near, far, is_hole: AtomicBool::new(false), ended: AtomicBool::new(false) });
    held(&shared.pairs).push(Arc::clone(&pair));
    let (cut_at, mut random) = {
        let mut random = held(&shared.random);
        let bits = CUT_BITS.0 + random.below(u64::from(CUT_BITS.1 - CUT_BITS.0 + 1)) as u32;
        let cut = (random.below(2) == 0, random.below(1 << bits));
        (held(&shared.faults).cuts.then_some(cut), random.branch())
    };
    for is_up in [true, false] {
        let way = Way {
            from: if is_up { pair.near.try_clone()? } else { pair.far.try_clone()? },
            to: if is_up { pair.far.try_clone()? } else { pair.near.try_clone()? },
            left: cut_at.filter(|(up, _)| *up == is_up).map(|(_, bytes)| bytes as usize),
            pair: Arc::clone(&pair),
            shared: Arc::clone(shared),
            random: random.branch(),
        };
        std::thread::Builder::new().name("proxy-way".into()).spawn(move || way.run())?;
    }
    Ok(())
}

/// One direction of a connection.
struct Way {
    from: TcpStream,
    to: TcpStream,
    /// Bytes until it is cut.
    left: Option<usize>,
    pair: Arc<Pair>,
    shared: Arc<Shared>,
    random: Random,
}

impl Way {
    fn run(mut self) {
        let mut piece = [0; PIECE_BYTES];
        while !self.pair.ended.load(Ordering::Relaxed) {
            let n_bytes = match self.from.read(&mut piece) {
                Ok(0) => break,
                Ok(n_bytes) => n_bytes,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(_) => break,
            };
            if self.pair.is_hole.load(Ordering::Relaxed) {
                continue;
            }
            self.wait(n_bytes);
            let passes = self.left.map_or(n_bytes, |left| left.min(n_bytes));
            if self.to.write_all(&piece[..passes]).is_err() {
                break;
            }
            self.shared.n_bytes.fetch_add(passes as u64, Ordering::Relaxed);
            self.left = self.left.map(|left| left - passes);
            if self.left == Some(0) {
                self.shared.n_cuts.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
        self.pair.end();
    }

    /// Takes the time that so many bytes take on a slow line, and stalls now and then.
    fn wait(&mut self, n_bytes: usize) {
        let Faults { stall_ms_max, bytes_per_second, .. } = *held(&self.shared.faults);
        if bytes_per_second > 0 {
            std::thread::sleep(Duration::from_secs_f64(n_bytes as f64 / bytes_per_second as f64));
        }
        if stall_ms_max > 0 && self.random.below(10) == 0 {
            std::thread::sleep(Duration::from_millis(self.random.below(stall_ms_max)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What comes back of these bytes from an echo behind the proxy.
    fn echoed(proxy: &FaultProxy, listener: &TcpListener, sent: &[u8]) -> Vec<u8> {
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        std::thread::spawn(move || {
            let mut all = Vec::new();
            // A cut may end it anywhere.
            let _cut = server.read_to_end(&mut all);
            let _cut = server.write_all(&all);
        });
        let _cut = client.write_all(sent).and_then(|()| client.shutdown(Shutdown::Write));
        let mut back = Vec::new();
        let _cut = client.read_to_end(&mut back);
        back
    }

    #[test]
    fn cuts_end_connections_and_never_change_what_passes() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = FaultProxy::to(listener.local_addr().unwrap(), Random::seeded()).unwrap();
        proxy.set(Faults { cuts: true, stall_ms_max: 3, bytes_per_second: 0 });
        let sent: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
        for _ in 0..20 {
            let back = echoed(&proxy, &listener, &sent);
            assert!(back.len() < sent.len() && sent.starts_with(&back), "{} bytes", back.len());
        }
        assert_eq!(proxy.n_connections(), 20);
    }

    #[test]
    fn what_is_swallowed_ends_no_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = FaultProxy::to(listener.local_addr().unwrap(), Random::seeded()).unwrap();
        let mut client = TcpStream::connect(proxy.address()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"a").unwrap();
        let mut byte = [0];
        server.read_exact(&mut byte).unwrap();
        proxy.swallow();
        client.write_all(b"b").unwrap();
        server.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let silence = server.read(&mut byte).unwrap_err();
        assert!(matches!(silence.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{silence}");
    }
}
