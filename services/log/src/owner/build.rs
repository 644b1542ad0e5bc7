//! Sequencing: from a submitted append to a frame on its way.

use std::sync::Arc;

use tidemark_journal::{FrameBody, FrameKind, Part};
use tidemark_records::PREFIX_BYTES;
use tidemark_types::{LeaderEpoch, Lsn, TopicId, limits};

use super::{Owner, PIPELINE_FRAMES_MAX};
use crate::Mutation;
use crate::append::{AppendAck, AppendError};
use crate::backing::Memory;
use crate::head::{BatchEntry, Entry, Head};
use crate::room::Reserved;
use crate::sequence::{Decision, Flight, Ticket, Want, decide};
use crate::shard::{Reply, Submitted};
use crate::state::PartitionState;
use tidemark_types::PartitionId;

/// Who waits for a frame's commit, and what they are told then.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) reply: Reply,
    pub(super) partition: PartitionId,
    pub(super) outcome: Result<AppendAck, AppendError>,
    pub(super) _reserved: Reserved,
}

/// The frame being built.
#[derive(Debug, Default)]
pub(super) struct Building {
    pub(super) head: Head,
    pub(super) parts: Vec<Part>,
    /// What each part is a slice of.
    pub(super) memory: Vec<Option<Arc<Memory>>>,
    pub(super) bytes: usize,
    pub(super) waiters: Vec<Waiter>,
}

impl Building {
    pub(super) fn is_empty(&self) -> bool {
        self.head.entries.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes >= limits::FRAME_PAYLOAD_BYTES_TARGET
            || self.head.entries.len() >= limits::FRAME_BATCHES_MAX
    }
}

/// A frame in flight.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) ticket: Ticket,
    pub(super) lsn: Lsn,
    pub(super) head: Head,
    pub(super) parts: Vec<Part>,
    pub(super) memory: Vec<Option<Arc<Memory>>>,
    pub(super) waiters: Vec<Waiter>,
}

impl Owner {
    /// Decides about an append and, if it is to be appended, puts it into the frame being built.
    pub(super) fn submit(&mut self, submitted: Submitted) {
        let Submitted {
            partition,
            leader_epoch_base,
            batch,
            producer,
            key,
            expected_offset,
            reply,
            reserved,
            memory,
        } = submitted;
        if self.forgotten.contains(partition.topic) {
            let _ = reply.send(Err(AppendError::NoSuchPartition));
            return;
        }
        if let Some(why) = &self.stuck {
            let (shard, why) = (self.shard.id, why.clone());
            let _ = reply.send(Err(AppendError::Storage { shard, why }));
            return;
        }
        // DESIGN section 3: an extent that cannot roll has an end too.
        if self.data_bytes >= self.env.config.extent_bytes_max {
            let _ = reply.send(Err(AppendError::ExtentFull(self.shard.id)));
            return;
        }
        let header = *batch.header();
        let leader_epoch = leader_epoch(leader_epoch_base, self.ownership.epoch.0);
        let want = Want {
            offsets: header.last_offset_delta + 1,
            producer,
            key,
            expected_offset,
        };
        let empty = PartitionState::default();
        let state = self.state.partitions.get(&partition).unwrap_or(&empty);
        let decision = decide(state, self.flights.get(&partition), &want);
        let ack = |base_offset, log_append_time_ms, duplicate| AppendAck {
            base_offset,
            log_append_time_ms,
            log_start: state.log_start,
            leader_epoch,
            duplicate,
        };
        let (outcome, wait) = match decision {
            Decision::Append(base_offset) => {
                let entry = BatchEntry {
                    partition,
                    base_offset,
                    leader_epoch,
                    offsets: want.offsets,
                    max_timestamp: header.max_timestamp,
                    log_time: header.attributes.timestamp_type()
                        == tidemark_records::TimestampType::LogAppendTime,
                    producer: want.producer,
                    key: want.key,
                };
                let outcome = Ok(ack(base_offset, entry.log_append_time_ms(), false));
                self.add_batch(entry, batch.into_bytes(), header.crc, memory);
                (outcome, Some(self.next_ticket))
            }
            Decision::Duplicate {
                base_offset,
                log_append_time_ms,
                wait,
            } => {
                let early = self.env.config.breaks(Mutation::DedupBeforeData);
                let wait = wait.filter(|_| !early);
                (Ok(ack(base_offset, log_append_time_ms, true)), wait)
            }
            Decision::Refuse(error, wait) => (Err(error), wait),
        };
        let waiter = Waiter {
            reply,
            partition,
            outcome,
            _reserved: reserved,
        };
        self.answer_after(wait, waiter);
    }

    fn add_batch(
        &mut self,
        entry: BatchEntry,
        bytes: bytes::Bytes,
        crc: u32,
        memory: Option<Arc<Memory>>,
    ) {
        let now_ms = self.now_ms();
        let ticket = self.next_ticket;
        let partition = entry.partition;
        self.bound_producers(&entry);
        // J12: the committed state does not learn of the partition before its first batch commits.
        let empty = PartitionState::default();
        let state = self.state.partitions.get(&partition).unwrap_or(&empty);
        self.flights
            .entry(partition)
            .or_insert_with(|| Flight::new(state))
            .sequence(state, &entry, now_ms, ticket);
        self.building.bytes += bytes.len();
        self.building.head.entries.push(Entry::Batch(entry));
        self.building.memory.push(memory);
        self.building.parts.push(Part {
            bytes,
            skip: u32::try_from(PREFIX_BYTES).expect("21"),
            crc,
        });
    }

    /// Time of the frame being built: wall time that never goes down within the shard.
    pub(super) fn now_ms(&mut self) -> i64 {
        if self.building.is_empty() {
            self.last_ms = self.last_ms.max(self.env.clock.wall_ms());
            self.building.head.appended_ms = self.last_ms;
        }
        self.last_ms
    }

    /// Puts a waiter where its answer becomes true: at once, or with the commit of the frame it depends on.
    fn answer_after(&mut self, wait: Option<Ticket>, waiter: Waiter) {
        let oldest = self.pending.front().map_or(self.next_ticket, |p| p.ticket);
        match wait {
            Some(ticket) if ticket == self.next_ticket => self.building.waiters.push(waiter),
            Some(ticket) if ticket >= oldest => {
                let at = usize::try_from(ticket - oldest).expect("bounded by the pipeline");
                self.pending[at].waiters.push(waiter);
            }
            _ => {
                let _ = waiter.reply.send(waiter.outcome);
            }
        }
    }

    /// The topic was deleted: its state goes, in order with everything else (K4).
    pub(super) fn sequence_forget(&mut self, topic: TopicId) {
        let known = self.state.partitions.keys().any(|id| id.topic == topic)
            || self.flights.keys().any(|id| id.topic == topic);
        if known && self.forgotten.insert(topic) {
            self.now_ms();
            self.building.head.entries.push(Entry::Forget(topic));
        }
    }

    /// Sends the frame being built once the pipeline has room, or at once when it is full.
    /// Whether a frame was sent.
    pub(super) fn flush(&mut self) -> bool {
        if self.building.is_empty()
            || (self.pending.len() >= PIPELINE_FRAMES_MAX && !self.building.is_full())
        {
            return false;
        }
        let body = data_frame(&self.building.head, &self.building.parts);
        // A refusal is kept and tried again: with room once the committed end moves, or with the next writer.
        let Ok(lsn) = self.writer.append(body) else {
            return false;
        };
        let built = std::mem::take(&mut self.building);
        self.pending.push_back(Pending {
            ticket: self.next_ticket,
            lsn,
            head: built.head,
            parts: built.parts,
            memory: built.memory,
            waiters: built.waiters,
        });
        self.next_ticket += 1;
        self.count_data_bytes();
        true
    }
}

/// A frame in flight is made again from the same head and parts, byte for byte, for the next extent (J13).
pub(super) fn data_frame(head: &Head, parts: &[Part]) -> FrameBody {
    FrameBody {
        kind: FrameKind::Data,
        head: head.encode(),
        parts: parts.to_vec(),
    }
}

/// K6: a partition's leader epoch is its base plus its shard's epoch, within Kafka's `i32`.
pub(crate) fn leader_epoch(base: i32, epoch: u64) -> LeaderEpoch {
    let epoch = i64::try_from(epoch).unwrap_or(i64::MAX);
    let sum = epoch.saturating_add(i64::from(base));
    LeaderEpoch(i32::try_from(sum).unwrap_or(if sum < 0 { 0 } else { i32::MAX }))
}
