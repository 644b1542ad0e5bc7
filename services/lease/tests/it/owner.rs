//! The smallest owner of a shard: its state is the list of values appended, a value's offset its place in it.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use tidemark_journal::{Extent, FrameBody, FrameKind, Reader, Writer};
use tidemark_lease::{Leases, RollError, SealedExtent, Taken};
use tidemark_types::{Lsn, Ownership};

use crate::world::{SHARD, World};

pub(crate) struct Owner {
    pub(crate) world: World,
    pub(crate) leases: Leases,
    pub(crate) ownership: Ownership,
    pub(crate) writer: Writer,
    /// Committed values.
    pub(crate) state: Vec<u64>,
    /// Sequenced, not committed: LSN and value; `None` for a checkpoint frame.
    pub(crate) pending: VecDeque<(Lsn, Option<u64>)>,
}

pub(crate) fn data(value: u64, offset: u64) -> FrameBody {
    let mut head = BytesMut::with_capacity(16);
    head.put_u64(offset);
    head.put_u64(value);
    body(FrameKind::Data, head.freeze())
}

pub(crate) fn body(kind: FrameKind, head: Bytes) -> FrameBody {
    FrameBody {
        kind,
        head,
        parts: Vec::new(),
    }
}

fn numbers(head: &Bytes) -> Vec<u64> {
    let chunks = head.chunks_exact(8);
    chunks
        .map(|c| u64::from_be_bytes(c.try_into().expect("eight bytes")))
        .collect()
}

fn checkpoint(state: &[u64]) -> [FrameBody; 2] {
    let (a, b) = state.split_at(state.len() / 2);
    let encode = |part: &[u64]| part.iter().flat_map(|v| v.to_be_bytes()).collect();
    [
        body(FrameKind::Checkpoint, encode(a)),
        body(FrameKind::CheckpointEnd, encode(b)),
    ]
}

/// Replays extents as a shard actor would: the checkpoint of each complete one, then its data.
pub(crate) async fn replay(reader: &Reader, extents: &[SealedExtent]) -> Result<Vec<u64>, String> {
    let mut state = Vec::new();
    for sealed in extents {
        let end = sealed.readable_end();
        let frames = read_all(reader, &sealed.extent, end).await?;
        let complete = frames
            .iter()
            .any(|f| f.body.kind == FrameKind::CheckpointEnd);
        if !complete {
            continue;
        }
        state.clear();
        for frame in &frames {
            let numbers = numbers(&frame.body.head);
            match frame.body.kind {
                FrameKind::Data if numbers[0] == state.len() as u64 => state.push(numbers[1]),
                FrameKind::Data => {
                    let at = (frame.extent, frame.lsn, numbers[0], state.len());
                    return Err(format!("offsets are not dense: {at:?}"));
                }
                _ => state.extend(numbers),
            }
        }
    }
    Ok(state)
}

async fn read_all(
    reader: &Reader,
    extent: &Extent,
    end: Lsn,
) -> Result<Vec<tidemark_journal::Frame>, String> {
    let mut frames = Vec::new();
    let mut at = extent.first;
    while at < end {
        // A reply may be lost: ask again.
        let mut tries = 0;
        let chunk = loop {
            match reader.read(extent, at, end, 200).await {
                Ok(chunk) => break chunk,
                Err(error) if tries > 20 => return Err(error.to_string()),
                Err(_) => tries += 1,
            }
        };
        at = chunk.last().expect("never empty").lsn.next();
        frames.extend(chunk);
    }
    Ok(frames)
}

impl Owner {
    /// Takes the shard, replays, checkpoints, serves.
    pub(crate) async fn start(world: &World, leases: &Leases) -> Result<Self, String> {
        let taken = leases.take(SHARD).await.map_err(|e| e.to_string())?;
        Self::with(world, leases, taken).await
    }

    pub(crate) async fn with(world: &World, leases: &Leases, taken: Taken) -> Result<Self, String> {
        let state = replay(&taken.reader, &taken.replay).await;
        let state = state.inspect_err(|why| {
            // Not reaching a replica is no violation; bytes that do not fit are.
            if why.contains("dense") {
                world.violation(why.clone());
            }
        })?;
        let mut owner = Self {
            world: world.clone(),
            leases: leases.clone(),
            ownership: taken.ownership,
            writer: taken.writer,
            state,
            pending: VecDeque::new(),
        };
        owner.check_rebuilt();
        owner.put_checkpoint()?;
        owner.settle().await?;
        let extent = owner.writer.extent().id.index;
        let marked = leases.mark_checkpoint(&owner.ownership, extent).await;
        marked.map_err(|e| e.to_string())?;
        let serving = leases.mark_serving(&owner.ownership).await;
        serving.map_err(|e| e.to_string())?;
        Ok(owner)
    }

    /// Invariant 1 and 15: what was acked before is in the state that was rebuilt.
    fn check_rebuilt(&self) {
        let acked = self.world.ledger.lock().acked.clone();
        for (offset, value) in acked {
            let at = usize::try_from(offset).expect("small");
            if self.state.get(at) != Some(&value) {
                let found = self.state.get(at);
                self.world.violation(format!(
                    "epoch {} rebuilt {found:?} at offset {offset}, {value} was acked",
                    self.ownership.epoch
                ));
            }
        }
    }

    fn put_checkpoint(&mut self) -> Result<(), String> {
        for frame in checkpoint(&self.state) {
            let lsn = self.writer.append(frame).map_err(|e| e.to_string())?;
            self.pending.push_back((lsn, None));
        }
        Ok(())
    }

    /// Sequences a new value; its offset follows what was sequenced.
    pub(crate) fn append(&mut self) -> Result<(), String> {
        let sequenced = self.pending.iter().filter(|(_, v)| v.is_some()).count();
        let offset = (self.state.len() + sequenced) as u64;
        let value = self.world.value();
        let lsn = self.writer.append(data(value, offset));
        let lsn = lsn.map_err(|e| e.to_string())?;
        self.pending.push_back((lsn, Some(value)));
        Ok(())
    }

    /// Acks what is committed by now, in order.
    pub(crate) fn collect(&mut self) {
        let end = self.writer.committed().borrow().end;
        self.world.saw_committed(self.writer.extent().id, end);
        while let Some((_, value)) = self.pending.pop_front_if(|(lsn, _)| *lsn < end) {
            if let Some(value) = value {
                self.world.ack(self.state.len() as u64, value);
                self.state.push(value);
            }
        }
    }

    /// Waits until all that was sequenced is committed.
    pub(crate) async fn settle(&mut self) -> Result<(), String> {
        let done = self.writer.wait_committed(self.writer.next_lsn()).await;
        self.collect();
        done.map_err(|e| e.to_string())
    }

    /// Rolls, again while the outcome is unknown. `Ok(false)`: not rolled, the old extent goes on.
    pub(crate) async fn roll(&mut self) -> Result<bool, String> {
        let proposed = self.writer.freeze();
        self.collect();
        for _ in 0..10 {
            let rolled = self
                .leases
                .roll(&self.ownership, &self.writer, proposed)
                .await;
            let rolled = match rolled {
                Ok(rolled) => rolled,
                Err(RollError::Unknown(_) | RollError::NotOpened { .. }) => {
                    // J2: whatever became durable meanwhile must not be acked.
                    self.collect();
                    continue;
                }
                Err(RollError::NotRolled(_) | RollError::TooFewNodes { .. }) => return Ok(false),
                Err(error) => return Err(error.to_string()),
            };
            self.collect();
            self.writer = rolled.writer;
            let old: Vec<(Lsn, u64)> = self
                .pending
                .drain(..)
                .filter_map(|(l, v)| Some((l, v?)))
                .collect();
            let resent: Vec<Lsn> = rolled.uncommitted.iter().map(|(lsn, _)| *lsn).collect();
            let pending: Vec<Lsn> = old.iter().map(|(lsn, _)| *lsn).collect();
            if resent != pending {
                self.world
                    .violation(format!("handed over {resent:?}, pending were {pending:?}"));
            }
            self.put_checkpoint()?;
            // J13: the n-th body handed over belongs to the n-th pending ack.
            for ((_, body), (_, value)) in rolled.uncommitted.into_iter().zip(old) {
                let lsn = self.writer.append(body).map_err(|e| e.to_string())?;
                self.pending.push_back((lsn, Some(value)));
            }
            return Ok(true);
        }
        Err("the roll's outcome stays unknown".to_owned())
    }
}

/// Heals the world, takes the shard once more and checks everything.
pub(crate) async fn audit(world: &World, incarnation: u64) -> Result<Vec<u64>, String> {
    world.heal();
    let mut owner = Owner::start(world, &world.start(incarnation)).await?;
    owner.append()?;
    owner.settle().await?;
    world.check().await;
    world.verdict()?;
    Ok(owner.state)
}
