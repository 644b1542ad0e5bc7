//! Reads that start over: extents are given up, and cold segments collected, while someone reads them.

use tidemark_types::Offset;

use crate::env::Env;
use crate::error::ReadError;
use crate::shard::{Readables, Shard};
use crate::tier;
use crate::tier::objects::ObjectError;

/// Times a read starts over at the most.
const STARTS_MAX: usize = 4;

/// Why one pass of a read ended.
#[derive(Debug)]
pub(crate) enum PassError {
    /// The journal, or what every read checks.
    Read(ReadError),
    /// A cold segment.
    Object(ObjectError),
    /// The rows at hand do not cover this offset.
    Gap(Offset),
}

impl From<ReadError> for PassError {
    fn from(error: ReadError) -> Self {
        Self::Read(error)
    }
}

impl From<ObjectError> for PassError {
    fn from(error: ObjectError) -> Self {
        Self::Object(error)
    }
}

impl From<PassError> for ReadError {
    fn from(error: PassError) -> Self {
        match error {
            PassError::Read(error) => error,
            PassError::Object(ObjectError::Store(error)) => {
                Self::ColdUnavailable(format!("{error}. {}", error.kind().hint()))
            }
            PassError::Object(error @ ObjectError::Slow(_)) => {
                Self::ColdUnavailable(error.to_string())
            }
            PassError::Object(error) => Self::Storage(error.to_string()),
            PassError::Gap(offset) => Self::Storage(format!(
                "no cold segment and no extent holds offset {offset}"
            )),
        }
    }
}

/// Decides whether a read starts over.
#[derive(Debug, Default)]
pub(crate) struct Again {
    starts: usize,
    reread: bool,
}

impl Again {
    /// Gives the error back unless starting over may help: something moved since `readables` were taken, or the rows can be
    /// read again, once (O3).
    pub(crate) async fn consider(
        &mut self,
        env: &Env,
        shard: &Shard,
        readables: &Readables,
        error: PassError,
    ) -> Result<(), ReadError> {
        self.starts += 1;
        let first = |all: &Readables| all.extents.first().map(|e| e.extent.id);
        let moved = first(&shard.readables()) != first(readables);
        let stale = match &error {
            PassError::Read(_) => false,
            PassError::Object(error) => matches!(error, ObjectError::Gone(_)),
            PassError::Gap(_) => true,
        };
        if self.starts >= STARTS_MAX || !(moved || stale && !self.reread) {
            return Err(error.into());
        }
        if stale {
            self.reread = true;
            // O3: the rows are the truth.
            let changes = shard.cold.changes();
            match tier::rows::load(env.meta.as_ref(), shard.id).await {
                Ok(rows) => shard.cold.reread(rows, changes),
                Err(error) => tracing::debug!(shard = %shard.id, "read cold rows: {error}"),
            }
        }
        Ok(())
    }
}
