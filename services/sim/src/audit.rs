//! What must hold of the stored rows at any time, and of everything at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tidemark_journal::{ExtentId, Inventory, Replica};
use tidemark_lognode::sim::Crash;
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::shard::{ShardKey, ShardRow};
use tidemark_meta::{MetaStore, Mode, keys};
use tidemark_runtime::{Entropy, Invariant};
use tidemark_topics::Topic;
use tidemark_types::{Epoch, ErrorCode, LeaderEpoch, Lsn, NodeId, PartitionIndex, ShardId};

use crate::clients::{Client, TABLE, TOPIC, fetch, scan_table, took};
use crate::covered;
use crate::process::Process;
use crate::trace::note;
use crate::world::{Phase, TENANT, World};

/// Invariant 16: how long a healed service may take to serve again, N × TTL.
const RESUME: Duration = Duration::from_secs(60);

/// Looks at the shards' and extents' rows again and again.
pub(crate) async fn watch_rows(world: Arc<World>) {
    let mut sealed: BTreeMap<ExtentKey, Lsn> = BTreeMap::new();
    let mut epochs: BTreeMap<ShardId, Epoch> = BTreeMap::new();
    while world.phase() != Phase::Over {
        world.clock.sleep(Duration::from_millis(250)).await;
        check_rows(&world, &mut sealed, &mut epochs).await;
        covered::check(&world).await;
    }
}

async fn check_rows(
    world: &World,
    sealed: &mut BTreeMap<ExtentKey, Lsn>,
    epochs: &mut BTreeMap<ShardId, Epoch>,
) {
    for shard in (0..world.plan.shards).map(ShardId) {
        let mut tx = world.sim.begin();
        let row: Option<ShardRow> = keys::get(tx.as_mut(), &ShardKey(shard), Mode::Snapshot)
            .await
            .ok()
            .flatten();
        let range = ExtentKey::of_shard(shard);
        let rows: Vec<(ExtentKey, ExtentRow)> =
            keys::scan(tx.as_mut(), range, 10_000, Mode::Snapshot)
                .await
                .unwrap_or_default();
        let bad = |invariant, what: String| {
            world
                .ledger
                .violated(invariant, format!("shard {shard}: {what}"));
        };
        if let Some(row) = &row {
            let before = epochs.insert(shard, row.epoch).unwrap_or_default();
            if before > row.epoch {
                bad(
                    Invariant::NoRegress,
                    format!("epoch {before} became {}", row.epoch),
                );
            }
            if row.newest != rows.last().map(|(key, _)| key.index) {
                bad(
                    Invariant::OneOpenExtent,
                    format!("its newest extent is not {:?}", row.newest),
                );
            }
        }
        for (at, (key, row)) in rows.iter().enumerate() {
            let index = key.index;
            let next = rows.get(at + 1);
            match (row.state, next) {
                (ExtentState::Open, Some(_)) => {
                    bad(
                        Invariant::OneOpenExtent,
                        format!("extent {index} is open, not the newest"),
                    );
                }
                (ExtentState::Open, None) => {}
                (ExtentState::Sealed(end), next) => {
                    // Empty ones between may be gone.
                    let follows = |(after, next): &(ExtentKey, ExtentRow)| {
                        let given_up = after.index > index.next();
                        next.first == end || (next.first > end && given_up)
                    };
                    if !next.is_none_or(follows) {
                        bad(
                            Invariant::OneOpenExtent,
                            format!("extent {index} ends at {end}, the next begins elsewhere"),
                        );
                    }
                    let before = *sealed.entry(*key).or_insert(end);
                    if before != end {
                        bad(
                            Invariant::SealCoversCommits,
                            format!("extent {index} was sealed at {before}, is at {end}"),
                        );
                    }
                }
            }
        }
    }
}

/// A process that serves every shard, in time.
pub(crate) async fn serving(world: &World) -> Option<Arc<Process>> {
    let until = world.clock.now() + RESUME;
    while world.clock.now() < until {
        world.mend().await;
        if let Some(process) = world.newest().filter(|p| p.is_serving()) {
            return Some(process);
        }
        world.clock.sleep(Duration::from_millis(100)).await;
    }
    let standing = world.newest().map(|p| p.standing());
    let what = format!("not serving {RESUME:?} after the faults: {standing:?}");
    world.ledger.violated(Invariant::Resumes, what);
    None
}

/// Everything that was acked is there, once, in order; then again after a last power cut.
pub(crate) async fn audit(world: &Arc<World>) {
    let Some(before) = complete(world).await else {
        return;
    };
    // Invariant 15: what a new owner rebuilds is what the old one had committed.
    note!(world.trace, "a last power cut");
    for at in 0..world.machines.len() {
        world.restart_machine(at, Crash::Power).await;
    }
    if !world.plan.embedded {
        world.alive().iter().for_each(|p| p.life.kill());
        world.start_process().await;
    }
    let Some(after) = complete(world).await else {
        return;
    };
    if before != after {
        let what = format!("{before:?} before the power cut, {after:?} after");
        world.ledger.violated(Invariant::RebuiltEqual, what);
    }
}

/// Reads every partition from its beginning to its end, and gives the ends.
pub(crate) async fn complete(world: &Arc<World>) -> Option<Vec<i64>> {
    let process = serving(world).await?;
    let client = Client {
        world: Arc::clone(world),
        entropy: Entropy::seeded(1),
        name: "audit".to_owned(),
    };
    let topic = client.topic(&process, TOPIC).await?;
    let mut all = Vec::new();
    for (index, _) in topic.indexed() {
        let end = read_all(&client, &process, &topic, index).await?;
        epoch_ends(world, &process, &topic, index).await;
        all.push(end);
    }
    if world.plan.tables {
        build_tables(&client, &process).await;
    }
    Some(all)
}

/// Whoever reads a compacted topic from its beginning builds the table that was written.
async fn build_tables(client: &Client, process: &Process) {
    let Some(topic) = client.topic(process, TABLE).await else {
        return;
    };
    for (index, _) in topic.indexed() {
        let id = topic.partition_id(index);
        if !scan_table(client, process, &topic, index).await {
            let floor = client.world.tables.floor(id);
            let what = format!("{id}: the table cannot be read up to {floor} after the faults");
            let verdict = &client.world.verdict;
            verdict.violated(Invariant::AckedReadable, what);
        }
    }
}

/// Reads a partition from its beginning and gives its end; nothing when it cannot be read.
async fn read_all(
    client: &Client,
    process: &Process,
    topic: &Arc<Topic>,
    index: PartitionIndex,
) -> Option<i64> {
    let (id, ledger) = (topic.partition_id(index), &client.world.ledger);
    let until = client.world.clock.now() + RESUME;
    let begins = process.log.offsets(&TENANT, topic, index);
    let mut next = begins.map_or(0, |offsets| offsets.log_start.0);
    client.world.starts.begins(id, next);
    loop {
        let limits = (64 << 10, Duration::ZERO);
        let fetched = fetch(process, topic, index, next, limits).await;
        if let Some(error) = fetched.error {
            if error.is_retriable() && client.world.clock.now() < until {
                client.think(500).await;
                continue;
            }
            if error == ErrorCode::OffsetOutOfRange && client.world.starts.may_be_gone(id, next) {
                next = fetched.log_start.0;
                continue;
            }
            let what = format!("{id}: reading from {next} after the faults: {error}");
            ledger.violated(Invariant::AckedReadable, what);
            return None;
        }
        let after = took(client, process, topic, index, next, &fetched);
        if after == next {
            ledger.complete(id, next);
            return Some(next);
        }
        next = after;
    }
}

/// K6: every epoch that has batches ends where the next one's begin.
async fn epoch_ends(world: &World, process: &Process, topic: &Arc<Topic>, index: PartitionIndex) {
    let id = topic.partition_id(index);
    let epochs = world.ledger.epochs(id);
    // Older ones may have been merged; of those whose end was deleted clients know too little.
    let begin = world.starts.may_begin(id);
    let known = epochs.windows(2).filter(|pair| pair[1].1 > begin);
    for pair in known.rev().take(4) {
        let epoch = LeaderEpoch(pair[0].0);
        let found = process
            .log
            .leader_epoch_end(&TENANT, topic, index, None, epoch)
            .await;
        if !matches!(&found, Ok(end) if end.epoch == epoch && end.end.0 == pair[1].1) {
            let what = format!(
                "{id}: epoch {epoch} ends at {}, is said to: {found:?}",
                pair[1].1
            );
            world.ledger.violated(Invariant::RebuiltEqual, what);
        }
    }
}

/// After damage: whatever can be read is what was written, and ends where it did. In a shard that an operator gave a
/// range of up, everything that is left can be read; elsewhere what cannot be says so. Whether all of it could be read.
pub(crate) async fn what_is_left(world: &Arc<World>, given_up: &[ShardId]) -> bool {
    let Some(process) = serving(world).await else {
        return false;
    };
    let client = Client {
        world: Arc::clone(world),
        entropy: Entropy::seeded(1),
        name: "audit".to_owned(),
    };
    let Some(topic) = client.topic(&process, TOPIC).await else {
        return false;
    };
    let mut whole = true;
    for (index, placement) in topic.indexed() {
        let id = topic.partition_id(index);
        let begins = process.log.offsets(&TENANT, &topic, index);
        let mut next = begins.map_or(0, |offsets| offsets.log_start.0);
        let floor = world.ledger.floor(id).max(next);
        let mut failed = None;
        loop {
            let limits = (64 << 10, Duration::ZERO);
            let fetched = fetch(&process, &topic, index, next, limits).await;
            let after = match fetched.error {
                None => took(&client, &process, &topic, index, next, &fetched),
                Some(error) => {
                    failed.get_or_insert((next, error));
                    world.ledger.behind(id, next).unwrap_or(next)
                }
            };
            if after == next {
                break;
            }
            next = after;
        }
        if next != floor {
            let what = format!("{id}: ends at {next}, {floor} was the end");
            world.ledger.violated(Invariant::AckedReadable, what);
        }
        if let Some((at, error)) = failed.filter(|_| given_up.contains(&placement.shard)) {
            let what = format!("{id}: {at} lies outside of what was given up: {error}");
            world.ledger.violated(Invariant::AckedReadable, what);
        }
        whole &= failed.is_none();
    }
    whole
}

/// Invariant 8: what is sealed is on A replicas, those that were harmed for good aside.
pub(crate) async fn check_copies(world: &World) {
    let mut held: BTreeMap<(NodeId, ExtentId), Lsn> = BTreeMap::new();
    for machine in &world.machines {
        for info in machine.tap().extents().await.unwrap_or_default() {
            let end = match info.inventory {
                Inventory::Held { end, .. } => end,
                _ => continue,
            };
            held.insert((machine.id(), info.extent), end);
        }
    }
    let frail = world.plan.frail.map(|at| world.machines[at].id());
    for shard in (0..world.plan.shards).map(ShardId) {
        let mut tx = world.sim.begin();
        let range = ExtentKey::of_shard(shard);
        let rows: Vec<(ExtentKey, ExtentRow)> =
            keys::scan(tx.as_mut(), range, 10_000, Mode::Snapshot)
                .await
                .unwrap_or_default();
        for (key, row) in rows {
            let ExtentState::Sealed(end) = row.state else {
                continue;
            };
            let index = key.index;
            let has = |node: &&NodeId| {
                let held = held.get(&(**node, ExtentId { shard, index }));
                end == row.first || held.is_some_and(|held| *held >= end)
            };
            let copies = row.replicas.iter().filter(has).count();
            let gone = |node: &NodeId| {
                Some(*node) == frail || world.machines.iter().all(|m| m.id() != *node)
            };
            let harmed = usize::from(row.replicas.iter().any(gone));
            if copies + harmed < usize::from(row.ack_quorum) {
                let what =
                    format!("extent {index} of shard {shard} ends at {end}: {copies} copies");
                world.ledger.violated(Invariant::SealedIsReplicated, what);
            }
        }
    }
}
