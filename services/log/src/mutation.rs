//! Rules broken on purpose, so that the simulator can show it would notice.

/// One rule of PROTOCOL.md left out by the owner. Only the simulator sets one.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// J12: a roll's checkpoint is the sequenced state, not the committed one.
    SpeculativeCheckpoint,
    /// J12: a checkpoint counts without its complete flag and digest.
    CheckpointWithoutEnd,
    /// J13: pending acks keep the LSNs of the sealed extent.
    StaleTickets,
    /// A duplicate is answered before the original's commit: dedup state before the data.
    DedupBeforeData,
    /// K1: the end of the log is claimed without proof.
    UnprovenEnd,
    /// Extents are given up before they are tiered; with the journal's mutation of that name.
    ReleaseUntiered,
    /// A cold segment is committed without the lease and without its intent (T1).
    UnconditionalCommit,
    /// The object of an intent in flight is deleted, and its intent stays (T1).
    CollectInFlight,
    /// An object is condemned while its row stays (invariant 13).
    CondemnLive,
    /// Rows are replaced without the lease, whatever they are by now, and without the new one's intent (T1).
    UnconditionalSwap,
    /// Compaction takes tombstones out in the next run, whatever `delete.retention.ms` says.
    TombstonesAtOnce,
    /// Compaction leaves batches out of the objects that cover them (invariant 14).
    MergeLosesRange,
    /// An object of all partitions is condemned once one of them was rewritten (invariant 14).
    CondemnInPart,
    /// Where a partition begins is stored whatever its row says (K3).
    StartMovedBack,
    /// A takeover does not ask where partitions begin (K3).
    ForgottenStart,
}
