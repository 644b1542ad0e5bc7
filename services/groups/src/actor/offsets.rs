//! Committing offsets: gathered for a few milliseconds, stored in one transaction.

use std::collections::BTreeMap;
use std::time::Duration;

use tidemark_meta::keys::group::GroupOffset;
use tidemark_types::limits::{
    OFFSET_BYTES_PER_TXN_MAX, OFFSET_METADATA_BYTES_MAX, OFFSETS_PER_TXN_MAX,
};
use tidemark_types::{PartitionIndex, TopicId};

use super::{Actor, Answer, unloaded};
use crate::GroupError;
use crate::api::*;
use crate::store::Change;

/// Commits that wait to be stored. Only commits that the group let through are in it, so a bad one fails alone.
#[derive(Default)]
pub(super) struct Batch {
    /// The newest of each partition.
    offsets: BTreeMap<(TopicId, PartitionIndex), GroupOffset>,
    waiting: Vec<(Answer<Vec<PartitionOutcome>>, Vec<PartitionOutcome>)>,
    /// When it is due, since the service's origin.
    pub(super) flush_at: Option<Duration>,
}

impl Batch {
    pub(super) fn refuse_all(self, why: &GroupError) {
        for (answer, _) in self.waiting {
            let _ = answer.send(Err(why.clone()));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    fn is_full(&self) -> bool {
        self.offsets.len() >= OFFSETS_PER_TXN_MAX || self.waiting.len() >= OFFSETS_PER_TXN_MAX
    }
}

impl Actor {
    pub(super) async fn commit(
        &mut self,
        request: CommitRequest,
        answer: Answer<Vec<PartitionOutcome>>,
    ) {
        let at = self.around.at();
        let Some(group) = &mut self.group else {
            let _ = answer.send(Err(unloaded()));
            return;
        };
        let admitted = match request.generation {
            0.. if !group.exists() => Err(GroupError::NotFound),
            _ => group.machine.admit_commit(at, &request),
        };
        if let Err(why) = admitted {
            let _ = answer.send(Err(why)); // K7: alone
            return;
        }
        let expires_ms = request.retention.map(|kept| {
            let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
            at.wall_ms.saturating_add(kept)
        });
        let mut outcomes = Vec::with_capacity(request.offsets.len());
        for one in request.offsets {
            let fits = one.committed.metadata.len() <= OFFSET_METADATA_BYTES_MAX;
            outcomes.push((
                one.topic,
                one.partition,
                if fits {
                    Ok(())
                } else {
                    Err(GroupError::MetadataTooLarge {
                        max: OFFSET_METADATA_BYTES_MAX,
                    })
                },
            ));
            if fits {
                let stored = stored(one.committed, at.wall_ms, expires_ms);
                group
                    .batch
                    .offsets
                    .insert((one.topic, one.partition), stored);
            }
        }
        group.batch.waiting.push((answer, outcomes));
        let window = self.around.config.commit_window;
        group.batch.flush_at.get_or_insert(at.now + window);
        if group.batch.is_full() {
            let flushed = self.flush().await;
            self.log_failure(flushed);
        }
    }

    /// Stores the commits that wait, then answers them.
    pub(super) async fn flush(&mut self) -> Result<(), GroupError> {
        let Some(group) = &mut self.group else {
            return Ok(());
        };
        let batch = std::mem::take(&mut group.batch);
        let mut part = Vec::new();
        let mut part_bytes = 0;
        let mut offsets = batch.offsets.into_iter().peekable();
        while let Some(((topic, partition), offset)) = offsets.next() {
            part_bytes += self.home.group.len() + offset.metadata.len() + OFFSET_FIXED_BYTES;
            part.push((self.home.offset_key(topic, partition), offset));
            let full = part.len() >= OFFSETS_PER_TXN_MAX || part_bytes >= OFFSET_BYTES_PER_TXN_MAX;
            if full || offsets.peek().is_none() {
                part_bytes = 0;
                let change = Change::SetOffsets(std::mem::take(&mut part));
                if let Err(why) = self.store(change).await {
                    for (answer, _) in batch.waiting {
                        let _ = answer.send(Err(why.clone()));
                    }
                    return Err(why);
                }
            }
        }
        for (answer, outcomes) in batch.waiting {
            let _ = answer.send(Ok(outcomes));
        }
        Ok(())
    }

    pub(super) async fn delete_offsets(
        &mut self,
        partitions: Vec<OffsetToDelete>,
    ) -> Result<Vec<PartitionOutcome>, GroupError> {
        self.flush().await?;
        let group = self.group.as_ref().ok_or_else(unloaded)?;
        if group.row.is_none() {
            return Err(GroupError::NotFound);
        }
        group.machine.admit_offset_delete()?;
        let mut outcomes = Vec::with_capacity(partitions.len());
        let mut keys = Vec::new();
        for one in partitions {
            let outcome = if group.machine.subscribes_to(&one.topic_name) {
                Err(GroupError::SubscribedToTopic)
            } else {
                keys.push(self.home.offset_key(one.topic, one.partition));
                Ok(())
            };
            outcomes.push((one.topic, one.partition, outcome));
        }
        for part in keys.chunks(OFFSETS_PER_TXN_MAX) {
            self.store(Change::ClearOffsets(part.to_vec())).await?;
        }
        Ok(outcomes)
    }
}

/// An offset's key and value without the group's name and the metadata, bytes, generously.
const OFFSET_FIXED_BYTES: usize = 64;

fn stored(committed: CommittedOffset, committed_ms: i64, expires_ms: Option<i64>) -> GroupOffset {
    GroupOffset {
        offset: committed.offset.0,
        leader_epoch: committed.leader_epoch.0,
        committed_ms,
        expires_ms,
        metadata: committed.metadata,
    }
}
