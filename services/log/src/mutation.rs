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
}
