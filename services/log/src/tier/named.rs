//! Which of some objects any row names: what a listing of the object store is held against.
//!
//! # Consistency
//! An object moves one way: `pend` before its put, then a row of the log, then `gc`, then nothing; ids are never reused. The
//! kinds of rows are read in that order, each in key order, in which a row that takes over another's object comes behind it: what
//! moves meanwhile is met where it goes, so no transaction need see all of it. Hence an object that was listed *before*
//! this, and that nothing names, was let go of for good: its intent was there before its put, and so before the listing.
//! The other way round, rows before the listing, what was just committed would look forgotten.

use std::collections::BTreeSet;

use tidemark_meta::keys::cold::{GarbageKey, Level0Key, PendingKey};
use tidemark_meta::keys::cold1::Level1Key;
use tidemark_meta::keys::state::StateKey;
use tidemark_meta::keys::{self, Key, KeyRange};
use tidemark_meta::{MetaError, MetaStore, Mode};
use tidemark_types::{ObjectId, ShardId};

/// Rows read in one transaction.
const PAGE: usize = 500;

/// Leaves in `objects`, all of one shard and listed before, those that no row names. A line for each kind of row.
pub(crate) async fn strike_named(
    meta: &dyn MetaStore,
    shard: ShardId,
    objects: &mut BTreeSet<ObjectId>,
) -> Result<(), MetaError> {
    let pending = PendingKey::of_shard(shard);
    strike::<PendingKey>(meta, pending, objects, |key, _| Some(key.0)).await?;
    let state = KeyRange {
        begin: StateKey(shard).encode(),
        end: keys::behind(&StateKey(shard)),
    };
    strike::<StateKey>(meta, state, objects, |_, row| Some(row.object)).await?;
    let level0 = Level0Key::of_shard(shard);
    strike::<Level0Key>(meta, level0, objects, |_, row| Some(row.object)).await?;
    let level1 = Level1Key::of_shard(shard);
    strike::<Level1Key>(meta, level1, objects, |_, row| Some(row.object?.object)).await?;
    strike::<GarbageKey>(meta, GarbageKey::all(), objects, |_, row| Some(row.object)).await
}

async fn strike<K: Key>(
    meta: &dyn MetaStore,
    mut range: KeyRange,
    objects: &mut BTreeSet<ObjectId>,
    named: impl Fn(&K, &K::Value) -> Option<ObjectId>,
) -> Result<(), MetaError> {
    while !objects.is_empty() {
        let mut tx = meta.begin();
        let page = keys::scan::<K>(tx.as_mut(), range.clone(), PAGE, Mode::Snapshot).await?;
        for object in page.iter().filter_map(|(key, row)| named(key, row)) {
            objects.remove(&object);
        }
        let Some((last, _)) = page.last().filter(|_| page.len() == PAGE) else {
            break;
        };
        range.begin = keys::behind(last);
    }
    Ok(())
}
