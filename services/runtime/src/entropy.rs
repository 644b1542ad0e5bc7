//! Randomness: nonces, ids, jitter. Not for keys or secrets.

use std::sync::Arc;

use parking_lot::Mutex;

/// A source of randomness. Clones share the stream, so one seed decides a whole simulated run.
#[derive(Clone)]
pub struct Entropy(Arc<Mutex<fastrand::Rng>>);

impl Entropy {
    /// Seeded by the operating system.
    ///
    /// # Panics
    /// When the operating system has no randomness to give: nothing could be named safely then.
    #[must_use]
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the room for the system's randomness"
    )]
    pub fn system() -> Self {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).expect("the operating system gives randomness");
        Self::seeded(u64::from_ne_bytes(seed))
    }

    /// Seeded by `seed`: the same calls give the same values.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// The next 64 random bits.
    #[must_use]
    pub fn next_u64(&self) -> u64 {
        self.0.lock().u64(..)
    }

    /// Uniform in `0..bound`; 0 when `bound` is 0.
    #[must_use]
    pub fn below(&self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.0.lock().u64(..bound)
        }
    }

    /// Fills `buf` with random bytes.
    pub fn fill(&self, buf: &mut [u8]) {
        self.0.lock().fill(buf);
    }
}

impl std::fmt::Debug for Entropy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Entropy")
    }
}
