//! What a migration is.

use async_trait::async_trait;
use tidemark_meta::{MetaError, Transaction};

/// What one transaction of a migration came to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// There is more; the next transaction gets these bytes.
    GoOn {
        /// Where to go on, in the migration's own terms.
        resume_at: Vec<u8>,
    },
    /// The migration is complete.
    Done,
}

/// One migration. Its number is its place in the list.
#[async_trait]
pub trait Migration: Send + Sync {
    /// A few words for the log: what it changes.
    fn name(&self) -> &'static str;

    /// Does the next piece of work in `tx`: at most 2,000 keys and 500 kB. The runner commits it together with the
    /// cursor. `resume_at` is empty at the start.
    ///
    /// # Errors
    /// As the transaction's reads; nothing is committed then.
    async fn step(&self, tx: &mut dyn Transaction, resume_at: &[u8]) -> Result<Step, MetaError>;
}
