//! Rules broken on purpose, so that tests can show they would notice.

/// One rule of PROTOCOL.md left out. Only tests and the simulator set one.
#[doc(hidden)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutation {
    /// J1: a takeover replays only the extent it sealed.
    PreviousExtentOnly,
    /// J2: the commit point moves on while a roll's outcome is unknown.
    AckDuringRoll,
    /// J3: an ack is counted whatever epoch it answers.
    AnyEpochAck,
    /// J3: when the source of End is lost, go on with the replies that are left.
    ForgottenReply,
    /// J6: a reader passes the end it was given.
    ReadBeyondEnd,
    /// J8: T2 does not look whether the extent is still open.
    StaleExtentRead,
    /// J10: End becomes the second highest of the replies there are, not of all.
    LateSecondHighest,
    /// J12: an extent with a piece of a checkpoint counts as one with a checkpoint.
    PartialCheckpoint,
    /// A takeover goes on after one fenced reply.
    FenceQuorumOne,
    /// End is the lowest inventory, not the highest.
    SealAtMinimum,
    /// The gap below End is not copied before the seal.
    NoReappend,
    /// A frame counts as committed once one replica has it.
    AckQuorumOne,
    /// An extent is given up whatever `tiered_lsn` says.
    ReleaseUntiered,
    /// J12: an extent is given up though no later one has a committed checkpoint.
    ReleaseBeforeCheckpoint,
}

/// Whether `which` is the mutation in force.
pub(crate) fn mutated(active: Option<Mutation>, which: Mutation) -> bool {
    active == Some(which)
}
