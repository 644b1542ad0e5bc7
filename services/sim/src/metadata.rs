//! The metadata store as one process reaches it: through its gate.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::partition::{PartitionKey, PartitionRecord};
use tidemark_meta::keys::{Key as _, Value as _};
use tidemark_meta::{Committed, Decorate, Decorated, MetaError, MetaStore, Transaction};

use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{Lsn, Offset, PartitionId};

use crate::facts::Facts;
use crate::life::Life;
use crate::starts::Starts;
use crate::trace::{Trace, note};

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Gated {
    pub(crate) inner: Arc<dyn MetaStore>,
    pub(crate) gate: Gate,
}

/// What a process's transactions pass, and where their commits are noted.
#[derive(Clone, Debug)]
pub(crate) struct Gate {
    pub(crate) life: Life,
    pub(crate) trace: Trace,
    pub(crate) process: u32,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) delay_max: Duration,
    pub(crate) facts: Facts,
    /// Extents that the transaction seals.
    pub(crate) sealed: Vec<(ExtentKey, Lsn)>,
    pub(crate) starts: Starts,
    /// Partitions that the transaction says begin here.
    pub(crate) begins: Vec<(PartitionId, Offset)>,
}

impl Gate {
    /// One way, there or back.
    async fn pass(&self) {
        let us = u64::try_from(self.delay_max.as_micros()).unwrap_or(u64::MAX);
        let wait = Duration::from_micros(self.entropy.below(us));
        if !wait.is_zero() {
            self.clock.sleep(wait).await;
        }
        self.life.gate().await;
    }
}

impl MetaStore for Gated {
    fn begin(&self) -> Box<dyn Transaction> {
        Decorated::boxed(self.inner.begin(), self.gate.clone())
    }
}

#[async_trait]
impl Decorate for Gate {
    async fn before_read(&mut self) -> Result<(), MetaError> {
        self.pass().await;
        Ok(())
    }

    async fn after_read(&mut self) {
        self.pass().await;
    }

    fn on_set(&mut self, key: &[u8], value: &[u8]) {
        if key.first() == Some(&(ExtentKey::TAG as u8))
            && let Ok(at) = ExtentKey::decode(key)
            && let Ok(row) = ExtentRow::decode(value)
            && let ExtentState::Sealed(end) = row.state
        {
            self.sealed.push((at, end));
        }
        if key.first() == Some(&(PartitionKey::TAG as u8))
            && let Ok(at) = PartitionKey::decode(key)
            && let Ok(row) = PartitionRecord::decode(value)
        {
            self.begins.push((at.0, row.log_start));
        }
    }

    async fn commit(
        self,
        inner: Box<dyn Transaction>,
        writes: bool,
    ) -> Result<Committed, MetaError> {
        let process = self.process;
        if writes {
            self.life.step();
        }
        self.pass().await;
        // Whatever the answer, it may be stored from here on.
        for (partition, start) in &self.begins {
            self.starts.tried(*partition, start.0);
        }
        let answer = inner.commit().await;
        if writes {
            self.life.step();
        }
        match &answer {
            Ok(committed) => {
                note!(self.trace, "p{process} committed {}", committed.version);
                for (extent, end) in &self.sealed {
                    self.facts.sealed(*extent, *end);
                }
            }
            Err(error) => note!(self.trace, "p{process} {error}"),
        }
        self.pass().await;
        answer
    }
}
