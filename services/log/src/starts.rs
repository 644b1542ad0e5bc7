//! Where partitions begin, by the metadata store (K3): read at a takeover, and again while a partition is read.
//!
//! A reader never waits for it: it uses what is known and has the row read in the background, so reads survive
//! an outage of the metadata store.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::try_join_all;
use tidemark_meta::keys::partition::{PartitionKey, ShardPartitionKey};
use tidemark_meta::{MetaError, MetaStore, Mode, keys};
use tidemark_types::{Offset, PartitionId, ShardId};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::view::View;

/// A partition that is read has its row read this often.
const PERIOD: Duration = Duration::from_secs(3);
/// Rows read in one transaction.
const ROWS_MAX: usize = 256;
/// Transactions of a takeover under way at once: a shard of 50,000 partitions waits for 25 of them in a row, 256 rows each.
const READS_MAX: usize = 8;
/// Keys of a shard's partitions read in one transaction.
const PAGE: usize = 1_000;
/// Partitions that wait to be looked up; more are asked for again by their next reader.
const QUEUE_MAX: usize = 4096;

/// Where readers leave the partitions whose rows are due.
#[derive(Debug)]
pub(crate) struct LogStarts {
    due: mpsc::Sender<Arc<View>>,
    began: Instant,
}

impl LogStarts {
    pub(crate) fn new(now: Instant) -> (Self, mpsc::Receiver<Arc<View>>) {
        let (due, queue) = mpsc::channel(QUEUE_MAX);
        (Self { due, began: now }, queue)
    }

    /// Notes that a partition is read.
    pub(crate) fn touch(&self, view: &Arc<View>, now: Instant) {
        let period = millis(PERIOD);
        // One period ahead, so that a view's 0 is always due.
        let now_ms = millis(now.duration_since(self.began)) + period;
        let last = view.start_asked_ms.load(Ordering::Relaxed);
        if now_ms < last + period {
            return;
        }
        let order = Ordering::Relaxed;
        let asked = view
            .start_asked_ms
            .compare_exchange(last, now_ms, order, order);
        if asked.is_ok() && self.due.try_send(Arc::clone(view)).is_err() {
            view.start_asked_ms.store(last, order);
        }
    }
}

fn millis(d: Duration) -> u64 {
    u64::try_from(d.as_millis()).unwrap_or(u64::MAX / 4)
}

/// Reads the rows that are due until the process stops.
pub(crate) async fn run(
    store: Arc<dyn MetaStore>,
    mut queue: mpsc::Receiver<Arc<View>>,
    stop: CancellationToken,
) {
    let mut due = Vec::with_capacity(ROWS_MAX);
    loop {
        let read = async {
            let taken = queue.recv_many(&mut due, ROWS_MAX).await;
            let outcome = refresh(store.as_ref(), &due).await;
            (taken, outcome)
        };
        let (taken, outcome) = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            read = read => read,
        };
        if taken == 0 {
            return;
        }
        if let Err(error) = outcome {
            // Their readers ask again in a moment.
            tracing::debug!("read where partitions begin: {error}");
        }
        due.clear();
    }
}

/// Reads the rows of these partitions and shows what they say.
async fn refresh(store: &dyn MetaStore, views: &[Arc<View>]) -> Result<(), MetaError> {
    let ids: Vec<PartitionId> = views.iter().map(|view| view.id).collect();
    let mut views = views.iter();
    for (id, start) in of(store, &ids).await? {
        // In their order, but for those without a row.
        if let Some(view) = views.find(|view| view.id == id) {
            view.raise_log_start(start);
        }
    }
    Ok(())
}

/// Where these partitions begin, by their rows, in their order; those of deleted topics have none. Each row stands for
/// itself: nothing is compared across transactions.
pub(crate) async fn of(
    store: &dyn MetaStore,
    ids: &[PartitionId],
) -> Result<Vec<(PartitionId, Offset)>, MetaError> {
    let mut starts = Vec::with_capacity(ids.len());
    for some in ids.chunks(READS_MAX * ROWS_MAX) {
        let read = try_join_all(some.chunks(ROWS_MAX).map(|rows| read(store, rows))).await?;
        starts.extend(read.into_iter().flatten());
    }
    Ok(starts)
}

async fn read(
    store: &dyn MetaStore,
    ids: &[PartitionId],
) -> Result<Vec<(PartitionId, Offset)>, MetaError> {
    let mut tx = store.begin();
    let mut starts = Vec::with_capacity(ids.len());
    for id in ids {
        let row = keys::get(tx.as_mut(), &PartitionKey(*id), Mode::Snapshot).await?;
        starts.extend(row.map(|row| (*id, row.log_start)));
    }
    Ok(starts)
}

/// Every partition that lives in a shard, whether anything is known of it or not.
pub(crate) async fn partitions(
    store: &dyn MetaStore,
    shard: ShardId,
) -> Result<Vec<PartitionId>, MetaError> {
    let mut range = ShardPartitionKey::of_shard(shard);
    let mut found = Vec::new();
    loop {
        let mut tx = store.begin();
        let page: Vec<(ShardPartitionKey, ())> =
            keys::scan(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        found.extend(page.iter().map(|(key, ())| key.partition));
        let Some((last, ())) = page.last().filter(|_| page.len() == PAGE) else {
            return Ok(found);
        };
        range.begin = keys::behind(last);
    }
}
