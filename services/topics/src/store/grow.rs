//! Adding partitions to a topic.

use futures_util::FutureExt;
use tidemark_meta::keys::change::{ChangeKey, touch};
use tidemark_meta::keys::put;
use tidemark_meta::keys::topic::{TopicKey, TopicRecord, TopicState};
use tidemark_meta::{Committed, Mode, Transaction};
use tidemark_types::TenantId;

use super::chunk::{CHUNK, write_rows};
use super::read::visible_by_name;
use super::{Address, Created, Refusal, Run, TopicStore};
use crate::TopicError;

/// A growth; its upper bound has been checked.
#[derive(Debug)]
pub(crate) struct Growing {
    pub(crate) tenant: TenantId,
    pub(crate) name: String,
    pub(crate) total: u32,
    /// Random: by it a later run recognises an earlier one's success (J9).
    pub(crate) mark: u64,
    pub(crate) validate_only: bool,
}

impl TopicStore {
    /// Adds partitions, or begins to: finish it when the topic's state is not `Ready`.
    pub(crate) async fn grow(&self, growing: Growing) -> Result<(Created, Committed), Refusal> {
        self.change(|tx| growing.run(tx, self.shards).boxed()).await
    }
}

impl Growing {
    async fn run(&self, tx: &mut dyn Transaction, shards: u32) -> Run<Created> {
        let (id, mut record) =
            visible_by_name(tx, self.tenant, &self.name, Mode::Serializable).await?;
        let done = |record, wrote| Created { id, record, wrote };
        if record.growth == self.mark {
            return Ok(done(record, false));
        }
        if let TopicState::Growing { .. } = record.state {
            return Err(Refusal::Unfinished(id).into());
        }
        self.check(&record)?;
        let from = record.partitions;
        let to = self.total.min(from + CHUNK);
        record.growth = self.mark;
        record.revision += 1;
        if to == self.total {
            record.partitions = to;
        } else {
            record.state = TopicState::Growing {
                target: self.total,
                written: to,
            };
        }
        if self.validate_only {
            record.partitions = self.total;
            return Ok(done(record, false));
        }
        let at = Address {
            tenant: self.tenant,
            topic: id,
        };
        write_rows(tx, at, from, to, shards);
        let key = TopicKey {
            tenant: self.tenant,
            topic: id,
        };
        put(tx, &key, &record);
        touch(tx, ChangeKey::topics(self.tenant));
        Ok(done(record, true))
    }

    fn check(&self, record: &TopicRecord) -> Result<(), TopicError> {
        let (now, total) = (record.partitions, self.total);
        if total == now {
            return Err(TopicError::Partitions(format!(
                "Topic already has {now} partition(s)."
            )));
        }
        if total < now {
            return Err(TopicError::Partitions(format!(
                "The topic {} currently has {now} partition(s); {total} would not be an increase.",
                self.name
            )));
        }
        Ok(())
    }
}
