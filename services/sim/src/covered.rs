//! Invariants 13 and 14: what rows name exists and is what was written, is not condemned, and with the journal covers
//! the log once. Looked at in one snapshot of the metadata and in the objects themselves, without faults in between.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::Mutex;
use tidemark_meta::keys::Key as _;
use tidemark_meta::keys::cold::{
    GarbageKey, GarbageRow, Level0Key, Level0Row, PendingKey, PendingRow, TierKey,
};
use tidemark_meta::keys::cold1::{Level1Key, Level1Row};
use tidemark_meta::keys::extent::{ExtentKey, ExtentRow, ExtentState};
use tidemark_meta::keys::partition::PartitionKey;
use tidemark_meta::keys::state::{StateKey, StateRow};
use tidemark_meta::{MetaError, MetaStore, Mode, Transaction, keys};
use tidemark_records::Batch;
use tidemark_runtime::Invariant;
use tidemark_segment::{Covers, Index, verify};
use tidemark_types::{Lsn, ObjectId, PartitionId, ShardId};

use crate::kept::kept;
use crate::saved;
use crate::trace::note;
use crate::world::World;

/// Rows of one kind at the most.
const ROWS_MAX: usize = 10_000;

/// One partition's part of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    id: PartitionId,
    base: i64,
    end: i64,
    bytes: u64,
}

/// Objects never change, so each is looked into once.
pub(crate) type Segments = Mutex<BTreeMap<ObjectId, Vec<Part>>>;

/// What is stored of one shard.
struct Stored {
    shard: ShardId,
    tiered: Lsn,
    level0: Vec<(Level0Key, Level0Row)>,
    level1: Vec<(Level1Key, Level1Row)>,
    pending: BTreeSet<ObjectId>,
    extents: Vec<(ExtentKey, ExtentRow)>,
    state: Option<StateRow>,
}

/// An object as its row states it.
#[derive(Clone, Copy)]
struct Named {
    object: ObjectId,
    bytes: u64,
    index_at: u64,
    covers: Covers,
}

impl Stored {
    fn frames(&self) -> impl Iterator<Item = Named> {
        self.level0.iter().map(|(key, row)| Named {
            object: row.object,
            bytes: row.bytes,
            index_at: row.index_at,
            covers: Covers::Frames {
                first: row.first,
                end: key.end,
            },
        })
    }

    fn own(&self) -> impl Iterator<Item = Named> {
        self.level1.iter().filter_map(|(key, row)| {
            let at = row.object?;
            Some(Named {
                object: at.object,
                bytes: at.bytes,
                index_at: at.index_at,
                covers: Covers::Offsets {
                    first: row.base,
                    end: key.end,
                },
            })
        })
    }
}

/// What cold segments say of one partition.
#[derive(Debug, Default)]
pub(crate) struct Cold {
    /// Offsets that its own rows cover, and what lies there.
    own: Vec<(i64, i64)>,
    own_bytes: u64,
    /// Its parts of objects of all partitions.
    shared: Vec<Part>,
}

impl Cold {
    pub(crate) fn own_end(&self) -> i64 {
        self.own.last().map_or(0, |(_, end)| *end)
    }

    pub(crate) fn bytes_from(&self, begin: i64) -> u64 {
        let above = begin.max(self.own_end());
        let shared = self.shared.iter().filter(|p| p.end > above);
        self.own_bytes + shared.map(|p| p.bytes).sum::<u64>()
    }
}

/// What is stored of everything that moves to the object store.
struct Rows {
    shards: Vec<Stored>,
    condemned: BTreeSet<ObjectId>,
    begins: BTreeMap<PartitionId, i64>,
}

/// Checks what is stored now.
pub(crate) async fn check(world: &World) {
    if world.plan.cold.is_none() {
        return;
    }
    let Ok(rows) = read(world).await else { return };
    let objects = held(world);
    let mut cold: BTreeMap<PartitionId, Cold> = BTreeMap::new();
    for stored in &rows.shards {
        if let Err(what) = journal_covers(stored) {
            violated(world, Invariant::Covered, &what);
        }
        let passing = |id: &ObjectId| rows.condemned.contains(id) || stored.pending.contains(id);
        saved::check(world, (stored.state, stored.tiered), &objects, passing);
        for (key, row) in &stored.level1 {
            let own = &mut cold.entry(key.partition).or_default().own;
            own.push((row.base.0, key.end.0));
        }
        for named in stored.frames().chain(stored.own()) {
            let object = named.object;
            if passing(&object) {
                let what = format!("{object} is part of the log, and condemned or pending");
                violated(world, Invariant::ReferencedExists, &what);
            }
            let parts = look_into(world, named, objects.get(&object.to_string()), &rows.begins);
            let parts = parts.unwrap_or_else(|what| {
                let what = format!("{object}: {what}");
                violated(world, Invariant::ReferencedExists, &what);
                Vec::new()
            });
            for part in parts {
                let cold = cold.entry(part.id).or_default();
                match named.covers {
                    Covers::Frames { .. } => cold.shared.push(part),
                    // With its index, as retention counts it.
                    Covers::Offsets { .. } => cold.own_bytes += named.bytes,
                }
            }
        }
    }
    for (id, begin) in &rows.begins {
        let cold = cold.remove(id).unwrap_or_default();
        if let Err(what) = once(&cold, *begin) {
            violated(world, Invariant::Covered, &format!("{id}: {what}"));
        }
        if let Err(what) = kept(world, *id, *begin, &cold) {
            violated(world, Invariant::AckedReadable, &format!("{id}: {what}"));
        }
    }
}

/// At the end: every object is named by a row, or was.
pub(crate) async fn check_named(world: &World) {
    if world.plan.cold.is_none() {
        return;
    }
    let Ok(rows) = read(world).await else { return };
    let mut named: BTreeSet<String> = rows.condemned.iter().map(ToString::to_string).collect();
    let (mut live, mut own) = (0, 0);
    for stored in &rows.shards {
        let of_rows = stored.frames().chain(stored.own()).map(|n| n.object);
        let others = stored.state.map(|row| row.object).into_iter();
        let others = others.chain(stored.pending.iter().copied());
        named.extend(of_rows.chain(others).map(|o| o.to_string()));
        live += stored.level0.len();
        own += stored.level1.len();
    }
    let objects = held(world);
    for name in objects.keys().filter(|name| !named.contains(*name)) {
        let what = format!("{name} is forgotten: no row names it");
        violated(world, Invariant::ReferencedExists, &what);
    }
    note!(
        world.trace,
        "{} objects, {live} of all partitions and {own} of one, {} were read, {} extents released, begins {:?}",
        objects.len(),
        world.segments.lock().len(),
        world.facts.releases(),
        rows.begins.values().collect::<Vec<_>>()
    );
}

fn violated(world: &World, invariant: Invariant, what: &str) {
    world.ledger.violated(invariant, what.to_owned());
}

/// The objects by the ids in their names.
fn held(world: &World) -> BTreeMap<String, Bytes> {
    let all = world.objects.snapshot().into_iter();
    all.filter_map(|(key, bytes)| Some((key.as_str().rsplit('/').next()?.to_owned(), bytes)))
        .collect()
}

async fn read(world: &World) -> Result<Rows, MetaError> {
    let mut tx = world.sim.begin();
    let mut shards = Vec::new();
    for shard in (0..world.plan.shards).map(ShardId) {
        shards.push(read_shard(tx.as_mut(), shard).await?);
    }
    let range = GarbageKey::all();
    let garbage: Vec<(GarbageKey, GarbageRow)> =
        keys::scan(tx.as_mut(), range, ROWS_MAX, Mode::Snapshot).await?;
    let mut begins = BTreeMap::new();
    let tables = world.tables.partitions();
    for id in world.ledger.partitions().into_iter().chain(tables) {
        let row = keys::get(tx.as_mut(), &PartitionKey(id), Mode::Snapshot).await?;
        begins.extend(row.map(|row| (id, row.log_start.0)));
    }
    Ok(Rows {
        shards,
        condemned: garbage.into_iter().map(|(_, row)| row.object).collect(),
        begins,
    })
}

async fn read_shard(tx: &mut dyn Transaction, shard: ShardId) -> Result<Stored, MetaError> {
    let tier = keys::get(tx, &TierKey(shard), Mode::Snapshot).await?;
    let range = Level0Key::of_shard(shard);
    let level0 = keys::scan(tx, range, ROWS_MAX, Mode::Snapshot).await?;
    let range = Level1Key::of_shard(shard);
    let level1 = keys::scan(tx, range, ROWS_MAX, Mode::Snapshot).await?;
    let range = PendingKey::of_shard(shard);
    let pending: Vec<(PendingKey, PendingRow)> =
        keys::scan(tx, range, ROWS_MAX, Mode::Snapshot).await?;
    let range = ExtentKey::of_shard(shard);
    let extents = keys::scan(tx, range, ROWS_MAX, Mode::Snapshot).await?;
    Ok(Stored {
        shard,
        state: keys::get(tx, &StateKey(shard), Mode::Snapshot).await?,
        tiered: tier.unwrap_or_default().tiered_lsn,
        level0,
        level1,
        pending: pending.into_iter().map(|(key, _)| key.0).collect(),
        extents,
    })
}

/// By LSN: cold segments one behind the other, the journal from where they end, and what a takeover needs (J1, J12).
fn journal_covers(stored: &Stored) -> Result<(), String> {
    let Stored { shard, tiered, .. } = stored;
    let mut end = Lsn(0);
    for (key, row) in &stored.level0 {
        if row.first < end || key.end <= row.first {
            return Err(format!("shard {shard}: {} begins below {end}", row.object));
        }
        end = key.end;
    }
    if end > *tiered {
        return Err(format!("shard {shard}: cold up to {end}, tiered {tiered}"));
    }
    let Some((first, row)) = stored.extents.first() else {
        return Ok(());
    };
    if row.first > *tiered {
        let (from, index) = (row.first, first.index);
        return Err(format!(
            "shard {shard}: tiered {tiered}, extent {index} begins at {from}, nothing between"
        ));
    }
    // An extent begins where the one before was sealed, also when that one was empty and is gone.
    let sealed = stored.extents.iter().map(|(_, row)| match row.state {
        ExtentState::Sealed(end) => end,
        ExtentState::Open => row.first,
    });
    let sealed = sealed.max().unwrap_or(row.first);
    if *tiered > sealed {
        return Err(format!(
            "shard {shard}: tiered {tiered}, sealed up to {sealed}"
        ));
    }
    if first.index.0 > 0 && !stored.extents.iter().any(|(_, row)| row.ckpt) {
        return Err(format!(
            "shard {shard}: no extent from {} on has a checkpoint",
            first.index
        ));
    }
    Ok(())
}

/// Invariant 13: the object is there, whole, and holds what was committed of the partitions in `alive`.
fn look_into(
    world: &World,
    named: Named,
    bytes: Option<&Bytes>,
    alive: &BTreeMap<PartitionId, i64>,
) -> Result<Vec<Part>, String> {
    let bytes = bytes.ok_or("a row names it, and it does not exist")?;
    if bytes.len() as u64 != named.bytes {
        let (len, said) = (bytes.len(), named.bytes);
        return Err(format!("{len} bytes, its row says {said}"));
    }
    if let Some(known) = world.segments.lock().get(&named.object) {
        return Ok(known.clone());
    }
    let at = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
    let tail = bytes.get(at(named.index_at)..);
    let tail = tail.ok_or("its index lies outside")?;
    let index = Index::decode(tail, named.index_at).map_err(|e| e.to_string())?;
    if (index.header.object, index.header.covers) != (named.object, named.covers) {
        return Err("it is another one than its row says".to_owned());
    }
    let mut found = Vec::new();
    for part in index.partitions() {
        for (i, block) in part.blocks().iter().enumerate() {
            let range = part.range(i..i + 1);
            let block_bytes = &bytes[at(range.start)..at(range.end)];
            verify(block, block_bytes).map_err(|e| e.to_string())?;
        }
        let range = part.range(0..part.blocks().len());
        let data = bytes.slice(at(range.start)..at(range.end));
        let batches: Result<Vec<Batch>, _> = tidemark_records::split(data).collect();
        let batches = batches.map_err(|e| e.to_string())?;
        let (id, base, end) = (part.id(), part.base().0, part.end().0);
        if world.tables.is_of_table(id) {
            world.tables.saw(id, &batches);
        } else if alive.contains_key(&id) {
            // Byte by byte what clients know, and dense. Of a deleted topic some objects may be gone, and what is left of it in
            // their neighbours may lie in one.
            world.ledger.read(id, base, (0, end), &batches);
        }
        let bytes = part.bytes();
        found.push(Part {
            id,
            base,
            end,
            bytes,
        });
    }
    world.segments.lock().insert(named.object, found.clone());
    Ok(found)
}

/// Invariant 14 by offset: from where the partition begins on, each cold part follows the one before.
fn once(cold: &Cold, begin: i64) -> Result<(), String> {
    let mut end: Option<i64> = None;
    let own_end = cold.own_end();
    let shared = cold.shared.iter().filter(|p| p.end > own_end);
    let shared = shared.map(|p| (p.base, p.end));
    for (at, (base, after)) in cold.own.iter().copied().chain(shared).enumerate() {
        // The first shared part may begin with what its own rows took over.
        let base = if at == cold.own.len() {
            base.max(own_end)
        } else {
            base
        };
        if end.is_some_and(|end| base < end) {
            return Err(format!("{base}..{after} is cold twice"));
        }
        let covered = end.unwrap_or(begin).max(begin);
        if base > covered {
            return Err(format!(
                "nothing between {covered} and {base}, it begins at {begin}"
            ));
        }
        end = Some(after);
    }
    Ok(())
}
