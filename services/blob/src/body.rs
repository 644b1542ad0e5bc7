//! What a put sends.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

/// An object's bytes in the order of its chunks. Cheap to clone; the chunks are shared, never copied.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Body {
    chunks: Arc<[Bytes]>,
    len: u64,
}

impl Body {
    /// Of chunks in order; empty ones are dropped.
    #[must_use]
    pub fn new(mut chunks: Vec<Bytes>) -> Self {
        chunks.retain(|chunk| !chunk.is_empty());
        let len = chunks.iter().map(|chunk| chunk.len() as u64).sum();
        Self {
            chunks: chunks.into(),
            len,
        }
    }

    /// Bytes in all.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The chunks, none of them empty.
    #[must_use]
    pub fn chunks(&self) -> &[Bytes] {
        &self.chunks
    }

    /// Splits into parts of `part_bytes` each (the last may be shorter), sharing the chunks' memory.
    ///
    /// # Panics
    /// When `part_bytes` is 0.
    #[must_use]
    pub fn parts(&self, part_bytes: usize) -> Vec<Self> {
        assert!(part_bytes > 0, "parts of no bytes never end");
        let mut parts = Vec::new();
        let (mut part, mut room) = (Vec::new(), part_bytes);
        for chunk in self.chunks.iter() {
            let mut rest = chunk.clone();
            while !rest.is_empty() {
                let taken = rest.split_to(rest.len().min(room));
                room -= taken.len();
                part.push(taken);
                if room == 0 {
                    parts.push(Self::new(std::mem::take(&mut part)));
                    room = part_bytes;
                }
            }
        }
        if !part.is_empty() {
            parts.push(Self::new(part));
        }
        parts
    }

    /// All bytes in one piece: no copy when there is one chunk.
    #[must_use]
    pub fn to_bytes(&self) -> Bytes {
        if let [only] = &*self.chunks {
            return only.clone();
        }
        let mut all = BytesMut::with_capacity(self.chunks.iter().map(Bytes::len).sum());
        for chunk in self.chunks.iter() {
            all.extend_from_slice(chunk);
        }
        all.freeze()
    }
}

impl From<Vec<Bytes>> for Body {
    fn from(chunks: Vec<Bytes>) -> Self {
        Self::new(chunks)
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Self {
        Self::new(vec![bytes])
    }
}

impl From<&'static str> for Body {
    fn from(text: &'static str) -> Self {
        Self::from(Bytes::from_static(text.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_are_full_and_hold_every_byte_once(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..10),
            part_bytes in 1_usize..50,
        ) {
            let all = chunks.concat();
            let body = Body::new(chunks.into_iter().map(Bytes::from).collect());
            prop_assert_eq!(body.len(), all.len() as u64);
            prop_assert_eq!(&body.to_bytes()[..], &all[..]);
            let parts = body.parts(part_bytes);
            let joined: Vec<u8> = parts.iter().flat_map(|p| p.to_bytes().to_vec()).collect();
            prop_assert_eq!(&joined, &all);
            if let Some((last, full)) = parts.split_last() {
                prop_assert!(full.iter().all(|p| p.len() == part_bytes as u64));
                prop_assert!(!last.is_empty() && last.len() <= part_bytes as u64);
            }
        }
    }

    #[test]
    fn one_chunk_is_shared_not_copied() {
        let bytes = Bytes::from_static(b"once");
        assert_eq!(
            Body::from(bytes.clone()).to_bytes().as_ptr(),
            bytes.as_ptr()
        );
    }
}
