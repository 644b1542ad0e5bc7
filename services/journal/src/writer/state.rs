//! The writer's state machine: LSNs out, acks in, one commit point.

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};

use tidemark_runtime::{Invariant, check_invariant};
use tidemark_types::{Epoch, Lsn, NodeId};
use tokio::sync::watch;

use super::lane::Lane;
use super::{AppendRefused, Committed, RefusedWhy, WriterEnd, WriterOptions};
use crate::mutation::{Mutation, mutated};
use crate::{Append, Appended, Extent, Frame, FrameBody, FrameKind, Nodes, ReplicaError};

/// `committed ≤ min(cap, what A replicas hold) ≤ next`.
#[derive(Debug)]
pub(super) struct State {
    extent: Extent,
    epoch: Epoch,
    options: WriterOptions,
    next: Lsn,
    prev_crc: u32,
    bytes: u64,
    lanes: Vec<Lane>,
    /// Frames in `committed..next`, kept for a roll (J13).
    uncommitted: VecDeque<Frame>,
    uncommitted_bytes: usize,
    committed: Lsn,
    cap: Option<Lsn>,
    in_doubt: bool,
    ended: Option<WriterEnd>,
    seen: watch::Sender<Committed>,
    driver: Option<Waker>,
}

impl State {
    pub(super) fn new(
        extent: Extent,
        epoch: Epoch,
        nodes: &Nodes,
        (lost, why): (&[NodeId], Option<ReplicaError>),
        options: WriterOptions,
        seen: watch::Sender<Committed>,
    ) -> Self {
        let lanes = extent.replicas.nodes().iter().map(|&node| {
            let replica = nodes.get(node).filter(|_| !lost.contains(&node));
            Lane::new(node, replica, extent.first)
        });
        let mut state = Self {
            lanes: lanes.collect(),
            next: extent.first,
            committed: extent.first,
            extent,
            epoch,
            options,
            prev_crc: 0,
            bytes: 0,
            uncommitted: VecDeque::new(),
            uncommitted_bytes: 0,
            cap: None,
            in_doubt: false,
            ended: None,
            seen,
            driver: None,
        };
        if let Some(node) = state.lost().last().copied() {
            let unknown = || ReplicaError::Unreachable("not opened there".to_owned());
            state.end_when_too_few(node, why.unwrap_or_else(unknown));
        }
        state
    }

    pub(super) const fn next_lsn(&self) -> Lsn {
        self.next
    }

    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) const fn uncommitted_bytes(&self) -> usize {
        self.uncommitted_bytes
    }

    pub(super) fn lost(&self) -> Vec<NodeId> {
        let lost = self.lanes.iter().filter(|lane| lane.is_lost());
        lost.map(Lane::node).collect()
    }

    pub(super) fn append(&mut self, body: FrameBody) -> Result<Lsn, AppendRefused> {
        if let Some(why) = &self.ended {
            let why = RefusedWhy::Ended(why.clone());
            return Err(AppendRefused { body, why });
        }
        if self.uncommitted_bytes >= self.options.uncommitted_bytes_max {
            let why = RefusedWhy::Backpressure {
                in_flight_bytes: self.uncommitted_bytes,
            };
            return Err(AppendRefused { body, why });
        }
        let lsn = self.next;
        let frame = Frame::pack(self.extent.id, lsn, self.epoch, self.prev_crc, body);
        let bytes = frame.encoded_len();
        self.next = lsn.next();
        self.prev_crc = frame.crc;
        self.bytes += bytes as u64;
        self.uncommitted_bytes += bytes;
        self.send(&frame, bytes);
        self.uncommitted.push_back(frame);
        self.expect();
        Ok(lsn)
    }

    /// Has the driver woken by the first answer to come, without waking it now only to find none.
    fn expect(&mut self) {
        let Some(driver) = self.driver.clone() else {
            return;
        };
        if self.lanes.iter().any(Lane::is_fresh)
            && self.poll(&mut Context::from_waker(&driver)).is_ready()
        {
            driver.wake();
        }
    }

    fn send(&mut self, frame: &Frame, bytes: usize) {
        for i in 0..self.lanes.len() {
            if self.lanes[i].is_lost() {
                continue;
            }
            let append = Append {
                extent: self.extent.id,
                epoch: self.epoch,
                frames: vec![frame.clone()],
            };
            if !self.lanes[i].send(append, bytes, self.options.lane_bytes_max) {
                let why = ReplicaError::Unreachable("too far behind".to_owned());
                self.lose(i, why);
            }
        }
    }

    /// Collects answers until none is ready. Ready once the writer ended.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        for i in 0..self.lanes.len() {
            while let Poll::Ready(Some(answer)) = self.lanes[i].poll(cx) {
                self.answered(i, answer);
            }
        }
        self.advance();
        if self.ended.is_some() {
            return Poll::Ready(());
        }
        self.driver = Some(cx.waker().clone());
        Poll::Pending
    }

    fn answered(&mut self, lane: usize, answer: Result<Appended, ReplicaError>) {
        match answer {
            // J3: an ack of another epoch's append says nothing about this owner's frames.
            Ok(ack) if ack.epoch == self.epoch || self.breaks(Mutation::AnyEpochAck) => {
                if ack.end > self.next {
                    let why = format!("acked up to {}, only {} was sent", ack.end, self.next);
                    let extent = self.extent.id;
                    self.lose(lane, ReplicaError::BadFrame { extent, why });
                } else {
                    self.lanes[lane].raise(ack.end);
                }
            }
            Ok(ack) => {
                let why = format!("acked an append of epoch {}, not {}", ack.epoch, self.epoch);
                let extent = self.extent.id;
                self.lose(lane, ReplicaError::BadFrame { extent, why });
            }
            Err(ReplicaError::Fenced { fence, .. }) if fence > self.epoch => {
                self.end(WriterEnd::Fenced { fence });
            }
            Err(error) => self.lose(lane, error),
        }
    }

    fn lose(&mut self, lane: usize, error: ReplicaError) {
        let node = self.lanes[lane].node();
        if self.ended.is_none() {
            tracing::warn!(extent = %self.extent.id, %node, %error, "replica lost for this extent");
        }
        self.lanes[lane].lose();
        self.end_when_too_few(node, error);
    }

    fn end_when_too_few(&mut self, node: NodeId, error: ReplicaError) {
        let left = self.lanes.iter().filter(|lane| !lane.is_lost()).count();
        if left >= self.extent.replicas.ack_quorum() {
            return;
        }
        // What was durable before the loss still counts.
        self.advance();
        self.end(match error {
            ReplicaError::Full(_) => WriterEnd::Full { node },
            error => WriterEnd::Storage {
                node,
                error: Box::new(error),
            },
        });
    }

    /// Moves the commit point to what A replicas hold, never past the cap (J2).
    fn advance(&mut self) {
        if self.ended.is_some() {
            return;
        }
        let quorum = if self.breaks(Mutation::AckQuorumOne) {
            1
        } else {
            self.extent.replicas.ack_quorum()
        };
        let mut ends: Vec<Lsn> = self.lanes.iter().map(Lane::durable_end).collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let held = ends[quorum - 1];
        let cap = self.cap.filter(|_| !self.breaks(Mutation::AckDuringRoll));
        let end = cap.map_or(held, |cap| held.min(cap));
        if end <= self.committed {
            return;
        }
        check_invariant!(
            Invariant::SealCoversCommits,
            end <= self.next,
            "{} commits {end}, only {} was sequenced",
            self.extent.id,
            self.next
        );
        self.committed = end;
        while let Some(frame) = self.uncommitted.pop_front_if(|frame| frame.lsn < end) {
            self.uncommitted_bytes -= frame.encoded_len();
        }
        self.publish();
    }

    pub(super) fn freeze(&mut self) -> Lsn {
        *self.cap.get_or_insert(self.committed)
    }

    pub(super) const fn doubt(&mut self) -> bool {
        std::mem::replace(&mut self.in_doubt, true)
    }

    pub(super) fn thaw(&mut self) {
        self.cap = None;
        self.in_doubt = false;
        self.advance();
    }

    pub(super) fn end(&mut self, why: WriterEnd) {
        if self.ended.is_none() {
            self.ended = Some(why);
            self.publish();
            self.wake();
        }
    }

    pub(super) fn retire(&mut self) -> Vec<(Lsn, FrameBody)> {
        self.end(WriterEnd::Retired);
        self.uncommitted_bytes = 0;
        self.uncommitted
            .drain(..)
            .filter(|frame| frame.body.kind == FrameKind::Data)
            .map(|frame| (frame.lsn, frame.body))
            .collect()
    }

    fn publish(&self) {
        self.seen.send_replace(Committed {
            end: self.committed,
            ended: self.ended.clone(),
        });
    }

    fn wake(&self) {
        if let Some(driver) = &self.driver {
            driver.wake_by_ref();
        }
    }

    fn breaks(&self, which: Mutation) -> bool {
        mutated(self.options.mutation, which)
    }
}
