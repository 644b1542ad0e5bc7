//! Latest offsets by key, in bounded memory.

use std::hash::Hasher;

use siphasher::sip128::{Hasher128, SipHasher24};
use tidemark_types::Offset;

/// Bytes of one slot: a 128-bit hash of the key and an offset.
const SLOT_BYTES: usize = size_of::<Slot>();
/// Used slots in a hundred at the most: beyond, probing gets long.
const LOAD_PERCENT_MAX: usize = 85;

/// Two words, so that a slot needs no padding.
type Hash = [u64; 2];

#[derive(Clone, Copy)]
struct Slot {
    hash: Hash,
    /// −1: free.
    offset: i64,
}

const FREE: Slot = Slot {
    hash: [0; 2],
    offset: -1,
};

/// The map has no room for another key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("note a key's offset: the map of keys is full")]
pub struct Full;

/// Maps keys to their latest offsets by a keyed 128-bit hash, so that keys of any size take the same room.
///
/// Two keys of one hash would be taken for the same. By chance that does not happen (10⁹ keys: 10⁻²¹), and who chooses
/// keys does not know the hash's key, so cannot make it happen.
#[derive(Clone)]
pub struct OffsetMap {
    slots: Vec<Slot>,
    used: usize,
    seed: (u64, u64),
}

impl OffsetMap {
    /// A map of at most `budget` bytes, less when it is known to get no more than `keys_max` keys. `seed` is random and
    /// secret.
    #[must_use]
    pub fn new(budget: usize, keys_max: usize, seed: (u64, u64)) -> Self {
        let wanted = keys_max.saturating_mul(100) / LOAD_PERCENT_MAX + 2;
        let slots = (budget / SLOT_BYTES).min(wanted).max(2);
        Self {
            slots: vec![FREE; slots],
            used: 0,
            seed,
        }
    }

    /// Keys noted.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.used
    }

    /// Whether no key was noted.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Notes that `key` stands at `offset`; of several the largest counts.
    ///
    /// # Errors
    /// [`Full`], with nothing noted, for a new key without room. The first key always finds room.
    pub fn note(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        let hash = self.hash(key);
        let is_full = (self.used + 1) * 100 > self.slots.len() * LOAD_PERCENT_MAX;
        let at = self.probe(hash);
        let slot = &mut self.slots[at];
        if slot.offset < 0 {
            if is_full && self.used > 0 {
                return Err(Full);
            }
            self.used += 1;
        }
        *slot = Slot {
            hash,
            offset: slot.offset.max(offset.0),
        };
        Ok(())
    }

    /// The key's latest offset.
    #[must_use]
    pub fn latest(&self, key: &[u8]) -> Option<Offset> {
        let slot = self.slots[self.probe(self.hash(key))];
        (slot.offset >= 0).then_some(Offset(slot.offset))
    }

    /// Where a hash is, or would be. There is always a free slot, so it ends.
    fn probe(&self, hash: Hash) -> usize {
        let slots = self.slots.len();
        let spread = (u128::from(hash[0]) * slots as u128) >> 64;
        let mut at = usize::try_from(spread).expect("below the number of slots");
        while self.slots[at].offset >= 0 && self.slots[at].hash != hash {
            at = if at + 1 == slots { 0 } else { at + 1 };
        }
        at
    }

    fn hash(&self, key: &[u8]) -> Hash {
        let mut hasher = SipHasher24::new_with_keys(self.seed.0, self.seed.1);
        hasher.write(key);
        let hash = hasher.finish128();
        [hash.h1, hash.h2]
    }
}

impl std::fmt::Debug for OffsetMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OffsetMap")
            .field("keys", &self.used)
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}
