//! One phase: everybody connects, then the clock starts, then everybody runs.

use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::Host;
use crate::LoadError;
use crate::http::HttpReader;
use crate::kafka::client::{Client, greet};
use crate::kafka::consumer::Consumer;
use crate::kafka::producer::{Producer, bootstrap};
use crate::measure::{Flow, Meter};
use crate::pace::Pace;
use crate::process::Usage;
use crate::progress::Progress;
use crate::report::{Cost, Holds, PhaseReport, Point};
use crate::scenario::{Consume, Idle, Phase, Produce, Protocol, Scenario};
use crate::sequential::Sequential;
use crate::shared::Shared;
use crate::source::{Source, Until};
use crate::verify::Findings;

const SECOND: Duration = Duration::from_secs(1);

enum Writer {
    Kafka(Box<Producer>),
    Sequential(Box<Sequential>),
}

enum Done {
    Writer(Result<(), LoadError>),
    Reader(Result<Findings, LoadError>),
}

/// A phase on its way.
pub(super) struct Running<'a> {
    scenario: &'a Scenario,
    phase: &'a Phase,
    shared: Shared,
    /// Producers of earlier phases: theirs are the lower numbers.
    producers_before: u32,
    to: mpsc::Sender<Done>,
    done: mpsc::Receiver<Done>,
    clients: Vec<JoinHandle<()>>,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.clients.iter().for_each(JoinHandle::abort);
    }
}

impl<'a> Running<'a> {
    pub(super) fn new(
        scenario: &'a Scenario,
        phase: &'a Phase,
        shared: Shared,
        producers_before: u32,
    ) -> Self {
        let (to, done) = mpsc::channel(64);
        Self {
            scenario,
            phase,
            shared,
            producers_before,
            to,
            done,
            clients: Vec::new(),
        }
    }

    /// Runs it to its end.
    pub(super) async fn run(
        &mut self,
        host: &mut dyn Host,
        progress: &Progress,
    ) -> Result<(PhaseReport, Findings), LoadError> {
        let ready = match self.phase.restart {
            true => Some(host.restart(self.phase.kill).await?),
            false => None,
        };
        let idle_before = host.usage();
        let _idle = match &self.phase.idle {
            Some(idle) => self.idle(idle).await?,
            None => Vec::new(),
        };
        let writers = match &self.phase.produce {
            Some(produce) => self.writers(produce).await?,
            None => Vec::new(),
        };
        let begin = self.shared.clock.now();
        self.shared.meter = Meter::new(begin + self.phase.warmup.0);
        let (written, seen) = watch::channel(writers.is_empty());
        let writers = self.start_writers(writers, begin);
        let readers = self.start_readers(&seen);
        let mut report = PhaseReport {
            name: self.phase.name.clone(),
            seconds: 0.0,
            produce: None,
            consume: None,
            series: Vec::new(),
            server: None,
            ready_ms: ready.map(|r| r.as_secs_f64() * 1000.0),
            holds: Holds::default(),
        };
        let waiting = Waiting {
            begin,
            writers,
            readers,
            written,
        };
        let (findings, counted) = self.wait(waiting, host, progress, &mut report).await?;
        report.seconds = (self.shared.clock.now() - begin).as_secs_f64();
        report.produce = self.shared.meter.summary(Flow::Produce);
        report.consume = self.shared.meter.summary(Flow::Consume);
        let before = counted.or(idle_before).map(|c| Usage {
            resident_bytes: idle_before.map_or(c.resident_bytes, |b| b.resident_bytes),
            ..c
        });
        let bytes = |flow| self.shared.meter.counted(flow).1;
        report.server = before.zip(host.usage()).map(|(before, after)| {
            Cost::between(before, after, bytes(Flow::Produce), bytes(Flow::Consume))
        });
        Ok((report, findings))
    }

    /// Waits for all clients; gives what verification found and what the server had used when the warm-up ended.
    async fn wait(
        &mut self,
        mut waiting: Waiting,
        host: &dyn Host,
        progress: &Progress,
        report: &mut PhaseReport,
    ) -> Result<(Findings, Option<Usage>), LoadError> {
        let clock = self.shared.clock.clone();
        let mut findings = Findings::default();
        let mut counted = None;
        let warm = waiting.begin + self.phase.warmup.0;
        let idle_until = match (&self.phase.idle, self.phase.duration) {
            (Some(_), Some(duration)) => waiting.begin + duration.0,
            _ => waiting.begin,
        };
        let (mut last, mut tick) = (waiting.begin, waiting.begin + SECOND);
        let bar = progress.phase(self.phase, self.scenario.record.size.mean());
        while waiting.writers + waiting.readers > 0 || clock.now() < idle_until {
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(warm), if counted.is_none() => {
                    counted = Some(host.usage());
                }
                Some(done) = self.done.recv() => waiting.on_done(done, &mut findings)?,
                () = tokio::time::sleep_until(tick) => {
                    tick += SECOND;
                    let now = clock.now();
                    let point = self.point(waiting.begin, &mut last, now);
                    bar.show(&point, self.shared.meter.counted(Flow::Produce).0, now - waiting.begin);
                    report.series.push(point);
                    if let Some(failure) = self.shared.tasks.failure() {
                        return Err(LoadError::broken("run a client", failure));
                    }
                }
            }
        }
        let point = self.point(waiting.begin, &mut last, clock.now());
        report.series.push(point);
        bar.done();
        Ok((findings, counted.flatten()))
    }

    fn point(&self, begin: Instant, last: &mut Instant, now: Instant) -> Point {
        let seconds = now.saturating_duration_since(*last).as_secs_f64();
        *last = now;
        Point {
            at_s: (now - begin).as_secs_f64(),
            produce: self.shared.meter.interval(Flow::Produce, seconds),
            consume: self.shared.meter.interval(Flow::Consume, seconds),
        }
    }

    async fn writers(&self, produce: &Produce) -> Result<Vec<Writer>, LoadError> {
        let mut writers = Vec::new();
        let layout = &self.shared.layout;
        let begin = (Pace::new(self.shared.started, None, 0, 1), Until::default());
        for index in 0..produce.producers {
            let number = self.producers_before + index;
            let record = self.scenario.record.clone();
            let source = Source::new(number, record, begin, (layout.slots(), layout.partitions()));
            let shared = self.shared.clone();
            writers.push(match produce.protocol {
                Protocol::Kafka => {
                    let mut settings = produce.clone();
                    if settings.sequential {
                        settings.in_flight = 1;
                    }
                    let codec = self.scenario.record.codec;
                    let producer = Producer::start(shared, settings, codec, number, source);
                    Writer::Kafka(Box::new(producer.await?))
                }
                Protocol::Http | Protocol::Nats => {
                    let producer = Sequential::start(shared, produce.protocol, number, source);
                    Writer::Sequential(Box::new(producer.await?))
                }
            });
        }
        Ok(writers)
    }

    fn start_writers(&mut self, writers: Vec<Writer>, begin: Instant) -> usize {
        let count = writers.len();
        let Some(produce) = &self.phase.produce else {
            return 0;
        };
        let all = self.phase.records_max(self.scenario.record.size.mean());
        let producers = u64::from(produce.producers);
        for (index, writer) in (0..).zip(writers) {
            let pace = Pace::new(begin, produce.rate, index, produce.producers);
            let share = |n: u64| n / producers + u64::from(u64::from(index) < n % producers);
            let until = Until {
                records: all.map(share),
                time: self.phase.duration.map(|d| begin + d.0),
            };
            let (to, meter) = (self.to.clone(), self.shared.meter.clone());
            let client = async move {
                let done = match writer {
                    Writer::Kafka(mut producer) => {
                        producer.begin(pace, until, meter);
                        producer.run().await
                    }
                    Writer::Sequential(mut producer) => {
                        producer.begin(pace, until, meter);
                        producer.run().await
                    }
                };
                // The phase that would listen may have ended with another client's failure.
                let _ = to.send(Done::Writer(done)).await;
            };
            self.clients
                .push(self.shared.tasks.spawn("producer", client));
        }
        count
    }

    fn start_readers(&mut self, written: &watch::Receiver<bool>) -> usize {
        let mut count = 0;
        for (set, consume) in self.phase.consume.iter().enumerate() {
            for group in 0..consume.groups {
                for member in 0..consume.members.min(self.slots_max()) {
                    let name = format!("{}-{set}-{group}", self.shared.layout.topics()[0]);
                    self.start_reader(consume, name, member, written.clone());
                    count += 1;
                }
            }
        }
        count
    }

    fn slots_max(&self) -> u32 {
        u32::try_from(self.shared.layout.slots()).unwrap_or(u32::MAX)
    }

    fn start_reader(
        &mut self,
        consume: &Consume,
        group: String,
        member: u32,
        written: watch::Receiver<bool>,
    ) {
        let members = consume.members.min(self.slots_max()) as usize;
        let slots = (0..self.shared.layout.slots()).filter(|s| s % members == member as usize);
        let slots: Vec<usize> = slots.collect();
        let (shared, consume, to) = (self.shared.clone(), consume.clone(), self.to.clone());
        let client = async move {
            shared.clock.sleep(consume.after.0).await;
            let done = match consume.protocol {
                Protocol::Kafka | Protocol::Nats => {
                    match Consumer::start(shared, consume, group, slots).await {
                        Ok(consumer) => consumer.run(written).await,
                        Err(error) => Err(error),
                    }
                }
                Protocol::Http => match HttpReader::start(shared, consume, &group, slots).await {
                    Ok(reader) => reader.run(written).await,
                    Err(error) => Err(error),
                },
            };
            let _ = to.send(Done::Reader(done)).await;
        };
        self.clients.push(self.shared.tasks.spawn("reader", client));
    }

    async fn idle(&self, idle: &Idle) -> Result<Vec<Client>, LoadError> {
        let address = self.shared.target.kafka.clone().unwrap_or_default();
        if idle.topics > 0 {
            let run = &self.shared.layout.topics()[0];
            let names: Vec<String> = (0..idle.topics)
                .map(|i| format!("{run}-idle-{i}"))
                .collect();
            let mut client = bootstrap(&self.shared).await?;
            let replication = self.scenario.topics.replication;
            client
                .create_topics(&names, idle.partitions.max(1), replication)
                .await?;
        }
        let mut held = Vec::new();
        for _ in 0..idle.connections {
            held.push(greet(&address, &self.shared.clock, &self.shared.tasks).await?);
        }
        Ok(held)
    }
}

struct Waiting {
    begin: Instant,
    writers: usize,
    readers: usize,
    written: watch::Sender<bool>,
}

impl Waiting {
    fn on_done(&mut self, done: Done, findings: &mut Findings) -> Result<(), LoadError> {
        match done {
            Done::Writer(done) => {
                done?;
                self.writers -= 1;
                if self.writers == 0 {
                    self.written.send_replace(true);
                }
            }
            Done::Reader(done) => {
                findings.add(done?);
                self.readers -= 1;
            }
        }
        Ok(())
    }
}
