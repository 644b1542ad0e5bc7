//! Kafka's default choice of a partition for a key, so that HTTP and Kafka producers agree.

use std::num::NonZeroU32;

use tidemark_types::PartitionIndex;

const SEED: u32 = 0x9747_b28c;
const MIX: u32 = 0x5bd1_e995;
const SHIFT: u32 = 24;

/// The 32-bit murmur2 hash of `key` with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
#[must_use]
pub fn murmur2(key: &[u8]) -> i32 {
    let length = u32::try_from(key.len() & 0xffff_ffff).unwrap_or(u32::MAX);
    let mut hash = SEED ^ length;
    let mut words = key.chunks_exact(4);
    for word in &mut words {
        let mut k = u32::from_le_bytes(word.try_into().expect("a chunk of four"));
        k = k.wrapping_mul(MIX);
        k ^= k >> SHIFT;
        hash = hash.wrapping_mul(MIX) ^ k.wrapping_mul(MIX);
    }
    let tail = words.remainder();
    if !tail.is_empty() {
        for (i, byte) in tail.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * i);
        }
        hash = hash.wrapping_mul(MIX);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(MIX);
    (hash ^ (hash >> 15)).cast_signed()
}

/// The partition of a topic with `partitions` partitions that Kafka's default partitioner gives `key`.
#[must_use]
pub fn partition_for_key(key: &[u8], partitions: NonZeroU32) -> PartitionIndex {
    let positive = murmur2(key).cast_unsigned() & 0x7fff_ffff;
    PartitionIndex((positive % partitions).cast_signed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_as_kafka_does() {
        // Values of Kafka's own UtilsTest.
        for (key, hash) in [
            ("21", -973_932_308),
            ("foobar", -790_332_482),
            ("a-little-bit-long-string", -985_981_536),
            ("a-little-bit-longer-string", -1_486_304_829),
            (
                "lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8",
                -58_897_971,
            ),
            ("abc", 479_470_107),
        ] {
            assert_eq!(murmur2(key.as_bytes()), hash, "{key}");
        }
    }

    #[test]
    fn negative_hashes_stay_in_range() {
        let three = NonZeroU32::new(3).unwrap();
        assert_eq!(
            partition_for_key(b"21", three).0,
            (-973_932_308_i32 & i32::MAX) % 3
        );
        for i in 0..1000_u32 {
            let p = partition_for_key(&i.to_be_bytes(), three);
            assert!((0..3).contains(&p.0));
        }
    }
}
