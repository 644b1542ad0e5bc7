//! What every piece of work on an owned shard's cold segments is given.

use tidemark_types::{ObjectId, Ownership};

use super::Tier;
use crate::env::Env;
use crate::shard::Shard;

/// A shard's work under one ownership.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub(crate) env: &'a Env,
    pub(crate) tier: &'a Tier,
    pub(crate) shard: &'a Shard,
    pub(crate) ownership: Ownership,
}

impl Job<'_> {
    /// The id of an object that this ownership makes: no other has it, ever.
    pub(super) fn new_object(self) -> ObjectId {
        ObjectId {
            shard: self.shard.id,
            epoch: self.ownership.epoch,
            number: self.shard.cold.number(),
        }
    }
}
