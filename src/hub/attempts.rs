//! Failed attempts to sign in: who guesses is told to wait. So many at once and then one now and
//! then, from each address and in all; what is remembered is bounded.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use fieldpost_model::TimeMs;
use parking_lot::Mutex;

/// Failures that an address may have at once ...
const OF_ADDRESS: f64 = 10.0;
/// ... and the time after which it may have one more.
const OF_ADDRESS_EVERY_MS: f64 = 30_000.0;
/// Failures that all addresses together may have at once ...
const IN_ALL: f64 = 100.0;
/// ... and the time after which there may be one more.
const IN_ALL_EVERY_MS: f64 = 1_000.0;
/// Addresses that are remembered. Where there are more, those go that are forgiven first.
const N_ADDRESSES_MAX: usize = 4_096;

/// A bucket that fills again by itself.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    at_ms: TimeMs,
}

impl Bucket {
    fn refill(&mut self, most: f64, every_ms: f64, now_ms: TimeMs) {
        let passed_ms = (now_ms - self.at_ms).max(0) as f64;
        self.left = (self.left + passed_ms / every_ms).min(most);
        self.at_ms = now_ms;
    }

    /// How long until there is one more; none if there is one.
    fn wait(&self, every_ms: f64) -> Option<Duration> {
        (self.left < 1.0).then(|| Duration::from_millis(((1.0 - self.left) * every_ms).ceil() as u64))
    }
}

struct Inner {
    addresses: HashMap<IpAddr, Bucket>,
    all: Bucket,
}

/// Remembers failed attempts.
pub struct Attempts(Mutex<Inner>);

impl Default for Attempts {
    fn default() -> Self {
        let all = Bucket { left: IN_ALL, at_ms: 0 };
        Self(Mutex::new(Inner { addresses: HashMap::new(), all }))
    }
}

impl Attempts {
    /// May there be an attempt from this address? It counts as failed until it is forgiven. None
    /// if it may be made, else how long to wait. Somebody at this machine (no address) may always.
    pub fn begin(&self, address: Option<&str>, now_ms: TimeMs) -> Option<Duration> {
        let address = address.map(network)?;
        let mut inner = self.0.lock();
        inner.all.refill(IN_ALL, IN_ALL_EVERY_MS, now_ms);
        inner.make_room(now_ms);
        let bucket = inner.addresses.entry(address).or_insert(Bucket { left: OF_ADDRESS, at_ms: now_ms });
        bucket.refill(OF_ADDRESS, OF_ADDRESS_EVERY_MS, now_ms);
        if let Some(wait) = bucket.wait(OF_ADDRESS_EVERY_MS) {
            return Some(wait);
        }
        if let Some(wait) = inner.all.wait(IN_ALL_EVERY_MS) {
            return Some(wait);
        }
        inner.all.left -= 1.0;
        if let Some(bucket) = inner.addresses.get_mut(&address) {
            bucket.left -= 1.0;
        }
        None
    }

    /// The attempt was a success: it does not count.
    pub fn forgive(&self, address: Option<&str>) {
        let Some(address) = address.map(network) else { return };
        let mut inner = self.0.lock();
        inner.all.left = (inner.all.left + 1.0).min(IN_ALL);
        if let Some(bucket) = inner.addresses.get_mut(&address) {
            bucket.left = (bucket.left + 1.0).min(OF_ADDRESS);
        }
    }
}

impl Inner {
    /// Forgets those that are forgiven by now; if that is not enough, those that are next to be.
    fn make_room(&mut self, now_ms: TimeMs) {
        if self.addresses.len() < N_ADDRESSES_MAX {
            return;
        }
        self.addresses.retain(|_, bucket| {
            bucket.refill(OF_ADDRESS, OF_ADDRESS_EVERY_MS, now_ms);
            bucket.left < OF_ADDRESS
        });
        if self.addresses.len() >= N_ADDRESSES_MAX {
            let mut left: Vec<f64> = self.addresses.values().map(|bucket| bucket.left).collect();
            left.sort_by(f64::total_cmp);
            let median = left[left.len() / 2];
            self.addresses.retain(|_, bucket| bucket.left < median);
        }
        if self.addresses.len() >= N_ADDRESSES_MAX {
            self.addresses.clear();
        }
    }
}

/// Who has an IPv6 address mostly has all of its /64. What cannot be read is one address.
fn network(address: &str) -> IpAddr {
    match address.parse().unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) {
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => IpAddr::V4(address),
            None => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        },
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_waits_and_others_do_not() {
        let attempts = Attempts::default();
        for _ in 0..10 {
            assert_eq!(attempts.begin(Some("192.0.2.1"), 1_000), None);
        }
        assert_eq!(attempts.begin(Some("192.0.2.1"), 1_000), Some(Duration::from_secs(30)));
        assert_eq!(attempts.begin(Some("::ffff:192.0.2.1"), 1_000), Some(Duration::from_secs(30)));
        assert_eq!(attempts.begin(Some("192.0.2.2"), 1_000), None);
        assert_eq!(attempts.begin(None, 1_000), None);
        assert_eq!(attempts.begin(Some("192.0.2.1"), 31_000), None);
        assert!(attempts.begin(Some("192.0.2.1"), 31_000).is_some());
    }

    #[test]
    fn success_does_not_count() {
        let attempts = Attempts::default();
        for _ in 0..1_000 {
            assert_eq!(attempts.begin(Some("192.0.2.1"), 1_000), None);
            attempts.forgive(Some("192.0.2.1"));
        }
    }

    #[test]
    fn many_addresses_share_a_limit_and_take_bounded_memory() {
        let attempts = Attempts::default();
        let address =
            |n: u32| Ipv6Addr::from_bits((0x2001_0db8_u128 << 96) + (u128::from(n) << 64)).to_string();
        let n_let = (0..500).filter(|n| attempts.begin(Some(&address(*n)), 1_000).is_none()).count();
        assert_eq!(n_let, 100);
        for n in 0..20_000_u32 {
            attempts.begin(Some(&address(n)), 1_000 + i64::from(n) * 100);
        }
        assert!(attempts.0.lock().addresses.len() <= N_ADDRESSES_MAX);
    }

    #[test]
    fn one_network_is_one_guesser() {
        assert_eq!(network("2001:db8::1"), network("2001:db8::ffff"));
        assert_ne!(network("2001:db8::1"), network("2001:db8:0:1::1"));
    }
}
