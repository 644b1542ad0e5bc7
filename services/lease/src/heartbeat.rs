//! This process's registration and heartbeat, and what it sees of the others' meanwhile.

use tidemark_meta::keys::Counter;
use tidemark_meta::keys::node::{HeartbeatKey, NodeKey, NodeRow};
use tidemark_meta::{MetaError, MetaStore, Mode, keys, transact};
use tidemark_runtime::{Clock, Entropy};
use tidemark_types::{Incarnation, NodeId};

use crate::leases::{Inner, Leases};
use crate::{NotOwner, OwnerError};

/// Nodes read per heartbeat at the most.
const NODES_MAX: usize = 10_000;

/// See [`Leases::register`]. An unknown outcome only skips an incarnation.
pub(crate) async fn register(
    store: &dyn MetaStore,
    clock: &Clock,
    entropy: &Entropy,
    node: NodeId,
) -> Result<Incarnation, OwnerError> {
    let registered = transact::<_, NotOwner>(store, clock, entropy, |tx| {
        Box::pin(async move {
            let row = keys::get(tx, &NodeKey(node), Mode::Serializable).await?;
            let before = row.map_or(0, |row| row.incarnation.0);
            let row = NodeRow {
                incarnation: Incarnation(before + 1),
                draining: false,
            };
            keys::put(tx, &NodeKey(node), &row);
            tx.atomic_add(&keys::Key::encode(&HeartbeatKey(node)), 1);
            Ok(row.incarnation)
        })
    })
    .await?;
    Ok(registered.0)
}

/// Announces that this process hands its shards over, or takes that back.
pub(crate) async fn set_draining(inner: &Inner, draining: bool) -> Result<(), OwnerError> {
    let (node, incarnation) = (inner.node, inner.incarnation);
    transact::<_, NotOwner>(
        inner.store.as_ref(),
        &inner.clock,
        &inner.entropy,
        move |tx| {
            Box::pin(async move {
                keys::put(
                    tx,
                    &NodeKey(node),
                    &NodeRow {
                        incarnation,
                        draining,
                    },
                );
                Ok(())
            })
        },
    )
    .await?;
    Ok(())
}

/// Beats until the tasks stop or a newer incarnation of this node is registered.
pub(crate) async fn run(leases: Leases) {
    let inner = &leases.0;
    loop {
        tokio::select! {
            biased;
            () = inner.tasks.stopping() => return,
            () = inner.clock.sleep(inner.config.heartbeat) => {}
        }
        match beat(inner).await {
            Ok(true) => {}
            Ok(false) => {
                tracing::error!(node = %inner.node, "a newer incarnation of this node runs");
                return;
            }
            // Not credited (B1); the next one is due in a moment.
            Err(error) => tracing::warn!(%error, "heartbeat failed"),
        }
    }
}

/// One heartbeat. `false`: this incarnation is not the node's newest.
pub(crate) async fn beat(inner: &Inner) -> Result<bool, MetaError> {
    let mut tx = inner.store.begin();
    let me = keys::get(tx.as_mut(), &NodeKey(inner.node), Mode::Serializable).await?;
    if me.is_some_and(|row| row.incarnation > inner.incarnation) {
        return Ok(false);
    }
    let all = <HeartbeatKey as keys::Key>::all();
    let counters: Vec<(HeartbeatKey, Counter)> =
        keys::scan(tx.as_mut(), all, NODES_MAX, Mode::Snapshot).await?;
    tx.atomic_add(&keys::Key::encode(&HeartbeatKey(inner.node)), 1);
    tx.commit().await?;
    inner.note_commit();
    let others = counters
        .into_iter()
        .filter(|(key, _)| key.0 != inner.node)
        .map(|(key, counter)| (key.0, counter.0));
    inner.observer.lock().beat(&others.collect::<Vec<_>>());
    Ok(true)
}
