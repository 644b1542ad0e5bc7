//! Dropping offsets whose time is over, then groups that have nothing left (`offsets.retention.minutes`).
//!
//! Kafka's rule (KIP-211): offsets of a group with members are kept, save, for consumers, those of topics that
//! no member subscribes to; those of a group that lost its members age from that moment; those of a group that
//! never had any age from their commit. Offsets of topics that no longer exist go at once.

use std::collections::BTreeMap;

use tidemark_meta::keys::group::GroupOffset;
use tidemark_types::TopicId;
use tidemark_types::limits::OFFSETS_PER_TXN_MAX;

use super::{Actor, unloaded};
use crate::GroupError;
use crate::api::GroupState;
use crate::machine::Machine;
use crate::store::Change;
use crate::subscription;

/// What is known of a topic that offsets were committed for.
enum Fate {
    /// It exists, under this name.
    Exists(String),
    /// It was deleted.
    Deleted,
    /// It could not be looked up now.
    Unknown,
}

impl Actor {
    pub(super) async fn sweep(&mut self) -> Result<(), GroupError> {
        self.flush().await?;
        let offsets = self.around.store.all_offsets(&self.home).await?;
        let mut fates = BTreeMap::new();
        for (key, _) in &offsets {
            if let std::collections::btree_map::Entry::Vacant(entry) = fates.entry(key.topic) {
                entry.insert(self.fate(key.topic).await);
            }
        }
        let group = self.group.as_ref().ok_or_else(unloaded)?;
        let now_ms = self.around.clock.wall_ms();
        let retention = self.around.config.offsets_retention;
        let retention_ms = i64::try_from(retention.as_millis()).unwrap_or(i64::MAX);
        let over = |topic: &TopicId, offset: &GroupOffset| match &fates[topic] {
            Fate::Deleted => true,
            Fate::Unknown => false,
            Fate::Exists(name) => {
                let ages_from = ages_from(&group.machine, name, offset);
                let until = ages_from.map(|from| {
                    let kept = from.saturating_add(retention_ms);
                    offset.expires_ms.unwrap_or(kept)
                });
                until.is_some_and(|until| until <= now_ms)
            }
        };
        let total = offsets.len();
        let gone = offsets.into_iter().filter(|(key, o)| over(&key.topic, o));
        let gone: Vec<_> = gone.map(|(key, _)| key).collect();
        let nothing_left = gone.len() == total && group.row.is_some() && group.machine.is_idle();
        if nothing_left {
            self.store(Change::Delete).await?;
            self.group = None;
            return Ok(());
        }
        for part in gone.chunks(OFFSETS_PER_TXN_MAX) {
            self.store(Change::ClearOffsets(part.to_vec())).await?;
        }
        Ok(())
    }

    async fn fate(&self, topic: TopicId) -> Fate {
        match self.around.topics.get(topic).await {
            Ok(Some(topic)) => Fate::Exists(topic.name.clone()),
            Ok(None) => Fate::Deleted,
            Err(_) => Fate::Unknown,
        }
    }
}

/// The moment an offset of a topic ages from, wall ms; `None` while it is kept whatever its age.
fn ages_from(machine: &Machine, topic: &str, offset: &GroupOffset) -> Option<i64> {
    match machine.state() {
        GroupState::Empty if machine.protocol_type().is_empty() => Some(offset.committed_ms),
        GroupState::Empty => Some(machine.since_ms().max(offset.committed_ms)),
        GroupState::Stable
            if machine.protocol_type() == subscription::CONSUMER
                && !machine.subscribes_to(topic) =>
        {
            Some(offset.committed_ms)
        }
        _ => None,
    }
}
