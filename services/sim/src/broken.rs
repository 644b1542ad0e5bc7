//! What a run breaks on purpose, so that the checker can be seen to notice.

use tidemark_journal::Mutation as JournalMutation;
use tidemark_log::Mutation as LogMutation;
use tidemark_runtime::Invariant;

/// A guarantee of a log node or its disk, left out by a decorator around it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flaw {
    /// A fence lives in memory only (J4).
    VolatileFence,
    /// Syncs are answered and not done: acked entries may be gone after a power cut.
    LyingSync,
    /// An append is answered once it is enqueued.
    EarlyAck,
    /// A frame is lost on its way, and those after it are acked all the same.
    AckBeforePrefix,
    /// A fence is answered and not raised.
    UnfencedReply,
    /// A disk that lost everything joins under its old name.
    RejoinWiped,
    /// An LSN that was sent is stored with other bytes (J7).
    OtherBytes,
    /// Recovery takes damage below a synced mark for a torn tail and cuts there (J5).
    CutBelowMark,
}

/// What is broken; the default is nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Broken {
    /// A rule of the journal or the lease.
    pub journal: Option<JournalMutation>,
    /// A rule of the shard owner.
    pub log: Option<LogMutation>,
    /// A guarantee of the log nodes.
    pub flaw: Option<Flaw>,
    /// Log nodes per extent (1 or 3) in place of the seed's choice.
    pub copies: Option<usize>,
    /// Whether the log's older part moves to an object store, in place of the seed's choice.
    pub cold: Option<bool>,
    /// Whether there is a topic that keeps the latest record of each key, and configurations change, in place of the seed's
    /// choice. Only with an object store.
    pub tables: Option<bool>,
    /// The log nodes' disks hold so little that takeovers in a row may fill them for good.
    pub tight: bool,
    /// What the broken rule does harm to. A run goes on until one of these is violated, whatever else is; empty: any.
    pub harm: &'static [Invariant],
}
