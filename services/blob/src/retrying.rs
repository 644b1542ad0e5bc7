//! A decorator that repeats what passes by itself, within bounds.
//!
//! # Retries
//! Only [`Remedy::Retry`]. Full jitter, a number of tries, a time for each attempt and one for all of them, both growing with
//! the bytes moved. A store that says how long to wait is obeyed within the cap.
//!
//! # Consistency
//! A put is repeated under its own [`PutId`](crate::PutId), so an attempt that had happened unseen counts as success.
//! Once one attempt's outcome was unknown, so is the whole put's, whatever the last attempt says.

use std::fmt;
use std::future::Future;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tidemark_runtime::{Clock, Entropy};

use crate::{
    BlobError, BlobErrorKind, BlobInfo, BlobKey, BlobStore, List, Page, Put, Remedy, checked_range,
};

/// How patient to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RetryPolicy {
    /// Attempts at the most, the first included.
    pub attempts: u32,
    /// The first wait is below this; each next bound is twice the last.
    pub wait_base: Duration,
    /// No wait is longer.
    pub wait_cap: Duration,
    /// Time for one attempt that moves no bytes.
    pub attempt: Duration,
    /// Time for all attempts and waits of an operation that moves no bytes.
    pub total: Duration,
    /// For each so many bytes moved an attempt has one second more, and all together two.
    pub bytes_per_s_min: u64,
}

impl RetryPolicy {
    /// Outlives a store that sheds load for some seconds; a longer outage is the caller's to sit out, whose
    /// pace then is one of these every [`RetryPolicy::total`].
    pub const DEFAULT: Self = Self {
        attempts: 8,
        wait_base: Duration::from_millis(100),
        wait_cap: Duration::from_secs(5),
        attempt: Duration::from_secs(10),
        total: Duration::from_secs(30),
        bytes_per_s_min: 1 << 20,
    };
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A store that repeats failed attempts.
pub struct Retrying {
    inner: Arc<dyn BlobStore>,
    policy: RetryPolicy,
    clock: Clock,
    entropy: Entropy,
}

impl fmt::Debug for Retrying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Retrying({:?})", self.inner)
    }
}

impl Retrying {
    /// Decorates `inner`.
    #[must_use]
    pub fn new(
        inner: Arc<dyn BlobStore>,
        policy: RetryPolicy,
        clock: &Clock,
        entropy: &Entropy,
    ) -> Self {
        Self {
            inner,
            policy,
            clock: clock.clone(),
            entropy: entropy.clone(),
        }
    }

    async fn run<T, F: Future<Output = Result<T, BlobError>>>(
        &self,
        kind: Kind<'_>,
        bytes: u64,
        attempt: impl Fn() -> F,
    ) -> Result<T, BlobError> {
        let extra = Duration::from_secs(bytes / self.policy.bytes_per_s_min.max(1));
        let deadline = self.clock.now() + self.policy.total + 2 * extra;
        let mut unknown = false;
        let mut tries = 0;
        loop {
            let left = deadline.saturating_duration_since(self.clock.now());
            let time = left.min(self.policy.attempt + extra);
            let error = match tokio::time::timeout(time, attempt()).await {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(error)) => error,
                Err(_) => kind.timed_out(time),
            };
            unknown |= error.outcome_unknown();
            tries += 1;
            let wait = self.wait(tries, error.retry_after());
            let left = deadline.saturating_duration_since(self.clock.now());
            if error.remedy() != Remedy::Retry || tries >= self.policy.attempts || wait >= left {
                return Err(if unknown {
                    error.unknown_outcome()
                } else {
                    error
                });
            }
            tracing::debug!(%error, tries, ?wait, "asking the object store again");
            self.clock.sleep(wait).await;
        }
    }

    fn wait(&self, tries: u32, asked: Option<Duration>) -> Duration {
        let bound = self
            .policy
            .wait_base
            .saturating_mul(1 << tries.saturating_sub(1).min(20));
        let bound_us = bound.min(self.policy.wait_cap).as_micros();
        let jitter = self
            .entropy
            .below(u64::try_from(bound_us).unwrap_or(u64::MAX));
        // On top of what was asked for, so that all who were refused together do not return together.
        Duration::from_micros(jitter) + asked.unwrap_or_default().min(self.policy.wait_cap)
    }
}

/// What an operation is called, and whether dropping it leaves its outcome open.
#[derive(Clone, Copy)]
enum Kind<'a> {
    Put(&'a BlobKey),
    Other(&'static str, &'a (dyn fmt::Display + Sync)),
}

impl Kind<'_> {
    fn timed_out(self, time: Duration) -> BlobError {
        let why = format_args!("no answer within {time:?}");
        match self {
            Self::Put(key) => {
                BlobError::new(BlobErrorKind::TimedOut, format_args!("put {key}"), why)
                    .unknown_outcome()
            }
            Self::Other(verb, what) => {
                BlobError::new(BlobErrorKind::TimedOut, format_args!("{verb} {what}"), why)
            }
        }
    }
}

#[async_trait]
impl BlobStore for Retrying {
    async fn put(&self, put: Put) -> Result<(), BlobError> {
        put.check()?;
        self.run(Kind::Put(&put.key), put.body.len(), || {
            self.inner.put(put.clone())
        })
        .await
    }

    async fn get(&self, key: &BlobKey, range: Range<u64>) -> Result<Bytes, BlobError> {
        let len = checked_range(key, &range)?;
        let get = || self.inner.get(key, range.clone());
        self.run(Kind::Other("get", key), len as u64, get).await
    }

    async fn head(&self, key: &BlobKey) -> Result<BlobInfo, BlobError> {
        self.run(Kind::Other("head", key), 0, || self.inner.head(key))
            .await
    }

    async fn delete(&self, key: &BlobKey) -> Result<(), BlobError> {
        self.run(Kind::Other("delete", key), 0, || self.inner.delete(key))
            .await
    }

    async fn delete_many(&self, keys: &[BlobKey]) -> Result<(), BlobError> {
        let what = format!("{} objects", keys.len());
        self.run(Kind::Other("delete", &what), 0, || {
            self.inner.delete_many(keys)
        })
        .await
    }

    async fn list(&self, list: List) -> Result<Page, BlobError> {
        self.run(Kind::Other("list", &list.prefix), 0, || {
            self.inner.list(list.clone())
        })
        .await
    }
}

#[cfg(test)]
mod tests;
