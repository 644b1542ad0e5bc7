//! What a batch keeps in memory beside its own bytes.
//!
//! A batch is a slice of the request it came in: whoever holds it holds all of that request's memory, however small the
//! batch. So the request's memory is what is counted, once for all batches of it.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The memory that the batches of one request are slices of. Clones are the same memory.
#[derive(Clone, Debug)]
pub struct Backing {
    memory: Arc<Memory>,
    charge: Option<Charge>,
}

/// What a gateway gave for the memory, let go when none of the request's batches is in flight any more.
pub(crate) type Charge = Arc<dyn Any + Send + Sync>;

/// See [`Backing`].
#[derive(Debug)]
pub(crate) struct Memory {
    bytes: usize,
    /// Batches of it in the tail cache; changed under that cache's lock only.
    cached: AtomicUsize,
}

impl Backing {
    /// A request's memory of `bytes` bytes.
    #[must_use]
    pub fn new(bytes: usize) -> Self {
        Self {
            memory: Arc::new(Memory {
                bytes,
                cached: AtomicUsize::new(0),
            }),
            charge: None,
        }
    }

    /// Keeps `charge` until every batch of the request was answered or given up: its share of some bound.
    #[must_use]
    pub fn charged(self, charge: Arc<dyn Any + Send + Sync>) -> Self {
        Self {
            charge: Some(charge),
            ..self
        }
    }

    /// Bytes of the memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.memory.bytes
    }

    pub(crate) fn into_parts(self) -> (Arc<Memory>, Option<Charge>) {
        (self.memory, self.charge)
    }
}

impl PartialEq for Backing {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.memory, &other.memory)
    }
}

impl Eq for Backing {}

impl Memory {
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// One more batch of it is cached: the bytes that the cache holds by that.
    pub(crate) fn enter(&self) -> usize {
        let others = self.cached.fetch_add(1, Ordering::Relaxed);
        if others == 0 { self.bytes } else { 0 }
    }

    /// One batch of it left the cache: the bytes that were given free by that.
    pub(crate) fn leave(&self) -> usize {
        let with_this = self.cached.fetch_sub(1, Ordering::Relaxed);
        if with_this == 1 { self.bytes } else { 0 }
    }
}
