//! Gives tiered extents up on the log nodes while their disks are too full, oldest first.

use std::sync::Arc;
use std::time::Duration;

use tidemark_types::{ExtentIdx, Ownership};
use tokio_util::sync::CancellationToken;

use super::Tier;
use super::counters::add;
use super::pressure::{Level, look};
use crate::Mutation;
use crate::env::Env;
use crate::shard::Shard;

/// How often a disk that is not full is looked at.
const CALM: Duration = Duration::from_secs(1);
/// How often one that is.
const PRESSED: Duration = Duration::from_millis(200);
/// Extents given up in one step.
const STEP: usize = 8;

/// Releases one shard's extents until the process stops.
pub(crate) async fn run(
    env: Arc<Env>,
    tier: Arc<Tier>,
    shard: Arc<Shard>,
    stop: CancellationToken,
) {
    let work = async {
        let mut done = Done::default();
        loop {
            let pause = step(&env, &tier, &shard, &mut done).await;
            tokio::select! {
                biased;
                () = shard.cold.released.notified() => {}
                () = env.clock.sleep(pause) => {}
            }
        }
    };
    tokio::select! {
        biased;
        () = stop.cancelled() => {}
        () = work => {}
    }
}

/// What need not be done again.
#[derive(Default)]
struct Done {
    /// Under this ownership the log nodes hold nothing that was given up.
    swept: Option<Ownership>,
    /// Nothing that no reader knows of is left before this open extent.
    emptied: Option<ExtentIdx>,
    /// Nor an empty one.
    passed: Option<ExtentIdx>,
}

async fn step(env: &Env, tier: &Tier, shard: &Shard, done: &mut Done) -> Duration {
    let Ok(ownership) = shard.ownership() else {
        return CALM;
    };
    if done.swept != Some(ownership) {
        // What an earlier release left on the log nodes when its process died, or when they could not be reached: a full
        // disk takes no appends, so there may be no later release that would get to it.
        let all = env.leases.forget_extents(&ownership).await;
        done.swept = all.then_some(ownership);
    }
    let mut level = look(env, shard);
    while level > Level::Calm {
        let mut released = release_some(env, tier, shard, ownership, &mut done.emptied).await;
        if matches!(released, Released::Nothing) && level == Level::Full {
            released = release_empty(env, shard, ownership, &mut done.passed).await;
        }
        match released {
            Released::Nothing => break,
            Released::Some => {}
            Released::NotForgotten => {
                done.swept = None;
                break;
            }
        }
        level = look(env, shard);
    }
    if level > Level::Calm { PRESSED } else { CALM }
}

/// What a step gave up.
enum Released {
    /// Nothing may go, or it did not work just now.
    Nothing,
    Some,
    /// Some log node still holds what was given up.
    NotForgotten,
}

/// Gives up the oldest extents that may go.
async fn release_some(
    env: &Env,
    tier: &Tier,
    shard: &Shard,
    ownership: Ownership,
    emptied: &mut Option<ExtentIdx>,
) -> Released {
    let tiered = shard.cold.rows().tiered;
    let extents = shard.readables().extents;
    // The newest one is open, and what a takeover needs is never given up: the store decides that (J1, J12).
    let sealed = extents.len().saturating_sub(1);
    let untiered = env.config.breaks(Mutation::ReleaseUntiered);
    let may_go = extents[..sealed].iter();
    let may_go = may_go.take_while(|e| e.end() <= tiered || untiered);
    let count = may_go.take(STEP).count();
    let Some(kept) = extents.get(count).map(|e| e.extent.id.index) else {
        return Released::Nothing;
    };
    // What no reader knows of goes too: extents without data, such as takeovers leave that found the disk full. Behind the
    // last data there are only these, and as long as they hold space nothing is written that would let them go later.
    let only_open = sealed == 0 && tiered >= extents[0].extent.first;
    if count == 0 && (!only_open || *emptied == Some(kept)) {
        return Released::Nothing;
    }
    let Some(last) = kept.0.checked_sub(1).map(ExtentIdx) else {
        return Released::Nothing;
    };
    let first = match env.leases.release_extents(&ownership, Some(last)).await {
        Ok(first) => first,
        Err(error) => {
            tracing::debug!(shard = %shard.id, "release extents: {error}");
            return Released::Nothing;
        }
    };
    // Readers first: who still holds an older list reads again (`read::scan`).
    let gone = shard.drop_extents(|index| index < first);
    let forgotten = env.leases.forget_extents(&ownership).await;
    if only_open && first >= kept {
        *emptied = Some(kept);
    }
    add(&tier.counters.extents_released, gone);
    match gone {
        _ if !forgotten => Released::NotForgotten,
        0 => Released::Nothing,
        _ => Released::Some,
    }
}

/// Gives up what is left of checkpoints that broke off: behind the newest whole one nothing else is released, and as long as
/// they fill the disk no other is written.
async fn release_empty(
    env: &Env,
    shard: &Shard,
    ownership: Ownership,
    passed: &mut Option<ExtentIdx>,
) -> Released {
    let open = shard.open_extent().map(|open| open.extent.id.index);
    if open == *passed {
        return Released::Nothing;
    }
    let left = match env.leases.give_up_empty(&ownership).await {
        Ok(left) => left,
        Err(error) => {
            tracing::debug!(shard = %shard.id, "give up empty extents: {error}");
            return Released::Nothing;
        }
    };
    shard.drop_extents(|index| Some(index) < open && !left.contains(&index));
    if !env.leases.forget_extents(&ownership).await {
        return Released::NotForgotten;
    }
    *passed = open;
    Released::Some
}
