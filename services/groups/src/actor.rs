//! One actor per loaded group: it feeds the state machine, stores, and answers.
//!
//! # Consistency
//! One event at a time. While a transaction is in flight only heartbeats are answered; everything else waits
//! its turn, so nothing a transaction depends on changes under it (K7).
//!
//! # Retries
//! A transaction that fails unloads the group: requests that wait are told to come again, and the next one
//! loads what is stored. There is no other way back, so no half-done step survives.

mod loaded;
mod offsets;
mod sweep;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tidemark_runtime::{Clock, Entropy};
use tidemark_topics::Topics;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::loaded::Loaded;
use crate::api::*;
use crate::machine::At;
use crate::store::{Change, GroupStore, Home};
use crate::{GroupError, GroupsConfig};

/// Where an answer goes.
pub(crate) type Answer<T> = oneshot::Sender<Result<T, GroupError>>;

/// Requests of a group that wait at the most: two for each of its members, and some.
pub(crate) const EVENTS_MAX: usize = 4_096;
/// How long a group without members stays loaded after its last request.
const IDLE: Duration = Duration::from_secs(30);

/// A request to a group.
pub(crate) enum Event {
    Join(JoinRequest, Answer<Joined>),
    Sync(SyncRequest, Answer<Synced>),
    Heartbeat(HeartbeatRequest, Answer<()>),
    Leave(Vec<Leaving>, Answer<Vec<Left>>),
    Commit(CommitRequest, Answer<Vec<PartitionOutcome>>),
    DeleteOffsets(Vec<OffsetToDelete>, Answer<Vec<PartitionOutcome>>),
    Describe(Answer<GroupDescription>),
    Delete(Answer<()>),
    /// Load the group, if only to let its members expire, and drop offsets whose time is over.
    Sweep(Answer<()>),
}

/// What lists show of a loaded group; `None` while there is nothing to show.
pub(crate) type Shown = Arc<Mutex<Option<(GroupState, String)>>>;

/// What all actors share.
#[derive(Debug)]
pub(crate) struct Surroundings {
    pub(crate) store: GroupStore,
    pub(crate) topics: Topics,
    pub(crate) config: GroupsConfig,
    pub(crate) clock: Clock,
    pub(crate) entropy: Entropy,
    pub(crate) origin: Instant,
    pub(crate) stopping: CancellationToken,
}

impl Surroundings {
    fn at(&self) -> At {
        At {
            now: self.clock.now() - self.origin,
            wall_ms: self.clock.wall_ms(),
        }
    }
}

/// A group's actor.
pub(crate) struct Actor {
    around: Arc<Surroundings>,
    home: Arc<Home>,
    events: mpsc::Receiver<Event>,
    /// Came while a transaction was in flight.
    deferred: VecDeque<Event>,
    closed: bool,
    group: Option<Loaded>,
    shown: Shown,
    heard: Instant,
}

#[expect(
    clippy::large_enum_variant,
    reason = "one lives at a time, for one turn of the loop"
)]
enum Next {
    Event(Event),
    Tick,
    Flush,
    Idle,
    Stop,
}

impl Actor {
    pub(crate) fn new(
        around: Arc<Surroundings>,
        home: Home,
        events: mpsc::Receiver<Event>,
        shown: Shown,
    ) -> Self {
        let heard = around.clock.now();
        Self {
            around,
            home: Arc::new(home),
            events,
            deferred: VecDeque::new(),
            closed: false,
            group: None,
            shown,
            heard,
        }
    }

    /// Runs until the group is idle and `may_end` says that no request is on its way, until its shard belongs
    /// to another actor (the channel is closed), or until the service stops.
    pub(crate) async fn run(mut self, may_end: impl Fn(&mpsc::Receiver<Event>) -> bool) {
        loop {
            match self.next().await {
                Next::Event(event) => {
                    self.heard = self.around.clock.now();
                    self.handle(event).await;
                }
                Next::Tick => {
                    let ticked = self.with(|group, at| group.machine.tick(at)).await;
                    self.log_failure(ticked);
                }
                Next::Flush => {
                    let flushed = self.flush().await;
                    self.log_failure(flushed);
                }
                Next::Idle if may_end(&self.events) => return,
                Next::Idle => {}
                Next::Stop => {
                    self.unload(&GroupError::NotCoordinator);
                    return;
                }
            }
            *self.shown.lock() = self.group.as_ref().and_then(Loaded::shown);
        }
    }

    async fn next(&mut self) -> Next {
        if let Some(event) = self.deferred.pop_front() {
            return Next::Event(event);
        }
        if self.closed {
            return Next::Stop;
        }
        let now = self.around.clock.now();
        let origin = self.around.origin;
        let (due, next) = match &self.group {
            None => (Some(now), Next::Idle),
            Some(group) => {
                let tick = group.machine.next_deadline().map(|d| origin + d);
                let flush = group.batch.flush_at.map(|d| origin + d);
                match (tick, flush) {
                    (_, Some(flush)) if tick.is_none_or(|t| flush <= t) => {
                        (Some(flush), Next::Flush)
                    }
                    (Some(tick), _) => (Some(tick), Next::Tick),
                    _ => (Some(group.idle_at(self.heard)), Next::Idle),
                }
            }
        };
        let wait = due.map_or(Duration::MAX, |due| due.saturating_duration_since(now));
        tokio::select! { biased;
            () = self.around.stopping.cancelled() => Next::Stop,
            event = self.events.recv() => event.map_or(Next::Stop, Next::Event),
            () = self.around.clock.sleep(wait) => next,
        }
    }

    async fn handle(&mut self, event: Event) {
        if let Err(why) = self.load().await {
            event.refuse(why);
            return;
        }
        match event {
            Event::Join(request, answer) => {
                let fresh = self.fresh_id();
                let done = self
                    .with(move |group, at| group.join(at, request, answer, &fresh))
                    .await;
                self.log_failure(done);
            }
            Event::Sync(request, answer) => {
                let done = self
                    .with(move |group, at| group.sync(at, &request, answer))
                    .await;
                self.log_failure(done);
            }
            Event::Heartbeat(request, answer) => self.heartbeat(&request, answer),
            Event::Leave(members, answer) => {
                let left = self
                    .with(|group, at| group.machine.leave(at, members))
                    .await;
                let _ = answer.send(left);
            }
            Event::Commit(request, answer) => self.commit(request, answer).await,
            Event::DeleteOffsets(partitions, answer) => {
                let deleted = self.delete_offsets(partitions).await;
                let _ = answer.send(deleted);
            }
            Event::Describe(answer) => {
                let described = self.group.as_ref().map(Loaded::describe);
                let _ = answer.send(described.unwrap_or(Err(GroupError::NotFound)));
            }
            Event::Delete(answer) => {
                let deleted = self.delete().await;
                let _ = answer.send(deleted);
            }
            Event::Sweep(answer) => {
                let swept = self.sweep().await;
                let _ = answer.send(swept);
            }
        }
    }

    fn heartbeat(&mut self, request: &HeartbeatRequest, answer: Answer<()>) {
        let at = self.around.at();
        let outcome = match &mut self.group {
            Some(group) => group.machine.heartbeat(at, request),
            None => Err(GroupError::NotAvailable("it is being loaded".to_owned())),
        };
        let _ = answer.send(outcome);
    }

    async fn load(&mut self) -> Result<(), GroupError> {
        if self.group.is_none() {
            let (row, members) = self.around.store.load(&self.home).await?;
            self.group = Some(Loaded::new(
                self.around.config,
                self.around.at(),
                row,
                members,
            ));
        }
        Ok(())
    }

    /// Changes the group's state; offsets that were committed before are stored before, and whatever the change
    /// says must be stored is stored before its replies leave.
    async fn with<T>(
        &mut self,
        change: impl FnOnce(&mut Loaded, At) -> T,
    ) -> Result<T, GroupError> {
        self.flush().await?;
        let at = self.around.at();
        let group = self.group.as_mut().ok_or_else(unloaded)?;
        let value = change(group, at);
        let step = group.machine.take_step();
        if let Some(change) = group.change_for(step.store) {
            self.store(change).await?;
        }
        if let Some(group) = &mut self.group {
            group.reply(step.replies);
        }
        Ok(value)
    }

    /// Makes a change of what is stored, to its end (J9). Heartbeats are answered meanwhile.
    async fn store(&mut self, change: Change) -> Result<(), GroupError> {
        let base = self.group.as_ref().and_then(|g| g.row.clone());
        let around = Arc::clone(&self.around);
        let home = Arc::clone(&self.home);
        let mut running = std::pin::pin!(around.store.change(&home, base, change));
        let outcome = loop {
            let room = !self.closed && self.deferred.len() < EVENTS_MAX;
            tokio::select! { biased;
                outcome = &mut running => break outcome,
                event = self.events.recv(), if room => match event {
                    Some(Event::Heartbeat(request, answer)) => self.heartbeat(&request, answer),
                    Some(other) => self.deferred.push_back(other),
                    None => self.closed = true,
                },
            }
        };
        match outcome {
            Ok(row) => {
                if let Some(group) = &mut self.group {
                    group.row = row;
                }
                Ok(())
            }
            Err(why) => {
                self.unload(&why);
                Err(why)
            }
        }
    }

    /// Forgets what is in memory; whoever waits is told why.
    fn unload(&mut self, why: &GroupError) {
        if let Some(group) = self.group.take() {
            group.refuse_all(why);
        }
    }

    async fn delete(&mut self) -> Result<(), GroupError> {
        self.flush().await?;
        let group = self.group.as_ref().ok_or_else(unloaded)?;
        if group.row.is_none() {
            return Err(GroupError::NotFound);
        }
        if !group.machine.is_idle() {
            return Err(GroupError::NonEmpty);
        }
        self.store(Change::Delete).await?;
        self.group = None;
        Ok(())
    }

    fn fresh_id(&self) -> String {
        let mut raw = [0; 16];
        self.around.entropy.fill(&mut raw);
        uuid::Builder::from_random_bytes(raw)
            .into_uuid()
            .hyphenated()
            .to_string()
    }

    fn log_failure<T>(&self, outcome: Result<T, GroupError>) {
        if let Err(why) = outcome {
            tracing::info!(group = self.home.group, "group unloaded: {why}");
        }
    }
}

fn unloaded() -> GroupError {
    GroupError::NotAvailable("its last change failed".to_owned())
}

impl Event {
    /// Answers that nothing was done.
    pub(crate) fn refuse(self, why: GroupError) {
        match self {
            Self::Join(_, answer) => drop(answer.send(Err(why))),
            Self::Sync(_, answer) => drop(answer.send(Err(why))),
            Self::Heartbeat(_, answer) | Self::Delete(answer) | Self::Sweep(answer) => {
                drop(answer.send(Err(why)));
            }
            Self::Leave(_, answer) => drop(answer.send(Err(why))),
            Self::Commit(_, answer) | Self::DeleteOffsets(_, answer) => {
                drop(answer.send(Err(why)));
            }
            Self::Describe(answer) => drop(answer.send(Err(why))),
        }
    }
}
