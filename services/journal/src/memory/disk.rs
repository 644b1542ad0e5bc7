//! What a [`super::MemoryReplica`] stores, and the requests' effects on it.

use std::collections::{BTreeMap, VecDeque};

use tidemark_types::{Epoch, Lsn, ShardId};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{Faults, Flaw};
use crate::{
    Append, Appended, DiskUse, ExtentId, ExtentInfo, Fence, Fenced, Frame, Inventory, OpenExtent,
    Probe, Probed, ReadFrames, Release, ReplicaError,
};

type Answer = Result<Appended, ReplicaError>;

struct Queued {
    due: Instant,
    /// `None`: lost on its way.
    request: Option<Append>,
    answer: oneshot::Sender<Answer>,
}

struct Stored {
    first: Lsn,
    epoch: Epoch,
    frames: BTreeMap<Lsn, Frame>,
    end: Lsn,
    damaged: Option<(Lsn, bool)>,
}

pub(super) struct Disk {
    pub(super) faults: Faults,
    pub(super) flaw: Option<Flaw>,
    pub(super) reachable: bool,
    pub(super) full: bool,
    pub(super) paused: bool,
    pub(super) disk_use: Option<DiskUse>,
    fences: BTreeMap<ShardId, Epoch>,
    extents: BTreeMap<ExtentId, Stored>,
    queue: VecDeque<Queued>,
}

impl Default for Disk {
    fn default() -> Self {
        Self {
            faults: Faults::default(),
            flaw: None,
            reachable: true,
            full: false,
            paused: false,
            disk_use: None,
            fences: BTreeMap::new(),
            extents: BTreeMap::new(),
            queue: VecDeque::new(),
        }
    }
}

impl Disk {
    fn has(&self, flaw: Flaw) -> bool {
        self.flaw == Some(flaw)
    }

    pub(super) fn fence_of(&self, shard: ShardId) -> Epoch {
        self.fences.get(&shard).copied().unwrap_or_default()
    }

    pub(super) fn frames(&self, extent: ExtentId) -> Vec<Frame> {
        let stored = self.extents.get(&extent);
        stored.map_or_else(Vec::new, |s| s.frames.values().cloned().collect())
    }

    /// Enqueues an append; it takes effect at `due`, never before one enqueued earlier.
    pub(super) fn enqueue(
        &mut self,
        due: Instant,
        request: Option<Append>,
    ) -> (Instant, oneshot::Receiver<Answer>) {
        let due = self.queue.back().map_or(due, |last| last.due.max(due));
        let (answer, answered) = oneshot::channel();
        self.queue.push_back(Queued {
            due,
            request,
            answer,
        });
        (due, answered)
    }

    /// Applies the appends that are due.
    pub(super) fn settle(&mut self, now: Instant) {
        while !self.paused && self.queue.front().is_some_and(|q| q.due <= now) {
            let Some(queued) = self.queue.pop_front() else {
                return;
            };
            if let Some(request) = queued.request {
                let answer = self.append(&request);
                let _ = queued.answer.send(answer);
            }
        }
    }

    pub(super) fn crash(&mut self) {
        self.queue.clear();
        self.paused = false;
        if self.has(Flaw::VolatileFence) || self.has(Flaw::RejoinWiped) {
            self.fences.clear();
        }
        if self.has(Flaw::RejoinWiped) {
            self.extents.clear();
        }
        if self.has(Flaw::VolatileEntry) {
            for stored in self.extents.values_mut() {
                stored.end = Lsn(stored.end.0.saturating_sub(2)).max(stored.first);
                let end = stored.end;
                stored.frames.retain(|lsn, _| *lsn < end);
            }
        }
    }

    pub(super) fn damage(&mut self, extent: ExtentId, from: Lsn, noticed: bool) {
        if let Some(stored) = self.extents.get_mut(&extent) {
            stored.damaged = Some((from, noticed));
        }
    }

    pub(super) fn open(&mut self, request: OpenExtent) -> Result<(), ReplicaError> {
        self.check_fence(request.extent.shard, request.epoch, "open extent")?;
        match self.extents.get(&request.extent) {
            None => {
                let stored = Stored::new(request.first_lsn, request.epoch);
                self.extents.insert(request.extent, stored);
                Ok(())
            }
            Some(s) if s.epoch == request.epoch && s.first == request.first_lsn => Ok(()),
            Some(_) => Err(ReplicaError::BadFrame {
                extent: request.extent,
                why: "opened before under another epoch".to_owned(),
            }),
        }
    }

    fn append(&mut self, request: &Append) -> Answer {
        self.check_fence(request.extent.shard, request.epoch, "append")?;
        if self.full {
            return Err(ReplicaError::Full(request.extent));
        }
        if self.has(Flaw::AppendCreates)
            && let Some(first) = request.frames.first()
        {
            let stored = || Stored::new(first.lsn, request.epoch);
            self.extents.entry(request.extent).or_insert_with(stored);
        }
        let gaps_allowed = self.has(Flaw::AckBeforePrefix);
        let Some(stored) = self.extents.get_mut(&request.extent) else {
            return Err(ReplicaError::NoSuchExtent(request.extent));
        };
        for frame in &request.frames {
            stored.append(request.extent, frame, gaps_allowed)?;
        }
        Ok(Appended {
            epoch: request.epoch,
            end: stored.end,
        })
    }

    fn check_fence(
        &self,
        shard: ShardId,
        epoch: Epoch,
        what: &'static str,
    ) -> Result<(), ReplicaError> {
        let fence = self.fence_of(shard);
        if epoch < fence {
            return Err(ReplicaError::Fenced { what, fence });
        }
        Ok(())
    }

    pub(super) fn fence(&mut self, request: Fence) -> Result<Fenced, ReplicaError> {
        self.check_fence(request.extent.shard, request.epoch, "fence")?;
        if !self.has(Flaw::UnfencedReply) {
            self.fences.insert(request.extent.shard, request.epoch);
        }
        let stored = self.extents.get(&request.extent);
        Ok(Fenced {
            epoch: request.epoch,
            inventory: stored.map_or(Inventory::Absent, Stored::inventory),
        })
    }

    pub(super) fn probe(&self, request: Probe) -> Probed {
        Probed {
            fence: self.fence_of(request.extent.shard),
            end: self.extents.get(&request.extent).map(|s| s.end),
        }
    }

    pub(super) fn read(&self, request: ReadFrames) -> Result<Vec<Frame>, ReplicaError> {
        let Some(stored) = self.extents.get(&request.extent) else {
            return Err(ReplicaError::NoSuchExtent(request.extent));
        };
        if let Some((from, _)) = stored.damaged.filter(|(from, _)| request.from >= *from) {
            return Err(ReplicaError::Damaged {
                extent: request.extent,
                from,
                why: "damaged by the test".to_owned(),
            });
        }
        let end = stored
            .damaged
            .map_or(request.end, |(from, _)| request.end.min(from));
        let mut bytes = 0;
        let frames = stored.frames.range(request.from..end.max(request.from));
        let fitting = frames.take_while(|(_, frame)| {
            let fits = bytes == 0 || bytes + frame.encoded_len() <= request.bytes_max;
            bytes += frame.encoded_len();
            fits
        });
        Ok(fitting.map(|(_, frame)| frame.clone()).collect())
    }

    pub(super) fn release(&mut self, request: Release) -> Result<(), ReplicaError> {
        self.check_fence(request.extent.shard, request.epoch, "release extent")?;
        self.extents.remove(&request.extent);
        if self.has(Flaw::FenceDiesWithExtent) {
            self.fences.remove(&request.extent.shard);
        }
        Ok(())
    }

    pub(super) fn extents(&self) -> Vec<ExtentInfo> {
        let infos = self.extents.iter().map(|(extent, stored)| ExtentInfo {
            extent: *extent,
            inventory: stored.inventory(),
            bytes: stored.frames.values().map(|f| f.encoded_len() as u64).sum(),
        });
        infos.collect()
    }
}

impl Stored {
    fn new(first: Lsn, epoch: Epoch) -> Self {
        Self {
            first,
            epoch,
            frames: BTreeMap::new(),
            end: first,
            damaged: None,
        }
    }

    fn inventory(&self) -> Inventory {
        match self.damaged {
            Some((from, true)) => Inventory::Limbo {
                from,
                why: "damaged by the test".to_owned(),
            },
            _ => Inventory::Held {
                first: self.first,
                end: self.end,
            },
        }
    }

    fn append(
        &mut self,
        extent: ExtentId,
        frame: &Frame,
        gaps_allowed: bool,
    ) -> Result<(), ReplicaError> {
        let last_crc = self.frames.last_key_value().map_or(0, |(_, f)| f.crc);
        let in_order = frame.lsn == self.end && frame.prev_crc == last_crc;
        if frame.extent != extent || !(in_order || gaps_allowed) {
            return Err(ReplicaError::Gap {
                extent,
                got: frame.lsn,
                expected: self.end,
            });
        }
        self.end = self.end.max(frame.lsn.next());
        self.frames.insert(frame.lsn, frame.clone());
        Ok(())
    }
}
