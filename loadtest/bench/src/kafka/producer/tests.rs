use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tidemark_runtime::{Clock, Tasks};
use tidemark_wire::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use tidemark_wire::produce::ProduceRequest;
use tidemark_wire::{RequestHeader, encode_response};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::*;
use crate::layout::Layout;
use crate::payload::Payload;
use crate::scenario::Record;
use crate::shared::Target;
use crate::verify::Ledger;

/// Reads a request and answers every batch of it with its offset, after `stall`.
async fn answer(io: &mut DuplexStream, next: &mut i64, stall: Duration) -> Option<()> {
    let length = usize::try_from(io.read_i32().await.ok()?).unwrap();
    let mut frame = BytesMut::zeroed(length);
    io.read_exact(&mut frame).await.ok()?;
    tokio::time::sleep(stall).await;
    let mut frame: Bytes = frame.freeze();
    let header = RequestHeader::decode(&mut frame).unwrap();
    let request = ProduceRequest::decode(frame, header.api_version).unwrap();
    let responses = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let batch = tidemark_records::Batch::parse(partition.records.unwrap()).unwrap();
            let base_offset = *next;
            *next += i64::from(batch.header().record_count);
            PartitionProduceResponse {
                index: partition.index,
                base_offset,
                ..Default::default()
            }
        });
        TopicProduceResponse {
            name: topic.name,
            partition_responses: partitions.collect(),
            ..Default::default()
        }
    });
    let answer = ProduceResponseData {
        responses: responses.collect(),
        ..Default::default()
    };
    let encoded = encode_response(&answer, header.api_version, header.correlation_id).unwrap();
    io.write_all(&encoded.concat()).await.ok()
}

fn shared() -> Shared {
    let clock = Clock::system();
    Shared {
        started: clock.now(),
        meter: Meter::new(clock.now()),
        payload: Arc::new(Payload::new(1, &Record::default())),
        layout: Arc::new(Layout::new("t", 1, 1)),
        ledger: Arc::new(Mutex::new(Ledger::default())),
        clock,
        tasks: Tasks::new(),
        target: Target::default(),
    }
}

/// A producer of `rate` records a second for two seconds, connected to what the other end answers.
fn producer(shared: &Shared, rate: f64) -> (Producer, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(1 << 20);
    let until = Until {
        records: None,
        time: Some(shared.started + Duration::from_secs(2)),
    };
    let pace = Pace::new(shared.started, Some(rate), 0, 1);
    let source = Source::new(0, Record::default(), (pace, until), (1, 1));
    let settings = Produce {
        in_flight: 1,
        ..Produce::default()
    };
    let mut producer = Producer::new(shared.clone(), settings, Codec::None, 0, source);
    producer.leaders.of = vec![7];
    let to = producer.to.clone();
    let connection = Connection::start(ours, 1, to, &shared.clock, &shared.tasks);
    producer.connected(7, 1, connection);
    (producer, theirs)
}

#[tokio::test(start_paused = true)]
async fn a_stall_is_charged_to_every_record_that_was_due_meanwhile() {
    let shared = shared();
    let (producer, mut server) = producer(&shared, 100.0);
    shared.tasks.spawn("server", async move {
        let mut next = 0;
        let mut stall = Duration::from_secs(1);
        while answer(&mut server, &mut next, stall).await.is_some() {
            stall = Duration::ZERO;
        }
    });
    producer.run().await.unwrap();
    assert_eq!(shared.ledger.lock().records(), 200);
    let latency = shared.meter.summary(Flow::Produce).unwrap().latency;
    // A hundred records were due during the stall of one second; a closed loop would have seen one slow request.
    assert!((latency.max_ms - 1000.0).abs() < 5.0, "{latency:?}");
    let at = |q: f64| latency.quantiles.iter().find(|(x, _)| *x >= q).unwrap().1;
    assert!((at(0.75) - 500.0).abs() < 15.0, "{latency:?}");
    assert!((at(0.9) - 800.0).abs() < 15.0, "{latency:?}");
}

#[tokio::test(start_paused = true)]
async fn a_steady_server_shows_its_own_latency() {
    let shared = shared();
    let (producer, mut server) = producer(&shared, 100.0);
    shared.tasks.spawn("server", async move {
        let mut next = 0;
        let stall = Duration::from_millis(3);
        while answer(&mut server, &mut next, stall).await.is_some() {}
    });
    producer.run().await.unwrap();
    let latency = shared.meter.summary(Flow::Produce).unwrap().latency;
    assert!((2.9..4.5).contains(&latency.p50_ms), "{latency:?}");
    assert!(latency.max_ms < 5.0, "{latency:?}");
}
