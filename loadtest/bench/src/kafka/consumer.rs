//! One reader of a group: fetches its partitions, checks what it reads, commits now and then.
//!
//! Partitions are shared out by arithmetic, not by the group protocol, and offsets are committed as a simple consumer
//! does; the fetch that follows is sent before the records of the last one are looked at.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tidemark_records::{Batch, BatchHeader, HEADER_BYTES};
use tidemark_wire::messages as m;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::client::{Client, Leaders, refused};
use super::conn::{Arrived, Connection, decode};
use super::producer::bootstrap;
use crate::LoadError;
use crate::layout::Slot;
use crate::measure::Flow;
use crate::scenario::{Consume, From};
use crate::shared::Shared;
use crate::verify::{Findings, Reader};

const FETCH_VERSION: i16 = 12;
/// What a batch may decompress to, bytes.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;
/// Nothing arriving for this long is a failure.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// One partition as this reader has it.
#[derive(Debug)]
struct Place {
    slot: Slot,
    next: i64,
    check: Reader,
}

/// A reader.
pub struct Consumer {
    shared: Shared,
    settings: Consume,
    group: String,
    places: Vec<Place>,
    links: BTreeMap<u32, Connection>,
    /// By connection: the places that are fetched over it.
    of_link: BTreeMap<u32, Vec<usize>>,
    to: mpsc::Sender<Arrived>,
    arrived: mpsc::Receiver<Arrived>,
    commits: Option<Client>,
    commit_at: Instant,
}

impl Consumer {
    /// Connects, and finds where to begin.
    ///
    /// # Errors
    /// When the server is not there or refuses.
    pub async fn start(
        shared: Shared,
        settings: Consume,
        group: String,
        slots: Vec<Slot>,
    ) -> Result<Self, LoadError> {
        let mut client = bootstrap(&shared).await?;
        let leaders = client.leaders(&shared.layout).await?;
        let begin = match settings.from {
            From::Start => vec![0; slots.len()],
            From::End => client.ends(&shared.layout, &slots).await?,
        };
        let places = slots.iter().zip(begin).map(|(slot, next)| Place {
            slot: *slot,
            next,
            check: Reader::new(
                *slot,
                format!("group {group}, {}", shared.layout.name(*slot)),
                settings.from == From::Start,
            ),
        });
        let (to, arrived) = Connection::queue();
        let mut consumer = Self {
            places: places.collect(),
            commit_at: shared.clock.now() + settings.commit_every.0,
            shared,
            settings,
            group,
            links: BTreeMap::new(),
            of_link: BTreeMap::new(),
            to,
            arrived,
            commits: None,
        };
        consumer.connect(&leaders).await?;
        Ok(consumer)
    }

    async fn connect(&mut self, leaders: &Leaders) -> Result<(), LoadError> {
        for (link, (node, address)) in (0..).zip(&leaders.nodes) {
            let led = (0..self.places.len()).filter(|i| leaders.of[self.places[*i].slot] == *node);
            let led: Vec<usize> = led.collect();
            if led.is_empty() {
                continue;
            }
            let (clock, tasks) = (&self.shared.clock, &self.shared.tasks);
            let connection = Connection::open(address, link, self.to.clone(), clock, tasks).await?;
            self.links.insert(link, connection);
            self.of_link.insert(link, led);
        }
        Ok(())
    }

    /// Reads until `written` says that no more will come and everything acknowledged was read.
    ///
    /// # Errors
    /// When the connection ends, the server refuses, or nothing comes for a minute.
    pub async fn run(mut self, mut written: watch::Receiver<bool>) -> Result<Findings, LoadError> {
        for link in self.links.keys().copied().collect::<Vec<_>>() {
            self.fetch(link).await?;
        }
        while !self.is_done(*written.borrow_and_update()) {
            let silence = self.shared.clock.now() + SILENCE_MAX;
            tokio::select! {
                biased;
                Some(arrived) = self.arrived.recv() => self.on_arrived(arrived).await?,
                Ok(()) = written.changed() => {}
                () = tokio::time::sleep_until(silence) => return Err(LoadError::Late {
                    what: format!("fetch for group {}", self.group),
                    seconds: SILENCE_MAX.as_secs(),
                }),
            }
            self.commit_now_and_then().await?;
        }
        let ledger = self.shared.ledger.lock();
        let mut findings = Findings::default();
        for place in self.places {
            findings.add(place.check.finish(&ledger));
        }
        Ok(findings)
    }

    fn is_done(&self, written: bool) -> bool {
        written && {
            let ledger = self.shared.ledger.lock();
            self.places.iter().all(|p| p.next >= ledger.end(p.slot))
        }
    }

    async fn fetch(&mut self, link: u32) -> Result<(), LoadError> {
        let mut topics: Vec<m::fetch_request::FetchTopic> = Vec::new();
        for index in &self.of_link[&link] {
            let place = &self.places[*index];
            let (topic, partition) = self.shared.layout.place(place.slot);
            let name = &self.shared.layout.topics()[topic];
            if topics.last().is_none_or(|t| t.topic.as_str() != name) {
                topics.push(m::fetch_request::FetchTopic {
                    topic: name.clone().into(),
                    ..Default::default()
                });
            }
            let partitions = &mut topics.last_mut().expect("one was pushed").partitions;
            partitions.push(m::fetch_request::FetchPartition {
                partition,
                current_leader_epoch: -1,
                fetch_offset: place.next,
                last_fetched_epoch: -1,
                log_start_offset: -1,
                partition_max_bytes: self.settings.partition_bytes.field(),
                ..Default::default()
            });
        }
        let request = m::FetchRequestData {
            replica_id: -1,
            max_wait_ms: i32::try_from(self.settings.max_wait.0.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: self.settings.fetch_bytes.field(),
            session_epoch: -1,
            topics,
            ..Default::default()
        };
        let connection = self.links.get_mut(&link).expect("it is connected");
        connection.send(&request, FETCH_VERSION).await?;
        Ok(())
    }

    async fn on_arrived(&mut self, arrived: Arrived) -> Result<(), LoadError> {
        let Arrived { link, at, what } = arrived;
        let (_, body) = what.map_err(|why| LoadError::broken("fetch", why))?;
        let answer: m::FetchResponseData = decode(body, FETCH_VERSION)?;
        if answer.error_code != 0 {
            return Err(refused("fetch", answer.error_code, None));
        }
        let mut came = Vec::new();
        for topic in answer.responses {
            for partition in topic.partitions {
                let (name, index) = (topic.topic.as_str(), partition.partition_index);
                let found = self.of_link[&link].iter().copied().find(|i| {
                    let (topic, place) = self.shared.layout.place(self.places[*i].slot);
                    place == index && self.shared.layout.topics()[topic] == name
                });
                let found =
                    found.ok_or_else(|| LoadError::broken("fetch", "an unknown partition"))?;
                if partition.error_code != 0 {
                    return Err(refused("fetch", partition.error_code, None));
                }
                came.extend(partition.records.map(|records| (found, records)));
            }
        }
        let mut batches = Vec::new();
        for (place, records) in came {
            for batch in whole_batches(records) {
                let next = BatchHeader::parse(&batch).map(|h| h.next_offset().0);
                let next = next.map_err(|e| LoadError::broken("fetch", e))?;
                let first = std::mem::replace(&mut self.places[place].next, next);
                batches.push((place, first, batch));
            }
        }
        self.fetch(link).await?;
        for (place, first, batch) in batches {
            self.check(place, first, batch, at)?;
        }
        Ok(())
    }

    fn check(
        &mut self,
        place: usize,
        first: i64,
        batch: Bytes,
        at: Instant,
    ) -> Result<(), LoadError> {
        let broken = |e| LoadError::broken("read a batch", e);
        let batch = Batch::parse(batch).map_err(broken)?;
        let reader = &mut self.places[place].check;
        let (mut latencies, mut bytes) = (Vec::new(), 0);
        for record in batch.records(DECOMPRESSED_BYTES_MAX).map_err(broken)? {
            let record = record.map_err(broken)?;
            if record.offset.0 < first {
                continue;
            }
            let value = record.value.unwrap_or_default();
            bytes += value.len() as u64;
            match self.shared.payload.check(&value, self.settings.content) {
                Ok(stamp) => {
                    reader.saw(stamp, record.offset.0);
                    latencies.push((self.shared.latency(stamp.intended_ns, at), 1));
                }
                Err(wrong) => reader.corrupt(&wrong, record.offset.0),
            }
        }
        self.shared.meter.moved(Flow::Consume, at, bytes, latencies);
        Ok(())
    }

    async fn commit_now_and_then(&mut self) -> Result<(), LoadError> {
        let (every, now) = (self.settings.commit_every.0, self.shared.clock.now());
        if every.is_zero() || now < self.commit_at {
            return Ok(());
        }
        self.commit_at = now + every;
        let offsets: Vec<_> = self.places.iter().map(|p| (p.slot, p.next)).collect();
        if self.commits.is_none() {
            let mut client = bootstrap(&self.shared).await?;
            let Some(address) = client.coordinator(&self.group).await? else {
                // It is being made; the next commit finds it.
                return Ok(());
            };
            let client = Client::connect(&address, &self.shared.clock, &self.shared.tasks).await?;
            self.commits = Some(client);
        }
        let client = self.commits.as_mut().expect("it was just made");
        client
            .commit(&self.group, &self.shared.layout, &offsets)
            .await
    }
}

/// The whole batches at the front of a partition's bytes; a cut last one is left.
fn whole_batches(mut rest: Bytes) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || {
        if rest.len() < HEADER_BYTES {
            return None;
        }
        let size = BatchHeader::parse(&rest).map_or(rest.len(), |h| h.size);
        (size <= rest.len()).then(|| rest.split_to(size))
    })
}
