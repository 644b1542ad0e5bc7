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
/// The body may borrow from around the call (`'env`): `|tx| place(tx, &order).boxed()` with an `async fn place`.
///
/// After `MaybeCommitted` the body runs again and must recognise its own earlier success by what is stored.
///
/// # Errors
/// [`TransactError::Refused`] as soon as the body refuses; [`TransactError::Store`] otherwise.
pub async fn transact<'env, T, E>(
    store: &dyn MetaStore,
    clock: &Clock,
    entropy: &Entropy,
    mut body: impl for<'t> FnMut(
        &'t mut (dyn Transaction + 'env),
    ) -> BoxFuture<'t, Result<T, TransactError<E>>>
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures_util::FutureExt;
    use tidemark_runtime::Tasks;

    use super::*;
    use crate::Mode;
    use crate::sim::Sim;

    #[derive(Debug, PartialEq, thiserror::Error)]
    #[error("refused")]
    struct Refused;

    async fn count(tx: &mut dyn Transaction, key: &[u8]) -> Result<u8, TransactError<Refused>> {
        let stored = tx.get(key, Mode::Serializable).await?;
        let next = stored.map_or(1, |v| v[0] + 1);
        tx.set(key, &[next]);
        Ok(next)
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_may_borrow_and_run_in_a_spawned_task() {
        let (clock, entropy, tasks) = (Clock::system(), Entropy::seeded(1), Tasks::new());
        let store = Arc::new(Sim::new(&clock));
        for _ in 0..20 {
            let (store, clock, entropy) = (store.clone(), clock.clone(), entropy.clone());
            tasks.spawn("count", async move {
                let key = vec![b'k'];
                let counted = transact(&*store, &clock, &entropy, |tx| count(tx, &key).boxed());
                counted.await.unwrap();
            });
        }
        tasks.shutdown(Duration::from_secs(60)).await.unwrap();
        let last = transact(&*store, &clock, &entropy, |tx| count(tx, b"k").boxed());
        assert_eq!(last.await.unwrap().0, 21);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_commits_nothing_and_ends_it() {
        let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
        let store = Sim::new(&clock);
        let mut runs = 0;
        let refused = transact::<(), _>(&store, &clock, &entropy, |tx| {
            runs += 1;
            tx.set(b"k", b"1");
            async { Err(TransactError::Refused(Refused)) }.boxed()
        });
        assert!(matches!(
            refused.await,
            Err(TransactError::Refused(Refused))
        ));
        assert_eq!(runs, 1);
        let stored = store.begin().get(b"k", Mode::Serializable).await;
        assert_eq!(stored, Ok(None));
    }

    #[tokio::test(start_paused = true)]
    async fn retries_are_bounded_and_permanent_errors_are_not_retried() {
        let (clock, entropy) = (Clock::system(), Entropy::seeded(1));
        let store = Sim::new(&clock);
        for (error, expected) in [
            (MetaError::Conflict, TRIES + 1),
            (MetaError::Invalid("no".into()), 1),
        ] {
            let mut runs = 0;
            let outcome = transact::<(), Refused>(&store, &clock, &entropy, |_| {
                runs += 1;
                let error = error.clone();
                async { Err(error.into()) }.boxed()
            });
            assert!(matches!(outcome.await, Err(TransactError::Store(e)) if e == error));
            assert_eq!(runs, expected);
        }
    }
}
