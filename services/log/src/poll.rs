//! Fetch: fill the partitions in order within Kafka's byte rules, and wait until there is enough.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tidemark_types::{Coded, ErrorCode, LeaderEpoch, Offset, PartitionId, Tenant};
use tokio::time::Instant;

use crate::Mutation;
use crate::env::Env;
use crate::error::ReadError;
use crate::fetch::{FetchPartition, FetchRequest, FetchedPartition};
use crate::owner::leader_epoch;
use crate::read;
use crate::shard::Shard;
use crate::tier;
use crate::waiters::{Registered, Wake};

/// One partition while its fetch goes on.
struct Slot<'a> {
    want: &'a FetchPartition,
    shard: Option<&'a Arc<Shard>>,
    next: Offset,
    bytes: usize,
    answer: FetchedPartition,
}

/// The partition's shard, once tenant, placement, ownership and leader epoch are checked.
pub(crate) fn check<'a>(
    shards: &'a [Arc<Shard>],
    tenant: &Tenant,
    topic: &tidemark_topics::Topic,
    index: tidemark_types::PartitionIndex,
    current: Option<LeaderEpoch>,
) -> Result<(&'a Arc<Shard>, LeaderEpoch), ReadError> {
    let placement = topic
        .partition(index)
        .filter(|_| topic.tenant == tenant.id())
        .ok_or(ReadError::NoSuchPartition)?;
    let shard = shards
        .get(placement.shard.0 as usize)
        .ok_or(ReadError::NotLeader(placement.shard))?;
    let ownership = shard.ownership()?;
    let ours = leader_epoch(placement.leader_epoch_base, ownership.epoch.0);
    match current {
        Some(theirs) if theirs < ours => Err(ReadError::FencedLeaderEpoch),
        Some(theirs) if theirs > ours => Err(ReadError::UnknownLeaderEpoch),
        _ => Ok((shard, ours)),
    }
}

/// Answers a fetch.
pub(crate) async fn fetch(
    env: &Env,
    shards: &[Arc<Shard>],
    tenant: &Tenant,
    request: &FetchRequest,
) -> Vec<FetchedPartition> {
    let deadline = env.clock.now() + request.max_wait;
    // One for all partitions: those that need nothing of a store that hangs must not wait for each that does.
    let mut cold = env.clock.now() + tier::scan::PATIENCE;
    let mut slots: Vec<Slot<'_>> = request
        .partitions
        .iter()
        .map(|want| open(shards, tenant, want))
        .collect();
    let mut total = 0;
    for slot in &mut slots {
        total += fill(env, slot, request, total, cold).await;
    }
    if slots.is_empty() || is_over(&slots, request, total) || env.clock.now() >= deadline {
        return slots.into_iter().map(|slot| slot.answer).collect();
    }
    let wake = Wake::new(&env.fetches);
    let mut registered = Registered::new(&wake);
    for (place, slot) in slots.iter().enumerate() {
        if let Some(shard) = slot.shard {
            registered.add(place, shard, slot.partition());
        }
    }
    // What came between the look and the wait.
    let has_more = |place: &usize| slots[*place].has_more();
    let mut due: Vec<usize> = (0..slots.len()).filter(has_more).collect();
    loop {
        if due.is_empty() {
            // An error is the deadline, together with which data may have come.
            let _ = tokio::time::timeout_at(deadline, wake.wait()).await;
            due = wake.due();
        }
        let now = env.clock.now();
        let mut over = now >= deadline;
        cold = now + tier::scan::PATIENCE;
        for place in due.drain(..) {
            let slot = &mut slots[place];
            if let Some(shard) = slot.shard {
                registered.again(place, shard, slot.partition());
            }
            total += fill(env, slot, request, total, cold).await;
            over |= is_over(std::slice::from_ref(slot), request, total);
        }
        if over {
            break;
        }
    }
    drop(registered);
    slots.into_iter().map(|slot| slot.answer).collect()
}

/// Whether a fetch is to be answered now, as far as these slots tell.
fn is_over(slots: &[Slot<'_>], request: &FetchRequest, total: usize) -> bool {
    let enough = total >= request.min_bytes && (total > 0 || request.min_bytes == 0);
    let ended = |s: &Slot<'_>| s.answer.error.is_some() || s.shard.is_none();
    enough || total >= request.max_bytes || slots.iter().any(ended)
}

fn open<'a>(shards: &'a [Arc<Shard>], tenant: &Tenant, want: &'a FetchPartition) -> Slot<'a> {
    let checked = check(
        shards,
        tenant,
        &want.topic,
        want.index,
        want.current_leader_epoch,
    );
    let (shard, error) = match checked {
        Ok((shard, _)) => (Some(shard), None),
        Err(error) => (None, Some(error.code())),
    };
    Slot {
        want,
        shard,
        next: want.offset,
        bytes: 0,
        answer: FetchedPartition {
            error,
            ..FetchedPartition::failed(ErrorCode::Unknown)
        },
    }
}

impl Slot<'_> {
    fn partition(&self) -> tidemark_types::PartitionId {
        self.want.topic.partition_id(self.want.index)
    }

    fn refuse(&mut self, error: ErrorCode) {
        self.answer.error = Some(error);
        self.shard = None;
    }

    /// Whether something was committed since this slot was filled. A shard that stopped serving counts.
    fn has_more(&self) -> bool {
        let Some(shard) = self.shard else {
            return false;
        };
        if shard.ownership().is_err() {
            return true;
        }
        let shown = shard.view(self.partition());
        let end = shown.map_or(Offset(0), |view| view.state.read().high_watermark);
        end > self.answer.high_watermark
    }
}

/// Adds what there is to a slot and gives the bytes added. `total` is what all slots have; the object store is waited for
/// until `cold`.
async fn fill(
    env: &Env,
    slot: &mut Slot<'_>,
    request: &FetchRequest,
    total: usize,
    cold: Instant,
) -> usize {
    let Some(shard) = slot.shard else { return 0 };
    if let Err(error) = shard.ownership() {
        // What was read stays right: committed prefixes are immutable. Without any, say why.
        if slot.answer.batches.is_empty() {
            slot.refuse(error.code());
        }
        slot.shard = None;
        return 0;
    }
    let view = shard.view(slot.partition());
    if let Some(view) = &view {
        env.starts.touch(view, env.clock.now());
    }
    let (log_start, end) = view.as_ref().map_or((Offset(0), Offset(0)), |view| {
        let shown = view.state.read();
        (shown.log_start, shown.high_watermark)
    });
    slot.answer.log_start = log_start;
    slot.answer.high_watermark = end;
    slot.answer.last_stable_offset = end;
    if slot.next < log_start {
        slot.refuse(ErrorCode::OffsetOutOfRange);
        return 0;
    }
    if slot.next > end {
        let code = beyond_end(env, shard).await;
        slot.refuse(code);
        return 0;
    }
    let Some(view) = view.filter(|_| slot.next < end) else {
        return 0;
    };
    let room = request
        .max_bytes
        .saturating_sub(total)
        .min(slot.want.max_bytes.saturating_sub(slot.bytes));
    if room == 0 && total > 0 {
        return 0;
    }
    let room = (room, total == 0);
    match read::read(env, shard, &view, slot.next, room, cold).await {
        Ok(batches) => {
            let bytes = take(slot, batches);
            let log_start = view.state.read().log_start;
            if slot.next < log_start && slot.answer.batches.is_empty() {
                // Deleted while it was read.
                slot.answer.log_start = log_start;
                slot.refuse(ErrorCode::OffsetOutOfRange);
            }
            bytes
        }
        Err(error) => {
            report(env, view.id, &error);
            if slot.answer.batches.is_empty() {
                slot.refuse(error.code());
            }
            0
        }
    }
}

/// Readers ask again and again while the object store is away: that is said now and then.
fn report(env: &Env, partition: PartitionId, error: &ReadError) {
    let is_away = matches!(error, ReadError::ColdUnavailable(_));
    let tier = env.tier.as_ref().filter(|_| is_away);
    if tier.is_none_or(|tier| tier.may_tell(env.clock.now())) {
        tracing::warn!(%partition, "fetch: {error}");
    } else {
        tracing::debug!(%partition, "fetch: {error}");
    }
}

fn take(slot: &mut Slot<'_>, batches: Vec<crate::view::StoredBatch>) -> usize {
    let mut bytes = 0;
    slot.answer.batches.reserve(2 * batches.len());
    for batch in batches {
        bytes += batch.len();
        slot.next = batch.end;
        // Committed while the read went on: an answer never holds more than the end it names.
        let end = &mut slot.answer.high_watermark;
        *end = batch.end.max(*end);
        slot.answer.last_stable_offset = *end;
        slot.answer.batches.push(batch.prefix);
        slot.answer.batches.push(batch.rest);
    }
    slot.bytes += bytes;
    bytes
}

/// K2: an offset above the own high watermark is out of range only if no newer owner can know better.
async fn beyond_end(env: &Env, shard: &Shard) -> ErrorCode {
    match prove(env, shard).await {
        Ok(()) => ErrorCode::OffsetOutOfRange,
        Err(error) => error.code(),
    }
}

/// K1: proof of ownership that began after this call. Those who ask while a proof is under way share the next one.
pub(crate) async fn prove(env: &Env, shard: &Shard) -> Result<(), ReadError> {
    let proofs = &shard.proofs;
    let asked = proofs.asked.fetch_add(1, Ordering::SeqCst) + 1;
    let mut last = proofs.last.lock().await;
    if last.0 >= asked {
        return last.1.clone();
    }
    let covers = proofs.asked.load(Ordering::SeqCst);
    let outcome = probe(env, shard).await;
    *last = (covers, outcome.clone());
    outcome
}

async fn probe(env: &Env, shard: &Shard) -> Result<(), ReadError> {
    let ownership = shard.ownership()?;
    if env.config.breaks(Mutation::UnprovenEnd) {
        return Ok(());
    }
    let open = shard.open_extent().ok_or(ReadError::NotLeader(shard.id))?;
    match env.leases.probe(&ownership, &open.extent).await {
        Ok(()) => Ok(()),
        Err(tidemark_lease::ProbeError::Fenced { .. }) => Err(ReadError::NotLeader(shard.id)),
        Err(_) => Err(ReadError::EndNotProven(shard.id)),
    }
}
