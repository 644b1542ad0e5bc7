//! The life of a shard in this process: take, serve, lose, take again; and the watch over deleted topics.

use std::sync::Arc;
use std::time::Duration;

use tidemark_lease::TakeError;
use tidemark_runtime::{Backoff, FastSet};
use tidemark_topics::Topics;
use tidemark_types::TopicId;
use tokio::sync::Notify;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use crate::env::Env;
use crate::owner::{Ended, Inbox, TakeoverError, take_over};
use crate::shard::{Control, Shard};
use crate::status::ShardState;

/// How often every topic with state is looked up, in case its deletion was missed.
const AUDIT_PERIOD: Duration = Duration::from_secs(60 * 60);

/// An ownership this long was a success: the next takeover is tried at once again.
const STEADY: Duration = Duration::from_secs(30);

/// Runs one shard until the process stops.
pub(crate) async fn run(
    env: Arc<Env>,
    shard: Arc<Shard>,
    mut inbox: Inbox,
    audit: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut backoff = retries();
    loop {
        let taken = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            taken = take_over(&env, &shard) => taken,
        };
        match taken {
            Ok(owner) => {
                audit.notify_one();
                let began = env.clock.now();
                match owner.run(&mut inbox, &stop).await {
                    Ended::Stopped => break,
                    Ended::Lost(why) => {
                        tracing::info!(shard = %shard.id, "take shard again: {why}");
                        // An ownership that ended at once is no reason for haste: its cause, a full disk, is still there.
                        if env.clock.now().duration_since(began) >= STEADY {
                            backoff = retries();
                        }
                    }
                }
            }
            Err(TakeoverError::Take(TakeError::Superseded { node, .. })) => {
                tracing::warn!(shard = %shard.id, "stop: node {node} was started again elsewhere");
                break;
            }
            Err(error) => {
                if !stay_out(&shard, &mut inbox, &stop, &error).await {
                    break;
                }
            }
        }
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            _ = backoff.wait(&env.clock, &env.entropy) => {}
        }
    }
    shard.unserve(ShardState::Stopped);
    inbox.refuse_all(&shard);
}

const fn retries() -> Backoff {
    Backoff::new(Duration::from_millis(20), Duration::from_secs(5), u32::MAX)
}

/// Shows why the shard is not served. A damaged one waits for its operator. `false`: the process stops.
async fn stay_out(
    shard: &Shard,
    inbox: &mut Inbox,
    stop: &CancellationToken,
    error: &TakeoverError,
) -> bool {
    inbox.refuse_all(shard);
    let why = error.to_string();
    if !is_damage(error) {
        tracing::info!(shard = %shard.id, "{why}");
        shard.unserve(ShardState::Recovering { why });
        return true;
    }
    // J5, J10: nothing that waiting would mend.
    tracing::error!(shard = %shard.id, "shard stays closed: {why}");
    shard.unserve(ShardState::Closed { why });
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return false,
            control = inbox.control.recv() => match control {
                Some(Control::Reopen) => return true,
                Some(Control::Forget(_)) => {}
                None => return false,
            },
            Some(late) = inbox.queue.recv() => {
                let _ = late.reply.send(Err(crate::AppendError::NotLeader(shard.id)));
            }
        }
    }
}

const fn is_damage(error: &TakeoverError) -> bool {
    use tidemark_journal::ReadError::Damaged;
    if let TakeoverError::Rebuild(error) = error {
        return error.is_damage();
    }
    matches!(
        error,
        TakeoverError::Take(TakeError::Limbo { .. } | TakeError::Read(Damaged { .. }))
            | TakeoverError::Read(Damaged { .. })
            | TakeoverError::Decode(_)
            | TakeoverError::NoCheckpoint(_)
    )
}

/// Tells the shards which topics are gone: as they go, and by an audit after every takeover and every hour.
pub(crate) async fn watch_deleted(
    topics: Topics,
    shards: Vec<Arc<Shard>>,
    audit: Arc<Notify>,
    stop: CancellationToken,
) {
    let mut deleted = topics.subscribe_deleted();
    let mut hourly = tokio::time::interval(AUDIT_PERIOD);
    hourly.tick().await;
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => return,
            gone = deleted.recv() => match gone {
                Ok(topic) => forget(&shards, topic).await,
                Err(RecvError::Lagged(_)) => audit.notify_one(),
                Err(RecvError::Closed) => return,
            },
            () = audit.notified() => look_up_all(&topics, &shards).await,
            _ = hourly.tick() => look_up_all(&topics, &shards).await,
        }
    }
}

async fn forget(shards: &[Arc<Shard>], topic: TopicId) {
    for shard in shards {
        // A full control queue means an owner that is busy for seconds; the audit catches up.
        let _ = shard.control.try_send(Control::Forget(topic));
    }
}

async fn look_up_all(topics: &Topics, shards: &[Arc<Shard>]) {
    let mut seen = FastSet::default();
    for shard in shards {
        let mut ids: Vec<TopicId> = shard.views.read().keys().map(|id| id.topic).collect();
        ids.sort_unstable();
        ids.dedup();
        for id in ids.into_iter().filter(|id| seen.insert(*id)) {
            if matches!(topics.get(id).await, Ok(None)) {
                forget(shards, id).await;
            }
        }
    }
}
