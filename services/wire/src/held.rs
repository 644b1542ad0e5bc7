//! What a decoded request holds in memory.
//!
//! Two bytes of frame can decode to an eighty-byte element, so a frame's size says little about what it costs once
//! it is decoded. [`Held::trim`] measures it exactly: it gives back the room that vectors grew in vain, drops
//! the tagged fields that no handler knows, and counts what stays. Strings and byte fields are slices of the
//! frame and cost nothing beyond it.

mod requests;

use bytes::Bytes;
use kacrab_protocol::{KafkaString, KafkaUuid};

/// A value that can drop what nobody needs and say what it keeps.
pub trait Held {
    /// Drops unknown tagged fields and unused capacity; gives the bytes that the value keeps on the heap beside
    /// the frame it was read from.
    fn trim(&mut self) -> usize;
}

macro_rules! nothing_held {
    ($($plain:ty),*) => {$(
        impl Held for $plain {
            fn trim(&mut self) -> usize {
                0
            }
        }
    )*};
}

// `Bytes` and strings are slices of the frame.
nothing_held!(bool, i8, i16, i32, i64, KafkaUuid, KafkaString, Bytes);

impl<T: Held> Held for Option<T> {
    fn trim(&mut self) -> usize {
        self.as_mut().map_or(0, T::trim)
    }
}

impl<T: Held> Held for Box<T> {
    fn trim(&mut self) -> usize {
        size_of::<T>() + T::trim(self)
    }
}

impl<T: Held> Held for Vec<T> {
    fn trim(&mut self) -> usize {
        self.shrink_to_fit();
        let inner: usize = self.iter_mut().map(T::trim).sum();
        self.capacity() * size_of::<T>() + inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RawTaggedField;
    use crate::messages::{FetchRequestData, fetch_request::*};

    #[test]
    fn unknown_fields_go_and_the_rest_is_counted() {
        let unknown = || {
            vec![RawTaggedField {
                tag: 99,
                data: Bytes::from_static(b"x"),
            }]
        };
        let mut partitions = Vec::with_capacity(100);
        partitions.push(FetchPartition {
            _unknown_tagged_fields: unknown(),
            ..Default::default()
        });
        let mut request = FetchRequestData {
            topics: vec![FetchTopic {
                partitions,
                _unknown_tagged_fields: unknown(),
                ..Default::default()
            }],
            _unknown_tagged_fields: unknown(),
            ..Default::default()
        };
        let held = request.trim();
        assert_eq!(held, size_of::<FetchTopic>() + size_of::<FetchPartition>());
        assert!(request._unknown_tagged_fields.is_empty());
        let partition = &request.topics[0].partitions[0];
        assert!(partition._unknown_tagged_fields.is_empty());
    }
}
