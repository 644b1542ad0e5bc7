//! A log node as the world knows it: one handle across its restarts, which records what it answered.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tidemark_journal::{
    Append, Appended, DiskUse, ExtentId, ExtentInfo, Fence, Fenced, Frame, FrameBody, FrameKind,
    OpenExtent, Probe, Probed, ReadFrames, Release, Replica, ReplicaError,
};
use tidemark_lognode::LogNode;
use tidemark_runtime::Entropy;
use tidemark_types::{Epoch, NodeId, ShardId};

use crate::broken::Flaw;
use crate::facts::Facts;
use crate::life::Life;

/// See the module's documentation.
pub(crate) struct Tap {
    id: NodeId,
    facts: Facts,
    entropy: Entropy,
    flaw: Option<Flaw>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    running: Option<(Arc<LogNode>, Life)>,
    /// Where a flawed node keeps its fences.
    fences: BTreeMap<ShardId, Epoch>,
    last_body: Option<FrameBody>,
    /// The machine goes down as soon as it has answered a fence.
    falls_after_fence: bool,
    /// The machine goes down in the middle of the next checkpoint.
    falls_in_checkpoint: bool,
}

impl std::fmt::Debug for Tap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tap({})", self.id)
    }
}

impl Tap {
    pub(crate) fn new(id: NodeId, facts: &Facts, entropy: &Entropy, flaw: Option<Flaw>) -> Self {
        Self {
            id,
            facts: facts.clone(),
            entropy: entropy.clone(),
            flaw,
            state: Mutex::default(),
        }
    }

    /// The node was started (again) and answers from here on.
    pub(crate) fn attach(&self, node: Arc<LogNode>, life: Life) {
        let mut state = self.state.lock();
        state.running = Some((node, life));
        if self.flaw == Some(Flaw::VolatileFence) {
            state.fences.clear();
        }
    }

    /// The machine is to go down right behind its answer to the next fence.
    pub(crate) fn fall_after_fence(&self) {
        self.state.lock().falls_after_fence = true;
    }

    /// The machine is to go down once it holds the beginning of a checkpoint.
    pub(crate) fn fall_in_checkpoint(&self) {
        self.state.lock().falls_in_checkpoint = true;
    }

    /// Whether the planned fall has come: then only the beginning of the checkpoint gets there.
    fn falls_here(&self, request: &mut Append) -> bool {
        let mut state = self.state.lock();
        let end = |f: &Frame| f.body.kind != FrameKind::Checkpoint;
        let pieces = request.frames.iter().position(end);
        let pieces = pieces.unwrap_or(request.frames.len());
        let falls = state.falls_in_checkpoint && pieces > 0;
        if falls {
            state.falls_in_checkpoint = false;
            request.frames.truncate(pieces.div_ceil(2));
        }
        falls
    }

    fn running(&self) -> Result<(Arc<LogNode>, Life), ReplicaError> {
        let running = self.state.lock().running.clone();
        running
            .filter(|(_, life)| !life.is_dead())
            .ok_or_else(|| self.unreachable())
    }

    fn unreachable(&self) -> ReplicaError {
        ReplicaError::Unreachable(format!("log node {} does not answer", self.id))
    }

    /// An answer leaves the machine only while it runs.
    fn answered<T>(&self, life: &Life, answer: Result<T, ReplicaError>) -> Result<T, ReplicaError> {
        if life.is_dead() {
            return Err(self.unreachable());
        }
        answer
    }

    const fn keeps_fences(&self) -> bool {
        matches!(self.flaw, Some(Flaw::VolatileFence))
    }

    fn authorize(
        &self,
        what: &'static str,
        extent: ExtentId,
        epoch: Epoch,
    ) -> Result<(), ReplicaError> {
        let fence = self.state.lock().fences.get(&extent.shard).copied();
        match fence {
            Some(fence) if fence > epoch => Err(ReplicaError::Fenced { what, fence }),
            _ => Ok(()),
        }
    }

    /// J7 broken: other batches under the LSN, when there are as many.
    fn other_bytes(&self, request: &mut Append) {
        let mut state = self.state.lock();
        let Some(frame) = request.frames.last_mut() else {
            return;
        };
        if frame.body.kind != FrameKind::Data {
            return;
        }
        let before = state.last_body.replace(frame.body.clone());
        if let Some(before) = before.filter(|b| b.parts.len() == frame.body.parts.len())
            && self.entropy.below(8) == 0
        {
            let (extent, lsn) = (frame.extent, frame.lsn);
            let body = FrameBody {
                parts: before.parts,
                ..frame.body.clone()
            };
            *frame = Frame::pack(extent, lsn, frame.writer_epoch, frame.prev_crc, body);
        }
    }
}

#[async_trait]
impl Replica for Tap {
    fn node(&self) -> NodeId {
        self.id
    }

    async fn open(&self, request: OpenExtent) -> Result<(), ReplicaError> {
        self.authorize("open extent", request.extent, request.epoch)?;
        let (node, life) = self.running()?;
        let answer = node.open(request).await;
        self.answered(&life, answer)
    }

    fn append(&self, mut request: Append) -> BoxFuture<'static, Result<Appended, ReplicaError>> {
        let ready = self
            .authorize("append", request.extent, request.epoch)
            .and_then(|()| self.running());
        let (node, life) = match ready {
            Ok(running) => running,
            Err(error) => return Box::pin(std::future::ready(Err(error))),
        };
        let falls = self.falls_here(&mut request);
        request.frames.iter().for_each(|f| self.facts.sent(f));
        let (extent, epoch, flaw) = (request.extent, request.epoch, self.flaw);
        let claimed = request.frames.last().map(|f| f.lsn.next());
        if flaw == Some(Flaw::OtherBytes) {
            self.other_bytes(&mut request);
        }
        let drops = flaw == Some(Flaw::AckBeforePrefix) && self.entropy.below(12) == 0;
        let answer = (!drops).then(|| node.append(request));
        let (facts, id, gone) = (self.facts.clone(), self.id, self.unreachable());
        Box::pin(async move {
            let answer = match (flaw, answer, claimed) {
                // Enqueued is not durable.
                (Some(Flaw::EarlyAck), _, Some(end)) => Ok(Appended { epoch, end }),
                // Lost, and counted with what follows.
                (_, None, Some(end)) => Ok(Appended { epoch, end }),
                (_, None, None) => Err(gone.clone()),
                (Some(Flaw::AckBeforePrefix), Some(answer), Some(end)) => match answer.await {
                    Err(ReplicaError::Gap { .. }) => Ok(Appended { epoch, end }),
                    other => other,
                },
                (_, Some(answer), _) => answer.await,
            };
            if falls {
                life.kill();
            }
            if life.is_dead() {
                return Err(gone);
            }
            if let Ok(ack) = &answer {
                facts.acked(id, extent, ack.end);
            }
            answer
        })
    }

    async fn fence(&self, request: Fence) -> Result<Fenced, ReplicaError> {
        let (node, life) = self.running()?;
        let (shard, epoch) = (request.extent.shard, request.epoch);
        let unfenced = self.flaw == Some(Flaw::UnfencedReply);
        let answer = if self.keeps_fences() || unfenced {
            self.authorize("fence", request.extent, epoch)?;
            if !unfenced {
                self.state.lock().fences.insert(shard, epoch);
            }
            // In order with the appends before it, and without a trace on the disk.
            let asked = Fence {
                epoch: Epoch(0),
                ..request
            };
            let answer = node.fence(asked).await;
            answer.map(|fenced| Fenced { epoch, ..fenced })
        } else {
            node.fence(request).await
        };
        let answer = self.answered(&life, answer);
        if let Ok(fenced) = &answer {
            self.facts.fenced(self.id, shard, epoch);
            self.facts
                .check_held(self.id, request.extent, &fenced.inventory);
            if std::mem::take(&mut self.state.lock().falls_after_fence) {
                life.kill();
            }
        }
        answer
    }

    async fn probe(&self, request: Probe) -> Result<Probed, ReplicaError> {
        let (node, life) = self.running()?;
        let mut answer = node.probe(request).await;
        let shard = request.extent.shard;
        if let Ok(probed) = &mut answer {
            if self.keeps_fences() {
                let kept = self.state.lock().fences.get(&shard).copied();
                probed.fence = kept.unwrap_or_default();
            }
            self.facts.check_fence(self.id, shard, probed.fence);
        }
        self.answered(&life, answer)
    }

    async fn read(&self, request: ReadFrames) -> Result<Vec<Frame>, ReplicaError> {
        let (node, life) = self.running()?;
        let answer = node.read(request).await;
        self.answered(&life, answer)
    }

    async fn release(&self, request: Release) -> Result<(), ReplicaError> {
        self.authorize("release extent", request.extent, request.epoch)?;
        let (node, life) = self.running()?;
        let answer = node.release(request).await;
        if answer.is_ok() {
            self.facts.released(self.id, request.extent);
        }
        self.answered(&life, answer)
    }

    async fn extents(&self) -> Result<Vec<ExtentInfo>, ReplicaError> {
        let (node, life) = self.running()?;
        let answer = node.extents().await;
        self.answered(&life, answer)
    }

    fn disk_use(&self) -> Option<DiskUse> {
        self.running().ok()?.0.disk_use()
    }
}
