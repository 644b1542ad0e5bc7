//! The metadata store as one process reaches it: through its gate.

use std::sync::Arc;

use async_trait::async_trait;
use tidemark_meta::{Committed, Decorate, Decorated, MetaError, MetaStore, Transaction};

use crate::life::Life;
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
}

impl MetaStore for Gated {
    fn begin(&self) -> Box<dyn Transaction> {
        Decorated::boxed(self.inner.begin(), self.gate.clone())
    }
}

#[async_trait]
impl Decorate for Gate {
    async fn before_read(&mut self) -> Result<(), MetaError> {
        self.life.gate().await;
        Ok(())
    }

    async fn after_read(&mut self) {
        self.life.gate().await;
    }

    async fn commit(
        self,
        inner: Box<dyn Transaction>,
        _writes: bool,
    ) -> Result<Committed, MetaError> {
        let process = self.process;
        self.life.gate().await;
        let answer = inner.commit().await;
        match &answer {
            Ok(committed) => note!(self.trace, "p{process} committed {}", committed.version),
            Err(error) => note!(self.trace, "p{process} {error}"),
        }
        self.life.gate().await;
        answer
    }
}
