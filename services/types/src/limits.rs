//! Every bound in one place, with its unit last in the name and the inequality that derives it.

/// Largest record batch a topic may allow (`max.message.bytes` may not exceed it), bytes.
pub const BATCH_BYTES_MAX: usize = 64 << 20;
/// Kafka's default of `max.message.bytes`, bytes: 1 MiB plus the batch header's 12 bytes of log overhead.
pub const BATCH_BYTES_DEFAULT: usize = (1 << 20) + 12;
/// Largest Kafka request frame, bytes: Kafka's `socket.request.max.bytes`. ≥ `BATCH_BYTES_MAX`.
pub const REQUEST_BYTES_MAX: usize = 100 << 20;
/// Payload a frame gathers before it is sent to the replicas, bytes. One larger batch still makes a frame.
pub const FRAME_PAYLOAD_BYTES_TARGET: usize = 1 << 20;
/// Largest encoded frame, bytes: `BATCH_BYTES_MAX` plus its header, rounded up generously.
pub const FRAME_BYTES_MAX: usize = BATCH_BYTES_MAX + (1 << 20);
/// Batches in one frame at the most: bounds the header section.
pub const FRAME_BATCHES_MAX: usize = 4096;
/// An extent rolls at this size, bytes.
pub const EXTENT_ROLL_BYTES: u64 = 512 << 20;
/// An extent that cannot roll, for want of the metadata store, takes appends up to this size, bytes: what a takeover may
/// have to replay, and half an hour of a shard under full load.
pub const EXTENT_BYTES_MAX: u64 = 8 << 30;
/// An extent that has data rolls at this age, ms.
pub const EXTENT_ROLL_MS: u64 = 15 * 60 * 1000;
/// Unacked bytes a shard holds at the most before appends are refused with backpressure, bytes.
pub const SHARD_INFLIGHT_BYTES_MAX: usize = 64 << 20;
/// Batches of one producer whose sequence numbers are remembered per partition (Kafka's five).
pub const PRODUCER_BATCHES_REMEMBERED: usize = 5;
/// Idempotent producers remembered per partition at the most.
pub const PRODUCERS_PER_PARTITION_MAX: usize = 100_000;
/// Partitions of one topic at the most.
pub const PARTITIONS_PER_TOPIC_MAX: i32 = 100_000;
/// A topic name's length, bytes (Kafka's `Topic.MAX_NAME_LENGTH`).
pub const TOPIC_NAME_BYTES_MAX: usize = 249;
/// A group id's, member id's or transactional id's length, bytes.
pub const NAME_BYTES_MAX: usize = 1024;
/// A committed offset's metadata string, bytes (Kafka's `offset.metadata.max.bytes`).
pub const OFFSET_METADATA_BYTES_MAX: usize = 4096;
/// A group's stored members with their subscriptions and assignments, bytes: Kafka bounds it alike, by the
/// largest record of its offsets topic. Written once per rebalance, so it may be a large transaction.
pub const GROUP_STATE_BYTES_MAX: usize = 1 << 20;
/// Assignors of one member at the most.
pub const GROUP_PROTOCOLS_MAX: usize = 64;
/// Offsets in one transaction at the most: with keys of ≤ 1.1 kB and values of ≤ 4.2 kB, usually far below 500 kB.
pub const OFFSETS_PER_TXN_MAX: usize = 1_000;
/// Bytes of offsets in one transaction at the most (keys and values).
pub const OFFSET_BYTES_PER_TXN_MAX: usize = 400 << 10;
/// Size of a FoundationDB key at the most, bytes; enforced by every metadata engine.
pub const META_KEY_BYTES_MAX: usize = 10_000;
/// Size of a FoundationDB value at the most, bytes; enforced by every metadata engine.
pub const META_VALUE_BYTES_MAX: usize = 100_000;
/// Size of a FoundationDB transaction at the most (keys and values written, conflict ranges), bytes.
pub const META_TXN_BYTES_MAX: usize = 10_000_000;
/// Age of a FoundationDB transaction at the most, ms.
pub const META_TXN_AGE_MS_MAX: u64 = 5_000;
/// Shards of an embedded service: enough for two cores to work on, few enough to start in ms.
pub const SHARDS_DEFAULT: u32 = 4;
/// An object's name, bytes: with a bucket's prefix still below S3's 1024.
pub const BLOB_KEY_BYTES_MAX: usize = 512;
/// One segment of an object's name, bytes: below a file name's 255.
pub const BLOB_KEY_SEGMENT_BYTES_MAX: usize = 200;
/// An object, bytes: S3's bound of 10,000 parts with parts of 16 MiB gives 160 GiB; far below it.
pub const BLOB_BYTES_MAX: u64 = 16 << 30;
/// One ranged read of an object, bytes: the largest batch and its surroundings.
pub const BLOB_GET_BYTES_MAX: usize = 2 * BATCH_BYTES_MAX;
/// Objects in one page of a listing: S3's.
pub const BLOB_LIST_MAX: usize = 1_000;

const _: () = assert!(REQUEST_BYTES_MAX > BATCH_BYTES_MAX);
const _: () = assert!(FRAME_BYTES_MAX > BATCH_BYTES_MAX);
const _: () = assert!(EXTENT_ROLL_BYTES > FRAME_BYTES_MAX as u64);
const _: () = assert!(EXTENT_BYTES_MAX > EXTENT_ROLL_BYTES);
