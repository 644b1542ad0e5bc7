//! Running a transaction whose outcome matters until it is known.

use std::time::Duration;

use async_trait::async_trait;
use tidemark_meta::{MetaError, TransactError, Transaction};
use tidemark_runtime::Backoff;

use crate::leases::Inner;

/// A transaction's body. It recognises its own earlier success by what is stored, reads under conflict, and reuses
/// nothing from an earlier run (J9).
#[async_trait]
pub(crate) trait Body: Sync {
    /// What it answers.
    type Done: Send;
    /// Why it refuses.
    type Refused: Send;

    /// One run, up to the commit.
    async fn run(
        &self,
        tx: &mut dyn Transaction,
    ) -> Result<Self::Done, TransactError<Self::Refused>>;
}

/// How a transaction ended.
#[derive(Debug)]
pub(crate) enum Settled<T, E> {
    /// Committed, now or in an earlier try whose reply was lost.
    Done(T),
    /// The body refused from what is stored; nothing of ours is or will be committed.
    Refused(E),
    /// No try was committed.
    NotCommitted(MetaError),
    /// A try may have been committed and the store cannot be asked.
    Unknown(MetaError),
}

const TRIES: u32 = 24;
const WAIT_BASE: Duration = Duration::from_millis(2);
const WAIT_CAP: Duration = Duration::from_millis(500);

/// Runs `body` and commits, again while the error is retriable. Unlike [`tidemark_meta::transact`] it remembers whether
/// *any* try ended unknown, which a roll must know (J2).
pub(crate) async fn settle<B: Body>(inner: &Inner, body: &B) -> Settled<B::Done, B::Refused> {
    let mut backoff = Backoff::new(WAIT_BASE, WAIT_CAP, TRIES);
    let mut unknown = false;
    loop {
        let mut tx = inner.store.begin();
        let outcome = match body.run(tx.as_mut()).await {
            Ok(value) => match tx.commit().await {
                Ok(_) => Ok(value),
                Err(error) => Err(TransactError::Store(error)),
            },
            Err(error) => Err(error),
        };
        let error = match outcome {
            Ok(value) => {
                inner.note_commit();
                return Settled::Done(value);
            }
            Err(TransactError::Refused(why)) => return Settled::Refused(why),
            Err(TransactError::Store(error)) => error,
        };
        unknown |= error == MetaError::MaybeCommitted;
        if !error.is_retriable() || !backoff.wait(&inner.clock, &inner.entropy).await {
            return if unknown {
                Settled::Unknown(error)
            } else {
                Settled::NotCommitted(error)
            };
        }
    }
}
