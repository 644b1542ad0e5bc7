//! A FoundationDB transaction behind the seam.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use foundationdb::future::FdbValues;
use foundationdb::options::{ConflictRangeType, MutationType, StreamingMode, TransactionOption};
use foundationdb::{FdbResult, RangeOption, Transaction as Native};
use futures_util::future::BoxFuture;
use tidemark_runtime::Backoff;
use tidemark_types::limits::{META_TXN_AGE_MS_MAX, META_TXN_BYTES_MAX};
use tokio::sync::oneshot;

use super::Cluster;
use super::errors::{of_commit, of_read};
use crate::limits::{Weight, check_key, check_range, check_value};
use crate::{Committed, KeyValue, MetaError, Mode, RangeRead, Transaction, Versionstamp, Watch};

/// Before the keys of every tag: where writing transactions declare themselves. Nothing is stored there.
const IN_FLIGHT: &[u8] = b"\0in-flight/";
const FENCE_TRIES: u32 = 200;
const FENCE_WAIT_BASE: Duration = Duration::from_millis(5);
const FENCE_WAIT_CAP: Duration = Duration::from_secs(1);

struct Watched {
    changed: BoxFuture<'static, FdbResult<()>>,
    fire: oneshot::Sender<()>,
}

pub(super) struct FoundationTransaction {
    cluster: Arc<Cluster>,
    native: Result<Native, MetaError>,
    weight: Weight,
    writes: bool,
    watched: Vec<Watched>,
    /// The first call that was wrong; answered by the commit and every later read.
    wrong: Option<MetaError>,
}

impl FoundationTransaction {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        let native = begin(&cluster);
        Self {
            cluster,
            native,
            weight: Weight::default(),
            writes: false,
            watched: Vec::new(),
            wrong: None,
        }
    }

    fn native(&self) -> Result<&Native, MetaError> {
        match &self.wrong {
            Some(wrong) => Err(wrong.clone()),
            None => self.native.as_ref().map_err(MetaError::clone),
        }
    }

    fn note(&mut self, outcome: Result<(), MetaError>) {
        if let Err(error) = outcome {
            self.wrong.get_or_insert(error);
        }
    }

    /// Checks a write of one key and then makes it. What the C client refuses ends the process, so nothing
    /// unchecked may get there.
    fn point(&mut self, key: &[u8], value: usize, write: impl FnOnce(&Native)) {
        let checked = check_key(key).and_then(|()| check_value(value));
        self.weight.add_point(key.len(), value);
        self.write(checked, write);
    }

    fn write(&mut self, checked: Result<(), MetaError>, write: impl FnOnce(&Native)) {
        match (checked, self.native()) {
            (Ok(()), Ok(native)) => {
                write(native);
                self.writes = true;
            }
            (checked, _) => self.note(checked),
        }
    }

    fn conflict(&mut self, begin: &[u8], end: &[u8], kind: ConflictRangeType) {
        let checked = check_range(begin, end);
        if checked.is_err() || begin == end {
            return self.note(checked);
        }
        self.weight.add_conflict(begin.len(), end.len());
        let added = self
            .native()
            .and_then(|n| n.add_conflict_range(begin, end, kind).map_err(of_read));
        self.note(added);
    }

    /// Declares a key of this transaction's own as read and written, see [`fence`].
    fn declare(&mut self) -> Result<Vec<u8>, MetaError> {
        let mut key = IN_FLIGHT.to_vec();
        let mut random = [0; 16];
        self.cluster.entropy.fill(&mut random);
        key.extend_from_slice(&random);
        touch(self.native()?, &key).map_err(of_read)?;
        Ok(key)
    }

    async fn commit_writes(mut self: Box<Self>) -> Result<Committed, MetaError> {
        let declared = self.declare()?;
        let native = self.native?;
        // J9: a write is never timed out.
        untime(&native)?;
        let stamp = native.get_versionstamp();
        let committed = match native.commit().await {
            Ok(committed) => committed,
            Err(error) => {
                let outcome = of_commit(*error);
                if outcome == MetaError::MaybeCommitted {
                    fence(&self.cluster, &declared).await;
                }
                return Err(outcome);
            }
        };
        arm(&self.cluster, self.watched);
        // Committed, whatever these two say; they are local and do not fail after a commit of writes.
        let version = committed.committed_version();
        let stamp = stamp.await;
        let version = version.map_err(|_| MetaError::MaybeCommitted)?;
        let stamp = stamp.map_err(|_| MetaError::MaybeCommitted)?;
        Ok(Committed {
            version: u64::try_from(version).unwrap_or_default(),
            versionstamp: stamp[..]
                .try_into()
                .map_err(|_| MetaError::MaybeCommitted)?,
        })
    }

    async fn commit_reads(self: Box<Self>) -> Result<Committed, MetaError> {
        let native = self.native?;
        let version = native.get_read_version().await.map_err(of_read)?;
        let version = u64::try_from(version).unwrap_or_default();
        if !self.watched.is_empty() {
            untime(&native)?;
            native.commit().await.map_err(|e| of_read(*e))?;
            arm(&self.cluster, self.watched);
        }
        let mut versionstamp = Versionstamp::default();
        versionstamp[..8].copy_from_slice(&version.to_be_bytes());
        Ok(Committed {
            version,
            versionstamp,
        })
    }
}

/// A transaction whose reads give up in time and that never retries by itself.
fn begin(cluster: &Cluster) -> Result<Native, MetaError> {
    let native = cluster.database.create_trx().map_err(of_read)?;
    let timeout_ms = i32::try_from(META_TXN_AGE_MS_MAX).expect("five seconds");
    let bytes_max = i32::try_from(META_TXN_BYTES_MAX).expect("ten megabytes");
    for option in [
        TransactionOption::Timeout(timeout_ms),
        TransactionOption::RetryLimit(0),
        TransactionOption::SizeLimit(bytes_max),
    ] {
        native.set_option(option).map_err(of_read)?;
    }
    Ok(native)
}

/// Takes the timeout away, from its watches too.
fn untime(native: &Native) -> Result<(), MetaError> {
    let option = TransactionOption::Timeout(0);
    native.set_option(option).map_err(of_read)
}

fn touch(native: &Native, key: &[u8]) -> FdbResult<()> {
    let end = [key, &[0]].concat();
    native.add_conflict_range(key, &end, ConflictRangeType::Read)?;
    native.add_conflict_range(key, &end, ConflictRangeType::Write)
}

/// Makes sure that a commit which declared `key` does not land any more: once a transaction that writes `key`
/// has committed, the other one's read of it is stale. FoundationDB's client does the like before it answers
/// `commit_unknown_result`; this covers the other unknown outcomes too.
async fn fence(cluster: &Cluster, key: &[u8]) {
    let mut backoff = Backoff::new(FENCE_WAIT_BASE, FENCE_WAIT_CAP, FENCE_TRIES);
    loop {
        // Its own unknown outcome counts as a failure, and it is tried again: it changes nothing.
        if let Ok(native) = begin(cluster)
            && touch(&native, key).is_ok()
            && native.commit().await.is_ok()
        {
            return;
        }
        if !backoff.wait(&cluster.clock, &cluster.entropy).await {
            tracing::warn!(
                "a metadata commit with unknown outcome could not be fenced: it may land late"
            );
            return;
        }
    }
}

fn arm(cluster: &Cluster, watched: Vec<Watched>) {
    for Watched { changed, mut fire } in watched {
        let stopping = cluster.tasks.token();
        cluster.tasks.spawn("meta-watch", async move {
            tokio::select! {
                biased;
                () = stopping.cancelled() => {}
                () = fire.closed() => {}
                changed = changed => {
                    if changed.is_ok() {
                        let _ = fire.send(());
                    }
                }
            }
        });
    }
}

/// A versionstamped operation's operand: the bytes with room for the stamp, then where that is (little-endian).
fn stamped(prefix: &[u8], suffix: &[u8]) -> Vec<u8> {
    let at = u32::try_from(prefix.len()).expect("keys and values are limited");
    [prefix, &[0; 10], suffix, &at.to_le_bytes()].concat()
}

fn pairs_of(values: &FdbValues) -> impl Iterator<Item = KeyValue> {
    values.iter().map(|pair| {
        let (key, value) = (pair.key(), pair.value());
        (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))
    })
}

#[async_trait]
impl Transaction for FoundationTransaction {
    async fn get(&mut self, key: &[u8], mode: Mode) -> Result<Option<Bytes>, MetaError> {
        check_key(key)?;
        let snapshot = mode == Mode::Snapshot;
        let value = self.native()?.get(key, snapshot);
        if !snapshot {
            self.weight.add_conflict(key.len(), key.len() + 1);
        }
        let value = value.await.map_err(of_read)?;
        Ok(value.map(|v| Bytes::copy_from_slice(&v)))
    }

    async fn range(&mut self, read: RangeRead) -> Result<Vec<KeyValue>, MetaError> {
        check_range(&read.begin, &read.end)?;
        let native = self.native()?;
        if read.limit == 0 || read.begin == read.end {
            return Ok(Vec::new());
        }
        let snapshot = read.mode == Mode::Snapshot;
        let mut next = Some(RangeOption {
            limit: Some(read.limit),
            mode: StreamingMode::WantAll,
            reverse: read.reverse,
            ..RangeOption::from((&read.begin[..], &read.end[..]))
        });
        let mut pairs = Vec::new();
        let mut iteration = 1;
        while let Some(part) = next {
            let values = native.get_range(&part, iteration, snapshot);
            let values = values.await.map_err(of_read)?;
            pairs.extend(pairs_of(&values));
            next = part.next_range(&values);
            iteration += 1;
        }
        if !snapshot {
            self.weight.add_conflict(read.begin.len(), read.end.len());
        }
        Ok(pairs)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) {
        self.point(key, value.len(), |native| native.set(key, value));
    }

    fn clear(&mut self, key: &[u8]) {
        self.point(key, 0, |native| native.clear(key));
    }

    fn clear_range(&mut self, begin: &[u8], end: &[u8]) {
        let checked = check_range(begin, end);
        if checked.is_ok() && begin == end {
            return;
        }
        self.weight.add_clear_range(begin.len(), end.len());
        self.write(checked, |native| native.clear_range(begin, end));
    }

    fn atomic_add(&mut self, key: &[u8], add: u64) {
        let add = add.to_le_bytes();
        self.point(key, add.len(), |n| {
            n.atomic_op(key, &add, MutationType::Add)
        });
    }

    fn atomic_max(&mut self, key: &[u8], value: u64) {
        let value = value.to_le_bytes();
        self.point(key, value.len(), |n| {
            n.atomic_op(key, &value, MutationType::Max)
        });
    }

    fn set_versionstamped_key(&mut self, prefix: &[u8], suffix: &[u8], value: &[u8]) {
        let operand = stamped(prefix, suffix);
        let key = &operand[..operand.len() - 4];
        self.point(key, value.len(), |native| {
            native.atomic_op(&operand, value, MutationType::SetVersionstampedKey);
        });
    }

    fn set_versionstamped_value(&mut self, key: &[u8], prefix: &[u8]) {
        let operand = stamped(prefix, &[]);
        self.point(key, operand.len() - 4, |native| {
            native.atomic_op(key, &operand, MutationType::SetVersionstampedValue);
        });
    }

    fn add_read_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.conflict(begin, end, ConflictRangeType::Read);
    }

    fn add_write_conflict(&mut self, begin: &[u8], end: &[u8]) {
        self.conflict(begin, end, ConflictRangeType::Write);
        self.writes |= begin < end;
    }

    fn watch(&mut self, key: &[u8]) -> Watch {
        let (fire, watch) = oneshot::channel();
        // On an error the sender is dropped here, and the watch errs.
        if let (Ok(()), Ok(native)) = (check_key(key), self.native()) {
            let changed = Box::pin(native.watch(key));
            self.watched.push(Watched { changed, fire });
        }
        watch
    }

    async fn commit(mut self: Box<Self>) -> Result<Committed, MetaError> {
        if let Some(wrong) = self.wrong.take() {
            return Err(wrong);
        }
        if self.writes {
            self.weight.check()?;
            self.commit_writes().await
        } else {
            self.commit_reads().await
        }
    }
}
