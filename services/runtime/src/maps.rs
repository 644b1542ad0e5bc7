//! Hash maps whose hasher is fixed: the same insertions iterate the same way in every run.
//!
//! Keys that a client chooses (names, member ids) belong in a `BTreeMap`: a fixed hasher can be attacked.

use std::hash::{BuildHasherDefault, Hasher};

/// A hash map for keys the service chooses itself (ids, LSNs).
#[expect(
    clippy::disallowed_types,
    reason = "with a fixed hasher iteration is repeatable"
)]
pub type FastMap<K, V> = std::collections::HashMap<K, V, BuildHasherDefault<IdHasher>>;
/// A hash set for keys the service chooses itself.
#[expect(
    clippy::disallowed_types,
    reason = "with a fixed hasher iteration is repeatable"
)]
pub type FastSet<K> = std::collections::HashSet<K, BuildHasherDefault<IdHasher>>;

/// Multiply-rotate hashing of fixed-width ids.
#[derive(Default)]
pub struct IdHasher(u64);

const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, v: u32) {
        self.write_u64(u64::from(v));
    }

    fn write_u64(&mut self, v: u64) {
        self.0 = (self.0.rotate_left(5) ^ v).wrapping_mul(SPREAD);
    }
}
