//! Creating a topic.

use std::collections::BTreeMap;

use futures_util::FutureExt;
use parking_lot::Mutex;
use tidemark_meta::keys::change::{ChangeKey, touch};
use tidemark_meta::keys::partition::PartitionKey;
use tidemark_meta::keys::topic::{
    TopicKey, TopicName, TopicNameKey, TopicPointer, TopicRecord, TopicState, TopicUuidKey,
};
use tidemark_meta::keys::{get, put};
use tidemark_meta::{Committed, MetaError, Mode, Transaction};
use tidemark_runtime::Entropy;
use tidemark_types::{TenantId, TopicId, TopicUuid};

use super::chunk::{CHUNK, partition_id, write_rows};
use super::{Address, Refusal, Run, TopicStore};
use crate::TopicError;

/// A topic to be created; everything about it has been checked.
#[derive(Debug)]
pub(crate) struct Creating {
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) partitions: u32,
    pub(crate) overrides: BTreeMap<String, String>,
    pub(crate) created_ms: i64,
}

/// A topic's row after a change.
#[derive(Clone, Debug)]
pub(crate) struct Created {
    pub(crate) id: TopicId,
    pub(crate) record: TopicRecord,
    /// Whether the last run wrote it; otherwise an earlier run did, or nothing had to be written.
    pub(crate) wrote: bool,
}

/// The creation over all its runs.
struct Attempt {
    new: Creating,
    shards: u32,
    entropy: Entropy,
    /// The ids of all runs so far. Each run takes a fresh one, so that a topic that an earlier run created and
    /// someone else deleted meanwhile does not come back; and each knows the earlier ones, so that it
    /// recognises an earlier run's success (J9).
    tried: Mutex<Vec<TopicId>>,
}

impl TopicStore {
    /// Creates a topic, or begins to: finish it when its state is not `Ready`.
    pub(crate) async fn create(&self, new: Creating) -> Result<(Created, Committed), Refusal> {
        let attempt = Attempt {
            new,
            shards: self.shards,
            entropy: self.entropy.clone(),
            tried: Mutex::default(),
        };
        self.change(|tx| attempt.run(tx).boxed()).await
    }

    /// Whether a topic of this name could be created.
    pub(crate) async fn check_absent(&self, tenant: TenantId, name: &str) -> Result<(), Refusal> {
        let key = TopicNameKey::new(tenant, name);
        let found = self
            .read(|tx| get(tx, &key, Mode::Snapshot).boxed())
            .await?;
        found.map_or(Ok(()), |row| Err(taken(name, row)))
    }
}

impl Attempt {
    async fn run(&self, tx: &mut dyn Transaction) -> Run<Created> {
        let tenant = self.new.tenant;
        let name_key = TopicNameKey::new(tenant, &self.new.name);
        if let Some(row) = get(tx, &name_key, Mode::Serializable).await? {
            return self.recognise(tx, row).await;
        }
        let (id, uuid) = self.fresh_ids(tx).await?;
        let first = self.new.partitions.min(CHUNK);
        let whole = first == self.new.partitions;
        let record = TopicRecord {
            uuid,
            name: self.new.name.clone(),
            state: if whole {
                TopicState::Ready
            } else {
                TopicState::Creating {
                    target: self.new.partitions,
                    written: first,
                }
            },
            partitions: if whole { self.new.partitions } else { 0 },
            revision: 1,
            growth: 0,
            created_ms: self.new.created_ms,
            overrides: self.new.overrides.clone(),
        };
        let name = TopicName {
            topic: id,
            name: self.new.name.clone(),
        };
        put(tx, &TopicKey { tenant, topic: id }, &record);
        put(tx, &name_key, &name);
        put(
            tx,
            &TopicUuidKey { tenant, uuid },
            &TopicPointer { topic: id },
        );
        write_rows(tx, Address { tenant, topic: id }, 0, first, self.shards);
        touch(tx, ChangeKey::topics(tenant));
        Ok(Created {
            id,
            record,
            wrote: true,
        })
    }

    /// The name is taken: by an earlier run of this creation, or by another topic.
    async fn recognise(&self, tx: &mut dyn Transaction, row: TopicName) -> Run<Created> {
        let (tenant, topic) = (self.new.tenant, row.topic);
        let key = TopicKey { tenant, topic };
        let record = get(tx, &key, Mode::Serializable)
            .await?
            .ok_or_else(|| MetaError::Corrupt(format!("name '{}' points to no topic", row.name)))?;
        if self.tried.lock().contains(&topic) {
            return Ok(Created {
                id: topic,
                record,
                wrote: false,
            });
        }
        if let TopicState::Creating { .. } = record.state {
            return Err(Refusal::Unfinished(topic).into());
        }
        Err(taken(&self.new.name, row).into())
    }

    /// Random ids that no topic has. An internal id has 63 random bits and is checked against all
    /// topics there are; that it was never a deleted topic's either rests on the bits.
    async fn fresh_ids(&self, tx: &mut dyn Transaction) -> Run<(TopicId, TopicUuid)> {
        loop {
            let id = TopicId(self.entropy.next_u64() >> 1);
            let mut raw = [0; 16];
            self.entropy.fill(&mut raw);
            let uuid = uuid::Builder::from_random_bytes(raw).into_uuid();
            let row = PartitionKey(partition_id(id, 0));
            if id.0 != 0 && get(tx, &row, Mode::Serializable).await?.is_none() {
                self.tried.lock().push(id);
                return Ok((id, TopicUuid(uuid.into_bytes())));
            }
        }
    }
}

fn taken(name: &str, row: TopicName) -> Refusal {
    let name = name.to_owned();
    Refusal::Topic(if row.name == name {
        TopicError::Exists { name }
    } else {
        TopicError::Collides {
            name,
            existing: row.name,
        }
    })
}

impl From<Refusal> for tidemark_meta::TransactError<Refusal> {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}
