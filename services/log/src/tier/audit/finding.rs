//! What an audit finds, and what mends it.

use tidemark_types::ShardId;

use super::{AuditEvent, AuditTotals};

/// Something that is wrong, or left over.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Finding {
    /// An object cannot be read.
    Bad(BadObject),
    /// A gap, or an overlap.
    Uncovered(Uncovered),
    /// An object that nothing names.
    Orphan(Orphan),
}

/// An object that cannot be read as its row says.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BadObject {
    /// Its name in the store.
    pub key: String,
    /// What is wrong.
    pub why: String,
}

impl BadObject {
    /// What mends it.
    #[must_use]
    pub const fn repair(&self) -> &'static str {
        "restore the object from a copy (an older version in the bucket, a backup); without one its records are lost, and readers get an \
         error there until `tidemark topic delete-records` moves the partitions' beginnings past them"
    }
}

/// A gap, or an overlap.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Uncovered {
    /// The shard.
    pub shard: ShardId,
    /// What of it.
    pub why: String,
}

impl Uncovered {
    /// What mends it.
    #[must_use]
    pub const fn repair(&self) -> &'static str {
        "nothing mends it by itself: restore the metadata from a copy, or move the partition's beginning past it with \
         `tidemark topic delete-records`"
    }
}

/// An object that no row names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Orphan {
    /// Its name in the store.
    pub key: String,
    /// Its size.
    pub bytes: u64,
    /// The service itself wrote it, and deletes it.
    pub own: bool,
}

impl Orphan {
    /// What mends it.
    #[must_use]
    pub const fn repair(&self) -> &'static str {
        if self.own {
            "the service deletes it by itself when it lists its objects next (cold.reconcile_period)"
        } else {
            "the service did not write it and leaves it alone: delete it if nothing else needs it"
        }
    }
}

/// Everything that an audit found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Audit {
    /// What was looked at.
    pub totals: AuditTotals,
    /// Objects that rows name and that are not there, or not whole.
    pub bad: Vec<BadObject>,
    /// What ought to be readable and is covered by nothing, or twice.
    pub uncovered: Vec<Uncovered>,
    /// Objects that no row names, older than the age that was asked for.
    pub orphans: Vec<Orphan>,
}

impl Audit {
    /// Takes an event in.
    pub fn add(&mut self, event: AuditEvent) {
        match event {
            AuditEvent::Progress(totals) | AuditEvent::Done(totals) => self.totals = totals,
            AuditEvent::Found(Finding::Bad(bad)) => self.bad.push(bad),
            AuditEvent::Found(Finding::Uncovered(uncovered)) => self.uncovered.push(uncovered),
            AuditEvent::Found(Finding::Orphan(orphan)) => self.orphans.push(orphan),
        }
    }

    /// Whether everything that ought to be readable is. Orphans only cost room.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.bad.is_empty() && self.uncovered.is_empty()
    }
}
