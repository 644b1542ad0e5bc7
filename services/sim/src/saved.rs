//! Invariant 13 of a shard's state object: it is there, whole, neither condemned nor pending, and no newer than what is tiered.

use std::collections::BTreeMap;

use bytes::Bytes;
use tidemark_meta::keys::state::StateRow;
use tidemark_runtime::Invariant;
use tidemark_types::{Lsn, ObjectId};

use crate::world::World;

/// Checks one shard's.
pub(crate) fn check(
    world: &World,
    (row, tiered): (Option<StateRow>, Lsn),
    objects: &BTreeMap<String, Bytes>,
    passing: impl Fn(&ObjectId) -> bool,
) {
    let Some(row) = row else { return };
    let object = row.object;
    let whole = match objects.get(&object.to_string()) {
        _ if passing(&object) => Err("is the state, and condemned or pending".to_owned()),
        _ if row.lsn > tiered => Err(format!("is the state at {}, tiered is {tiered}", row.lsn)),
        None => Err("is the state, and does not exist".to_owned()),
        Some(bytes) => tidemark_log::check_state_object(&row, bytes).map_err(|why| why.to_string()),
    };
    if let Err(what) = whole {
        let what = format!("{object} {what}");
        world.ledger.violated(Invariant::ReferencedExists, what);
    }
}
