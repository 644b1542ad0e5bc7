//! The shard owner: sequencing, deduplication, commit order, checkpoints and reads of the log.
//!
//! # Overview
//! [`Log`] owns the shards of this process. Each shard has one actor that alone sequences appends, packs
//! frames and streams them to the journal; what the journal committed is published to state that any
//! number of readers share without going through the actor.
//!
//! # Consistency
//! The *sequenced* state (offsets and sequence numbers handed out) and the *committed* state (durable at
//! the quorum) are kept apart. Only the committed state is answered, shown or checkpointed (J12), and it
//! changes in one place: the function that also replays frames after a takeover (K4), so a rebuilt state
//! equals the old owner's by construction (invariant 15).
//!
//! # Retries
//! An append that was sequenced and not acked has an unknown outcome when its owner is fenced (K5). An
//! idempotent producer, or an idempotency key, makes its retry safe.
//!
//! # Cancellation
//! Dropping an append's future does not undo the append (J7). Dropping a fetch stops its wait only.
//!
//! # Crash consistency
//! A restart is a takeover: fence, recover, seal, replay from the newest checkpoint, write a new one, serve.

mod actor;
mod admit;
mod again;
mod append;
mod backing;
mod checkpoint;
mod cold;
mod config;
mod counters;
mod env;
mod error;
mod extents;
mod fetch;
mod head;
mod index;
mod log;
mod lookup;
mod maps;
mod mutation;
mod offsets;
mod owner;
mod pids;
mod poll;
mod producers;
mod read;
mod room;
mod sequence;
mod shard;
mod starts;
mod state;
mod status;
mod tier;
mod truncate;
mod view;
mod waiters;

pub use append::{AppendAck, AppendError, AppendFuture, AppendOptions, IdempotencyKey};
pub use backing::Backing;
pub use config::LogConfig;
pub use counters::LogCounters;
pub use error::ReadError;
pub use extents::{ExtentStatus, extents};
pub use fetch::{FetchPartition, FetchRequest, FetchedPartition, Isolation};
pub use log::Log;
#[doc(hidden)]
pub use mutation::Mutation;
pub use offsets::{EpochEnd, ListedOffset, OffsetSpec, PartitionOffsets};
pub use room::Room;
pub use status::{LogStatus, ShardState, ShardStatus};
pub use tier::audit::{
    Audit, AuditError, AuditEvent, AuditOptions, AuditRun, AuditTotals, BadObject, Finding, Orphan,
    Uncovered, audit, audit_state, orphans_before,
};
pub use tier::config::TierConfig;
pub use tier::counters::TierCounters;
pub use tier::state::check_state_object;
pub use truncate::TruncateError;
