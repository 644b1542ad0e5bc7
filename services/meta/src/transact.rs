//! The one retry loop around transactions.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tidemark_runtime::{Backoff, Clock, Entropy};
use tidemark_types::{Coded, ErrorCode};

use crate::{Committed, MetaError, MetaStore, Transaction};

/// Why [`transact`] gave up.
#[derive(Debug, thiserror::Error)]
pub enum TransactError<E> {
    /// The closure refused; nothing of its last run was committed, an earlier unknown run may have been.
    #[error("{0}")]
    Refused(E),
    /// The store failed for good, or the tries are used up; the last error says whether it may have committed.
    #[error(transparent)]
    Store(MetaError),
}

impl<E: Coded> Coded for TransactError<E> {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Refused(e) => e.code(),
            Self::Store(e) => e.code(),
        }
    }
}

impl<E> From<MetaError> for TransactError<E> {
    fn from(error: MetaError) -> Self {
        Self::Store(error)
    }
}

const TRIES: u32 = 64;
const WAIT_BASE: Duration = Duration::from_millis(2);
const WAIT_CAP: Duration = Duration::from_millis(500);

/// Runs `body` in a transaction and commits it, again and again while the error is retriable, at most
/// 64 times with jittered backoff (about 30 s in all).
///
/// After `MaybeCommitted` the body runs again and must recognise its own earlier success by what is stored.
///
/// # Errors
/// [`TransactError::Refused`] as soon as the body refuses; [`TransactError::Store`] otherwise.
pub async fn transact<T, E>(
    store: &dyn MetaStore,
    clock: &Clock,
    entropy: &Entropy,
    mut body: impl for<'t> FnMut(&'t mut dyn Transaction) -> BoxFuture<'t, Result<T, TransactError<E>>>
    + Send,
) -> Result<(T, Committed), TransactError<E>> {
    let mut backoff = Backoff::new(WAIT_BASE, WAIT_CAP, TRIES);
    loop {
        let mut tx = store.begin();
        let outcome = match body(tx.as_mut()).await {
            Ok(value) => tx
                .commit()
                .await
                .map(|c| (value, c))
                .map_err(TransactError::Store),
            Err(e) => Err(e),
        };
        match outcome {
            Err(TransactError::Store(e)) if e.is_retriable() => {
                if !backoff.wait(clock, entropy).await {
                    return Err(TransactError::Store(e));
                }
            }
            decided => return decided,
        }
    }
}
