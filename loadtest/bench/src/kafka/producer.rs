//! One Kafka producer: gathers, sends, takes acks, sends again what failed.
//!
//! # Overview
//! One task owns all of a producer's state. Records are made only when they can be gathered, so what an open loop is
//! behind is kept as a number, not as memory. Failed batches wait until nothing is in flight, then go out again first
//! and in order, as an idempotent producer must.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tidemark_wire::ApiKey;
use tidemark_wire::messages::ProduceResponseData;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::client::{Client, Leaders, refused};
use super::conn::{Arrived, Connection, decode};
use super::pending::{Batch, Gathering, Identity, PRODUCE_VERSION, encode};
use crate::LoadError;
use crate::layout::Slot;
use crate::measure::{Flow, Meter};
use crate::pace::{Alarm, Pace, sleep_until};
use crate::scenario::{Codec, Produce};
use crate::shared::Shared;
use crate::source::{Source, Until};

/// Batches of one request, bytes: what Kafka's clients allow themselves.
const REQUEST_BYTES_MAX: usize = 1 << 20;
/// Between attempts.
const RETRY_AFTER: Duration = Duration::from_millis(100);
const OUT_OF_ORDER: i16 = 45;
const DUPLICATE: i16 = 46;

/// Unknown topic, leader elsewhere, time-outs, storage and throttling: gone when tried again.
const fn is_retriable(code: i16) -> bool {
    matches!(
        code,
        3 | 5 | 6 | 7 | 8 | 9 | 13 | 14 | 15 | 16 | 19 | 20 | 56 | 74 | 75 | 89
    )
}

struct Node {
    link: u32,
    connection: Connection,
    in_flight: VecDeque<(i32, Vec<Batch>)>,
}

/// A producer.
pub struct Producer {
    shared: Shared,
    settings: Produce,
    codec: Codec,
    number: u32,
    source: Source,
    identity: Identity,
    leaders: Leaders,
    nodes: BTreeMap<i32, Node>,
    links: u32,
    to: mpsc::Sender<Arrived>,
    arrived: mpsc::Receiver<Arrived>,
    gathering: BTreeMap<Slot, Gathering>,
    sequences: Vec<i32>,
    ready: VecDeque<Batch>,
    retry: Vec<Batch>,
    why_retry: String,
    /// What wakes an open loop, where the system has such a timer.
    alarm: Option<Alarm>,
}

impl Producer {
    /// Connects, and gets a producer id when the settings want one.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn start(
        shared: Shared,
        settings: Produce,
        codec: Codec,
        number: u32,
        source: Source,
    ) -> Result<Self, LoadError> {
        let mut client = bootstrap(&shared).await?;
        let leaders = client.leaders(&shared.layout).await?;
        let identity = match settings.idempotent {
            true => Some(client.producer_id().await?),
            false => None,
        };
        let mut producer = Self::new(shared, settings, codec, number, source);
        (producer.leaders, producer.identity) = (leaders, identity);
        producer.alarm = Alarm::new().ok();
        for node in producer.leaders.nodes.clone().into_keys() {
            producer.connect(node).await?;
        }
        Ok(producer)
    }

    fn new(shared: Shared, settings: Produce, codec: Codec, number: u32, source: Source) -> Self {
        let (to, arrived) = Connection::queue();
        Self {
            sequences: vec![0; shared.layout.slots()],
            shared,
            settings,
            codec,
            number,
            source,
            identity: None,
            leaders: Leaders::default(),
            nodes: BTreeMap::new(),
            links: 0,
            to,
            arrived,
            gathering: BTreeMap::new(),
            ready: VecDeque::new(),
            retry: Vec::new(),
            why_retry: String::new(),
            alarm: None,
        }
    }

    /// Sets when it begins and ends, and who counts.
    pub fn begin(&mut self, pace: Pace, until: Until, meter: Meter) {
        self.source.begin(pace, until);
        self.shared.meter = meter;
    }

    /// Produces until the source is over and everything is acknowledged.
    ///
    /// # Errors
    /// A refusal that trying again does not mend, or a batch that is not acknowledged in time.
    pub async fn run(mut self) -> Result<(), LoadError> {
        loop {
            let now = self.shared.clock.now();
            self.check_deadline(now)?;
            if self.in_flight() == 0 && !self.retry.is_empty() {
                self.try_again().await?;
            }
            self.advance(now).await?;
            let idle = self.in_flight() == 0 && self.retry.is_empty() && self.ready.is_empty();
            if idle && self.gathering.is_empty() && self.source.is_over(now) {
                return Ok(());
            }
            let wake = self.wake(now);
            let alarm = self.alarm.as_ref();
            let alarm = alarm.filter(|_| self.source.due().is_some());
            tokio::select! {
                biased;
                Some(arrived) = self.arrived.recv() => self.on_arrived(arrived)?,
                () = sleep_until(alarm, wake, now) => {}
            }
        }
    }

    async fn advance(&mut self, now: Instant) -> Result<(), LoadError> {
        while self.retry.is_empty() && self.in_flight() < self.settings.in_flight as usize {
            if self.ready.is_empty() {
                self.gather(now)?;
            }
            if self.ready.is_empty() {
                return Ok(());
            }
            if !self.send().await? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Makes records until a batch is ready or none is due, then closes the batches that waited long enough.
    fn gather(&mut self, now: Instant) -> Result<(), LoadError> {
        let wall_ms = self.shared.clock.wall_ms();
        while self.ready.is_empty()
            && let Some(next) = self.source.next(now, &self.shared)
        {
            let (slot, sequence) = (next.slot, self.sequences[next.slot]);
            let (codec, identity) = (self.codec, self.identity);
            let gathering = self.gathering.entry(slot).or_insert_with(|| {
                Gathering::new(slot, codec, identity, sequence, next.number, next.intended)
            });
            gathering.push(wall_ms, next.intended, self.source.contents())?;
            self.sequences[slot] = sequence.wrapping_add(1) & i32::MAX;
            let is_full = gathering.size() + next.bytes > self.settings.batch_bytes.memory();
            if self.settings.sequential || is_full {
                self.close(slot)?;
            }
        }
        let over = self.source.is_over(now);
        let waits = |g: &Gathering| !over && now < g.since() + self.settings.linger.0;
        let closed_loop = self.source.due().is_none();
        let old = self.gathering.iter().filter(|(_, g)| !waits(g));
        let old: Vec<Slot> = old.map(|(slot, _)| *slot).collect();
        // A closed loop always has the next record: its batches leave full.
        if over || !closed_loop {
            old.into_iter().try_for_each(|slot| self.close(slot))?;
        }
        Ok(())
    }

    fn close(&mut self, slot: Slot) -> Result<(), LoadError> {
        if let Some(gathering) = self.gathering.remove(&slot) {
            self.ready.push_back(gathering.close()?);
            self.source.turn();
        }
        Ok(())
    }

    /// Sends what is ready for one node; false when its connection could not be had.
    async fn send(&mut self) -> Result<bool, LoadError> {
        let Some(first) = self.ready.pop_front() else {
            return Ok(true);
        };
        let leader = self.leaders.of[first.slot];
        let mut bytes = first.bytes.len();
        let mut batches = vec![first];
        while let Some(next) = self.ready.front() {
            let fits = bytes + next.bytes.len() <= REQUEST_BYTES_MAX;
            let other = batches.iter().all(|b| b.slot != next.slot);
            if !fits || !other || self.leaders.of[next.slot] != leader {
                break;
            }
            bytes += next.bytes.len();
            batches.extend(self.ready.pop_front());
        }
        batches.sort_by_key(|b| b.slot);
        let connected = match self.nodes.contains_key(&leader) {
            true => Ok(()),
            false => self.connect(leader).await,
        };
        if let Err(error) = connected {
            self.fail(batches, &error.to_string());
            return Ok(false);
        }
        let node = self.nodes.get_mut(&leader).expect("it is connected");
        let (id, mut head) = node
            .connection
            .head(ApiKey::Produce as i16, PRODUCE_VERSION);
        let rest = encode(&mut head, &batches, &self.shared.layout);
        let sent = node.connection.send_pieces(head, rest).await;
        node.in_flight.push_back((id, batches));
        if let Err(error) = sent {
            self.lost(leader, &error.to_string());
            return Ok(false);
        }
        Ok(true)
    }

    fn on_arrived(&mut self, arrived: Arrived) -> Result<(), LoadError> {
        let Arrived { link, at, what } = arrived;
        // What a connection that was given up still says concerns nobody.
        let Some((node, state)) = self.nodes.iter_mut().find(|(_, n)| n.link == link) else {
            return Ok(());
        };
        let node = *node;
        let (id, body) = match what {
            Ok(answer) => answer,
            Err(why) => {
                self.lost(node, &why);
                return Ok(());
            }
        };
        let in_flight = state.in_flight.pop_front();
        let Some((_, batches)) = in_flight.filter(|(sent, _)| *sent == id) else {
            return Err(LoadError::broken("produce", "an answer nobody waits for"));
        };
        let answer: ProduceResponseData = decode(body, PRODUCE_VERSION)?;
        for batch in batches {
            let (topic, index) = self.shared.layout.place(batch.slot);
            let name = &self.shared.layout.topics()[topic];
            let outcome = answer
                .responses
                .iter()
                .filter(|t| t.name.as_str() == name)
                .flat_map(|t| &t.partition_responses)
                .find(|p| p.index == index)
                .ok_or_else(|| {
                    LoadError::broken("produce", "an answer without a partition asked for")
                })?;
            match outcome.error_code {
                0 | DUPLICATE => self.acked(&batch, outcome.base_offset, at),
                OUT_OF_ORDER if !self.retry.is_empty() => self.retry.push(batch),
                code if is_retriable(code) => self.fail(vec![batch], &format!("error {code}")),
                code => {
                    let message = outcome.error_message.as_ref().map(|m| format!(": {m}"));
                    return Err(refused("produce", code, message));
                }
            }
        }
        Ok(())
    }

    fn acked(&self, batch: &Batch, base: i64, at: Instant) {
        let records = batch.records();
        let behind = base.saturating_add(i64::try_from(records).unwrap_or(i64::MAX));
        self.shared
            .ledger
            .lock()
            .acked(batch.slot, self.number, records, behind);
        let latencies = batch.intended.iter();
        let latencies =
            latencies.map(|(intended, n)| (at.saturating_duration_since(*intended), *n));
        self.shared
            .meter
            .moved(Flow::Produce, at, batch.value_bytes, latencies);
    }

    fn fail(&mut self, batches: Vec<Batch>, why: &str) {
        why.clone_into(&mut self.why_retry);
        self.retry.extend(batches);
    }

    fn lost(&mut self, node: i32, why: &str) {
        if let Some(node) = self.nodes.remove(&node) {
            let batches = node.in_flight.into_iter().flat_map(|(_, b)| b).collect();
            self.fail(batches, why);
        }
    }

    async fn try_again(&mut self) -> Result<(), LoadError> {
        self.shared.clock.sleep(RETRY_AFTER).await;
        if let Ok(mut client) = bootstrap(&self.shared).await
            && let Ok(leaders) = client.leaders(&self.shared.layout).await
        {
            self.leaders = leaders;
            self.retry.sort_by_key(|b| (b.slot, b.first));
            for batch in std::mem::take(&mut self.retry).into_iter().rev() {
                self.ready.push_front(batch);
            }
        }
        Ok(())
    }

    fn check_deadline(&self, now: Instant) -> Result<(), LoadError> {
        let timeout = self.settings.delivery_timeout.0;
        let oldest = self.retry.iter().map(|b| b.since).min();
        if oldest.is_some_and(|since| now > since + timeout) {
            return Err(LoadError::Late {
                what: format!("produce a batch (last: {})", self.why_retry),
                seconds: timeout.as_secs(),
            });
        }
        Ok(())
    }

    fn in_flight(&self) -> usize {
        self.nodes.values().map(|n| n.in_flight.len()).sum()
    }

    /// When to look again if nothing arrives.
    fn wake(&self, now: Instant) -> Instant {
        let full = self.in_flight() >= self.settings.in_flight as usize;
        let linger = self.gathering.values().map(Gathering::since).min();
        let linger = linger.map(|since| since + self.settings.linger.0);
        let due = self.source.due().filter(|_| !self.source.is_over(now));
        let next = [linger, due].into_iter().flatten().min().filter(|_| !full);
        // Not at all is a minute, so that deadlines are kept.
        next.unwrap_or(now + Duration::from_secs(60))
            .min(now + RETRY_AFTER * 10)
    }

    async fn connect(&mut self, node: i32) -> Result<(), LoadError> {
        let address = self.leaders.nodes.get(&node).cloned().unwrap_or_default();
        let (clock, tasks) = (&self.shared.clock, &self.shared.tasks);
        self.links += 1;
        let (link, to) = (self.links, self.to.clone());
        let connection = Connection::open(&address, link, to, clock, tasks).await?;
        self.connected(node, link, connection);
        Ok(())
    }

    fn connected(&mut self, node: i32, link: u32, connection: Connection) {
        let node_state = Node {
            link,
            connection,
            in_flight: VecDeque::new(),
        };
        self.nodes.insert(node, node_state);
    }
}

/// A client of the bootstrap address.
///
/// # Errors
/// When the target has none, or nobody answers there.
pub async fn bootstrap(shared: &Shared) -> Result<Client, LoadError> {
    let address = shared
        .target
        .kafka
        .as_deref()
        .ok_or_else(|| LoadError::Usage {
            what: "the scenario speaks Kafka and there is no Kafka address".to_owned(),
            hint: "give one: --kafka HOST:PORT".to_owned(),
        })?;
    Client::connect(address, &shared.clock, &shared.tasks).await
}

#[cfg(test)]
mod tests;
