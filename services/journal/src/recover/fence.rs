//! Fencing all replicas at once and keeping their final inventories.

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use std::time::Duration;
use tidemark_runtime::Backoff;
use tidemark_types::Lsn;

use super::{Damage, RecoverError, Recovery, vouched_end};
use crate::{Fence, Inventory, ReplicaError};

type Answer = (usize, Result<Inventory, ReplicaError>);

/// The fences on their way, and the replies that are in.
pub(super) struct Fencing<'a> {
    asked: FuturesUnordered<BoxFuture<'a, Answer>>,
    pub(super) replies: Replies<'a>,
}

/// The replies of one epoch, by the replica's place in the set. A reply is fixed once it is in (J3).
pub(super) struct Replies<'a> {
    ctx: &'a Recovery<'a>,
    inventories: Vec<Option<Inventory>>,
    last: Option<ReplicaError>,
}

impl<'a> Fencing<'a> {
    pub(super) fn start(ctx: &'a Recovery<'a>) -> Self {
        let replicas = 0..ctx.extent.replicas.nodes().len();
        let asked = replicas.clone().map(|i| {
            let answer: BoxFuture<'a, Answer> = Box::pin(fence_one(ctx, i));
            answer
        });
        Self {
            asked: asked.collect(),
            replies: Replies {
                ctx,
                inventories: replicas.map(|_| None).collect(),
                last: None,
            },
        }
    }

    /// Takes the next reply in. `false`: every replica has answered or given up.
    pub(super) async fn next(&mut self) -> Result<bool, RecoverError> {
        match self.asked.next().await {
            None => Ok(false),
            Some((i, Ok(inventory))) => {
                self.replies.inventories[i] = Some(inventory);
                Ok(true)
            }
            Some((_, Err(ReplicaError::Fenced { fence, .. }))) => Err(RecoverError::Fenced {
                extent: self.replies.ctx.extent.id,
                fence,
            }),
            Some((_, Err(error))) => {
                self.replies.last = Some(error);
                Ok(true)
            }
        }
    }

    /// Waits until `needed` replicas vouch. Only a fenced reply counts; a LIMBO one never does (J5).
    pub(super) async fn wait_vouching(&mut self, needed: usize) -> Result<(), RecoverError> {
        let all = self.replies.inventories.len();
        while self.replies.vouching() < needed {
            let damage = self.replies.damage();
            if all - damage.len() < needed {
                let extent = self.replies.ctx.extent.id;
                return Err(RecoverError::Limbo { extent, damage });
            }
            if !self.next().await? {
                let replies = &self.replies;
                let last = replies.last_failure();
                return Err(replies.ctx.too_few(needed, replies.vouching(), last));
            }
        }
        Ok(())
    }
}

impl Replies<'_> {
    /// The end each replica vouches for.
    pub(super) fn ends(&self) -> impl Iterator<Item = (usize, Lsn)> {
        let first = self.ctx.extent.first;
        let replies = self.inventories.iter().enumerate();
        replies.filter_map(move |(i, reply)| Some((i, vouched_end(first, reply.as_ref()?)?)))
    }

    pub(super) fn inventories(&self) -> &[Option<Inventory>] {
        &self.inventories
    }

    pub(super) fn vouching(&self) -> usize {
        self.ends().count()
    }

    pub(super) fn last_failure(&self) -> Option<ReplicaError> {
        self.last.clone()
    }

    /// The n-th highest end vouched for, counted from 1; the extent's first LSN when there are fewer.
    pub(super) fn nth_highest(&self, n: usize) -> Lsn {
        let mut ends: Vec<Lsn> = self.ends().map(|(_, end)| end).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(n - 1).copied().unwrap_or(self.ctx.extent.first)
    }

    /// What the replicas in LIMBO said.
    pub(super) fn damage(&self) -> Vec<Damage> {
        let nodes = self.ctx.extent.replicas.nodes();
        let limbo = self
            .inventories
            .iter()
            .zip(nodes)
            .filter_map(|(reply, node)| {
                let Some(Inventory::Limbo { from, why }) = reply else {
                    return None;
                };
                Some(Damage {
                    node: *node,
                    from: *from,
                    why: why.clone(),
                })
            });
        limbo.collect()
    }
}

const RETRY_BASE: Duration = Duration::from_millis(10);
const RETRY_CAP: Duration = Duration::from_millis(500);
const RETRIES: u32 = 1000;

/// Fences one replica, again and again until it answers or the recovery's deadline has passed.
async fn fence_one(ctx: &Recovery<'_>, replica: usize) -> Answer {
    let mut backoff = Backoff::new(RETRY_BASE, RETRY_CAP, RETRIES);
    loop {
        let error = match fence_once(ctx, replica).await {
            Err(error) if !matches!(error, ReplicaError::Fenced { .. }) => error,
            decided => return (replica, decided),
        };
        let late = ctx.clock.now() >= ctx.give_up;
        if late || !backoff.wait(ctx.clock, ctx.entropy).await {
            return (replica, Err(error));
        }
    }
}

pub(super) async fn fence_once(
    ctx: &Recovery<'_>,
    replica: usize,
) -> Result<Inventory, ReplicaError> {
    let node = ctx.extent.replicas.nodes()[replica];
    let Some(handle) = ctx.nodes.get(node) else {
        return Err(ReplicaError::Unreachable(format!(
            "log node {node} is not known here"
        )));
    };
    let request = Fence {
        extent: ctx.extent.id,
        epoch: ctx.epoch,
    };
    match tokio::time::timeout(ctx.options.call_timeout, handle.fence(request)).await {
        Ok(Ok(reply)) if reply.epoch == ctx.epoch => Ok(reply.inventory),
        Ok(Ok(reply)) => {
            let why = format!("answered a fence of epoch {}", reply.epoch);
            Err(ReplicaError::Unreachable(why))
        }
        Ok(Err(error)) => Err(error),
        Err(_) => {
            let why = format!("no answer within {:?}", ctx.options.call_timeout);
            Err(ReplicaError::Unreachable(why))
        }
    }
}
