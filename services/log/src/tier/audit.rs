//! Holds the object store against the metadata: every object that a row names is there and whole, what is readable is
//! covered once, and nothing lies around. Changes nothing. Of a stopped service, or inside of a running one.
//!
//! # Overview
//! Shard by shard: [`coverage`] reads the rows and the objects' indexes, [`content`] every byte; in the end [`strays`] lists the
//! store. Findings leave through a bounded channel as they are made, so what is kept in memory is one shard's rows, 16 bytes per object, and one read of
//! [`READ_BYTES`]. Reads are paced.
//!
//! # Consistency
//! A shard's rows are those of one moment, read in one transaction, in which invariants 13 and 14 hold whatever the service does; objects
//! never change. What it takes out of the log meanwhile may be deleted: an object that cannot be read counts only if its row
//! is read again *afterwards* and still names it, since a row that went does not come back. Orphans are looked for the other way
//! round: listed first, then held against rows (T3).
//!
//! # Cancellation
//! Dropping it stops it.

mod content;
mod coverage;
mod finding;
mod pace;
mod read;
mod run;
mod strays;

use std::num::NonZeroU64;
use std::time::Duration;

use tidemark_blob::{BadKey, BlobError, BlobStore};
use tidemark_meta::keys::Key;
use tidemark_meta::keys::cold::{GarbageKey, PendingKey};
use tidemark_meta::keys::shard::ShardKey;
use tidemark_meta::keys::state::StateRow;
use tidemark_meta::{MetaError, MetaStore, Mode, keys};
use tidemark_runtime::Clock;
use tidemark_types::{Coded, ErrorCode, Offset, PartitionId, ShardId};
use tokio::sync::mpsc;

pub use self::finding::{Audit, BadObject, Finding, Orphan, Uncovered};
use self::pace::Pace;
pub use self::run::AuditRun;
use super::objects::object_key;
use super::state;

/// Bytes of one read of an object, unless a single block is larger.
const READ_BYTES: u32 = 4 << 20;
/// How often an object is read before it counts as bad: bytes are damaged and objects not found on the way, too.
const READS: usize = 3;
/// Findings and notes of progress that may wait for whoever reads them.
const EVENTS_MAX: usize = 64;
/// Rows read in one transaction.
const PAGE: usize = 500;

/// A put whose outcome was unknown may land this much later.
const PUT_MAX: Duration = Duration::from_secs(60 * 60);

/// Since when an object that nothing names counts as one, ms since the Unix epoch: before the grace, and a put's time.
#[must_use]
pub fn orphans_before(now_ms: i64, grace: Duration) -> i64 {
    let age_ms = grace.saturating_add(PUT_MAX).as_millis();
    now_ms.saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX))
}

/// How an audit beside the running service is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuditOptions {
    /// Younger objects that nothing names are left out, ms since the Unix epoch; [`orphans_before`] when absent.
    pub orphans_before_ms: Option<i64>,
    /// Bytes of objects read per second at the most; `None`: as fast as they come.
    pub bytes_per_s: Option<NonZeroU64>,
}

/// What an audit has come to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AuditTotals {
    /// Objects that rows name, each read to its last byte or found bad.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that are being written, or wait to be deleted.
    pub passing: u64,
    /// Objects that could not be read whole because the service took them out of the log meanwhile.
    pub changed: u64,
    /// Shards whose rows changed too fast for their coverage to be checked; their objects were.
    pub unchecked: u64,
    /// Gaps and overlaps that were found and not told: of each shard the first 1,000 are.
    pub omitted: u64,
}

/// What an audit tells while it goes on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum AuditEvent {
    /// How far it is.
    Progress(AuditTotals),
    /// Something is wrong, or left over.
    Found(Finding),
    /// It is done: the last event.
    Done(AuditTotals),
}

/// Why the check could not be made.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The rows cannot be read.
    #[error("read the rows of cold segments: {0}")]
    Meta(#[from] MetaError),
    /// The object store does not answer.
    #[error("{0}")]
    Blob(#[from] BlobError),
    /// A name that the store does not take.
    #[error("{0}")]
    Key(#[from] BadKey),
    /// There is no object store in use.
    #[error("check the objects: the service runs without an object store")]
    NoStore,
    /// One at a time.
    #[error("check the objects: another check is under way")]
    Running,
    /// Whoever asked for it is gone.
    #[error("check the objects: nobody listens any more")]
    Unheard,
}

impl Coded for AuditError {
    fn code(&self) -> ErrorCode {
        match self {
            Self::Meta(error) => error.code(),
            Self::Blob(_) | Self::Key(_) => ErrorCode::StorageError,
            Self::NoStore => ErrorCode::PolicyViolation,
            Self::Running => ErrorCode::InProgress,
            Self::Unheard => ErrorCode::Unknown,
        }
    }
}

/// Where a partition's committed records end, if this process knows.
type Ends = dyn Fn(ShardId, PartitionId) -> Option<Offset> + Send + Sync;

/// An audit under way.
struct Auditor<'a> {
    meta: &'a dyn MetaStore,
    blob: &'a dyn BlobStore,
    ends: &'a Ends,
    pace: Pace,
    out: mpsc::Sender<AuditEvent>,
    totals: AuditTotals,
}

/// Checks every shard's cold segments of a stopped service. `orphans_before_ms`: younger objects without a row are left out, ms since the Unix
/// epoch; see [`orphans_before`].
///
/// # Errors
/// [`AuditError`]: a store did not answer. What is wrong with the data is in the [`Audit`].
pub async fn audit(
    meta: &dyn MetaStore,
    blob: &dyn BlobStore,
    clock: &Clock,
    orphans_before_ms: i64,
) -> Result<Audit, AuditError> {
    let (out, mut events) = mpsc::channel(EVENTS_MAX);
    let gather = async {
        let mut found = Audit::default();
        while let Some(event) = events.recv().await {
            found.add(event);
        }
        found
    };
    let pace = Pace::new(clock, None);
    let made = check((meta, blob), pace, orphans_before_ms, &|_, _| None, out);
    let (made, mut found) = tokio::join!(made, gather);
    found.add(AuditEvent::Done(made?));
    Ok(found)
}

async fn check(
    (meta, blob): (&dyn MetaStore, &dyn BlobStore),
    pace: Pace,
    orphans_before_ms: i64,
    ends: &Ends,
    out: mpsc::Sender<AuditEvent>,
) -> Result<AuditTotals, AuditError> {
    let mut auditor = Auditor {
        meta,
        blob,
        ends,
        pace,
        out,
        totals: AuditTotals::default(),
    };
    auditor.totals.passing = number::<PendingKey>(meta).await? + number::<GarbageKey>(meta).await?;
    let mut known = Vec::new();
    for shard in shards(meta).await? {
        let rows = coverage::check(&mut auditor, shard).await?;
        known.extend(rows.objects());
        content::check(&mut auditor, shard, &rows).await?;
    }
    known.sort_unstable();
    strays::check(&mut auditor, &known, orphans_before_ms).await?;
    Ok(auditor.totals)
}

impl Auditor<'_> {
    async fn found(&mut self, finding: Finding) -> Result<(), AuditError> {
        self.tell(AuditEvent::Found(finding)).await
    }

    /// Notes an object that was looked at.
    async fn looked_at(&mut self, bytes: u64) -> Result<(), AuditError> {
        self.totals.objects += 1;
        self.totals.bytes += bytes;
        if self.pace.is_time_to_tell() {
            return self.tell(AuditEvent::Progress(self.totals)).await;
        }
        Ok(())
    }

    async fn tell(&mut self, event: AuditEvent) -> Result<(), AuditError> {
        let told = self.out.send(event).await;
        told.map_err(|_| AuditError::Unheard)
    }
}

async fn shards(meta: &dyn MetaStore) -> Result<Vec<ShardId>, MetaError> {
    let mut range = ShardKey::all();
    let mut found = Vec::new();
    loop {
        let mut tx = meta.begin();
        let page = keys::scan::<ShardKey>(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        found.extend(page.iter().map(|(key, _)| key.0));
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
            return Ok(found);
        };
        range.begin = keys::behind(last);
    }
}

/// What is wrong with the state object that `row` names, if anything. It is read again before it counts as bad.
///
/// # Errors
/// [`AuditError`]: the object store did not answer.
pub async fn audit_state(
    blob: &dyn BlobStore,
    row: &StateRow,
) -> Result<Option<String>, AuditError> {
    let key = object_key(row.object)?;
    let mut why = None;
    for _ in 0..READS {
        why = state::verify(blob, &key, row).await?;
        if why.is_none() {
            break;
        }
    }
    Ok(why)
}

/// Counts rows.
async fn number<K: Key>(meta: &dyn MetaStore) -> Result<u64, MetaError> {
    let (mut range, mut number) = (K::all(), 0);
    loop {
        let mut tx = meta.begin();
        let page = keys::scan::<K>(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        number += page.len() as u64;
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
            return Ok(number);
        };
        range.begin = keys::behind(last);
    }
}
