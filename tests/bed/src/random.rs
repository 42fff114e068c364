//! Chance that can be had again: every random test prints its seed, and takes one.

use std::time::SystemTime;

/// Numbers from a seed: xorshift64.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// From `FIELDPOST_SEED`, else from the clock; printed, so that a failure can be had again.
    #[allow(clippy::print_stdout, reason = "the seed stands beside what the test prints")]
    pub fn seeded() -> Self {
        let given = std::env::var("FIELDPOST_SEED").ok().and_then(|seed| seed.parse().ok());
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let seed: u64 = given.unwrap_or(since.as_nanos() as u64);
        println!("seed {seed} (again: FIELDPOST_SEED={seed})");
        Self(seed.max(1))
    }

    /// Below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit.max(1)
    }

    /// Another source of chance, which goes its own way from here.
    pub fn branch(&mut self) -> Self {
        Self(self.below(u64::MAX).max(1))
    }
}

/// How many times more than in `make test`.
pub fn soak() -> u64 {
    std::env::var("FIELDPOST_SOAK").ok().and_then(|factor| factor.parse().ok()).unwrap_or(1)
}

/// How often something is done: so often in `make test`, and so often with the factor of `make soak`, which is
/// 10; with others in proportion.
pub fn soaked(usual: u64, with_ten: u64) -> u64 {
    match soak() {
        0 | 1 => usual,
        factor => (with_ten * factor).div_ceil(10).max(usual),
    }
}
