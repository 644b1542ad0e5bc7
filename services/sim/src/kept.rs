//! Retention and deletion take no more than they may.

use tidemark_types::PartitionId;

use crate::covered::Cold;
use crate::plan::Retention;
use crate::world::World;

/// A partition begins here: clients asked for that, or some retention that its topic was ever given allows it.
pub(crate) fn kept(world: &World, id: PartitionId, begin: i64, cold: &Cold) -> Result<(), String> {
    let asked = world.starts.stored(id, begin);
    if begin <= asked {
        return Ok(());
    }
    let gone = format!("begins at {begin}, clients asked for {asked}");
    if world.tables.is_of_table(id) {
        return Err(gone);
    }
    let plan = world.plan.cold.as_ref();
    let first = plan.map_or(Retention::Everything, |plan| plan.retention);
    let changes = world.starts.kept();
    // What went before for another reason may be younger: then the last that went counts.
    let from = match changes.is_empty() {
        true => asked,
        false => world.ledger.base_before(id, begin).unwrap_or(asked),
    };
    let mut why = String::new();
    for retention in std::iter::once(first).chain(changes) {
        match allows(world, id, (from, begin), cold, retention) {
            Ok(()) => return Ok(()),
            Err(not) => why = not,
        }
    }
    Err(format!("{gone}{why}"))
}

fn allows(
    world: &World,
    id: PartitionId,
    (from, begin): (i64, i64),
    cold: &Cold,
    retention: Retention,
) -> Result<(), String> {
    match retention {
        Retention::Everything => Err(String::new()),
        Retention::Bytes(max) => {
            let left = cold.bytes_from(begin);
            if left < max {
                return Err(format!("; {left} bytes are left of {max}"));
            }
            Ok(())
        }
        Retention::Ms(ms) => {
            let now_ms = world.starts.wall(world.clock.wall_ms());
            let newest = world.ledger.newest_between(id, from, begin);
            let age = now_ms.saturating_sub(newest.unwrap_or(i64::MIN));
            if age <= i64::try_from(ms).unwrap_or(i64::MAX) {
                return Err(format!("; the newest of it was {age} ms old, not {ms}"));
            }
            Ok(())
        }
    }
}
