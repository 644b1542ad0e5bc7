//! Blows around the object store: its bad days, and processes that die between the steps of tiering, release,
//! retention and collection.

use std::sync::Arc;
use std::time::Duration;

use tidemark_blob::faulty::{Fault, Faults, Outage};

use crate::process::Process;
use crate::trace::note;
use crate::world::World;

/// Steps within which a planned death comes: a few objects' lives, heartbeats between them.
const STEPS: u64 = 24;
const FAULTS: [Fault; 9] = [
    Fault::Throttled,
    Fault::Refused,
    Fault::Hang,
    Fault::Reset,
    Fault::Truncated,
    Fault::Rotten,
    Fault::NotFound,
    Fault::LostReply,
    Fault::Late,
];

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A late put lands behind a few collections, and before its second delete.
const fn soon_late(faults: Faults) -> Faults {
    Faults {
        late_max: ms(5_000),
        ..faults
    }
}

/// The process dies right before or behind one of its next transactions, puts, deletes or releases.
pub(crate) async fn crash_at_a_step(world: &Arc<World>, process: &Arc<Process>) {
    let steps = world.entropy.below(STEPS);
    note!(
        world.trace,
        "p{} is to die in {steps} steps",
        process.number
    );
    process.life.set_fuse(Some(steps));
    let _ = tokio::time::timeout(ms(3_000), process.life.ended()).await;
    process.life.set_fuse(None);
    let dead = process.life.is_dead();
    note!(world.trace, "p{} is dead: {dead}", process.number);
    // With its machine, or by itself when it shares none.
    let down = world.plan.embedded && world.machines[0].life().is_dead();
    if dead && !down {
        world.start_process().await;
    }
}

/// A bad day of the object store, beside the blows.
pub(crate) async fn bad_day(world: &World) {
    let pick = |n: u64| usize::try_from(world.entropy.below(n)).unwrap_or(0);
    let faults = match world.entropy.below(8) {
        0 => Faults {
            throttled: 100,
            ..Faults::default()
        },
        1 => Faults::throttling(),
        2..4 => Faults::stormy(),
        4..6 => {
            let outages = [
                Outage::Unreachable,
                Outage::Revoked,
                Outage::NoBucket,
                Outage::Full,
            ];
            let outage = outages[pick(4)];
            note!(world.trace, "object store: {outage:?}");
            let time = ms(world.entropy.below(4_000));
            world.blobs.begin_outage(outage, Some(time));
            return;
        }
        _ => {
            // Also for requests planned here; nothing else goes wrong.
            world.blobs.set_faults(soon_late(Faults::default()));
            for _ in 0..=world.entropy.below(4) {
                let fault = FAULTS[pick(9)];
                note!(world.trace, "object store: planned {fault:?}");
                world.blobs.plan(fault);
            }
            return;
        }
    };
    note!(world.trace, "object store: {faults:?}");
    world.blobs.set_faults(soon_late(faults));
    world.sleep_below(ms(4_000)).await;
    world.blobs.set_faults(soon_late(Faults::default()));
}
