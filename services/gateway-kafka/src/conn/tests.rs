//! Connections over an in-memory pipe, on virtual time.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use futures_util::FutureExt;
use tidemark_wire::KafkaString;
use tidemark_wire::frame::PREFIX_BYTES;
use tidemark_wire::messages::join_group_request::JoinGroupRequestProtocol;
use tidemark_wire::messages::{
    ApiVersionsRequestData, DescribeClusterRequestData, DescribeClusterResponseData,
    JoinGroupRequestData, ProduceRequestData, SyncGroupRequestData,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};
use tokio::task::JoinHandle;

use super::*;
use crate::handlers::data_path;
use crate::testing::{self, answer, frame};

struct Client {
    io: DuplexStream,
    stop: CancellationToken,
    shared: Arc<Shared>,
    server: JoinHandle<End>,
}

async fn connect_with(config: KafkaConfig) -> Client {
    let ctx = Ctx::clone(&*testing::ctx().await).bound_to(9092, &config);
    connect_to(&Arc::new(Shared::new(ctx, config)))
}

#[expect(clippy::disallowed_methods, reason = "the test awaits the task itself")]
fn connect_to(shared: &Arc<Shared>) -> Client {
    let (io, theirs) = tokio::io::duplex(1 << 16);
    let shared = Arc::clone(shared);
    let stop = CancellationToken::new();
    let peer = Peer {
        stop: stop.clone(),
        ..testing::peer()
    };
    let running = run(tokio::io::split(theirs), peer, Arc::clone(&shared), || {});
    Client {
        io,
        stop,
        shared,
        server: tokio::spawn(running),
    }
}

async fn connect() -> Client {
    connect_with(KafkaConfig::default()).await
}

impl Client {
    async fn answer_frame(&mut self) -> Bytes {
        let mut length = [0; 4];
        self.io.read_exact(&mut length).await.expect("an answer");
        let mut raw = vec![0; usize::try_from(i32::from_be_bytes(length)).unwrap()];
        self.io.read_exact(&mut raw).await.expect("a whole answer");
        [&length[..], &raw].concat().into()
    }

    async fn describe(&mut self) -> DescribeClusterResponseData {
        let raw = self.answer_frame().await;
        answer::<DescribeClusterRequestData>(raw, 0)
    }

    /// Lets the connection do what it can without time passing.
    async fn settle(&self) {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    }

    async fn end(mut self) -> End {
        let mut rest = Vec::new();
        let _ = self.io.read_to_end(&mut rest).await;
        assert!(rest.is_empty(), "no answer was due");
        self.server.await.expect("no panic")
    }
}

fn describe() -> Bytes {
    frame(&DescribeClusterRequestData::default(), 0)
}

#[tokio::test(start_paused = true)]
async fn pipelined_requests_are_answered_in_order() {
    let mut client = connect().await;
    let versions = frame(&ApiVersionsRequestData::default(), 0);
    client
        .io
        .write_all(&[&versions[..], &describe(), &versions].concat())
        .await
        .unwrap();
    let raw = client.answer_frame().await;
    assert_eq!(answer::<ApiVersionsRequestData>(raw, 0).error_code, 0);
    assert_eq!(client.describe().await.error_code, 0);
    let raw = client.answer_frame().await;
    assert_eq!(answer::<ApiVersionsRequestData>(raw, 0).error_code, 0);
    client.io.shutdown().await.unwrap();
    assert!(matches!(client.end().await, End::Read(ReadEnd::Closed)));
}

#[tokio::test(start_paused = true)]
async fn a_frame_may_arrive_byte_by_byte() {
    let mut client = connect().await;
    for byte in describe() {
        client.io.write_all(&[byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    assert_eq!(client.describe().await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn bad_frames_end_the_connection_after_what_was_asked_before() {
    let bad: [&[u8]; 5] = [
        &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
        &[0, 0, 0, 7, 0, 18, 0, 0, 0, 0, 0, 0],
        // Unknown API; unknown version.
        &[0, 0, 0, 10, 0x27, 0x0f, 0, 0, 0, 0, 0, 0, 0xff, 0xff],
        &[0, 0, 0, 10, 0, 60, 0, 99, 0, 0, 0, 0, 0xff, 0xff],
    ];
    for raw in bad {
        let mut client = connect().await;
        let sent = [&describe()[..], raw].concat();
        client.io.write_all(&sent).await.unwrap();
        assert_eq!(client.describe().await.error_code, 0);
        assert!(client.end().await.is_peers_fault(), "{raw:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn bytes_after_a_request_are_passed_over_as_in_kafka() {
    let mut client = connect().await;
    let whole = describe();
    let mut longer = BytesMut::new();
    longer.put_i32(i32::try_from(whole.len() - 4 + 3).unwrap());
    longer.put_slice(&whole[4..]);
    longer.put_slice(&[1, 2, 3]);
    let sent = [&longer[..], &whole].concat();
    client.io.write_all(&sent).await.unwrap();
    for _ in 0..2 {
        assert_eq!(client.describe().await.error_code, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn truncations_of_a_request_never_answer_and_never_panic() {
    let whole = frame(&ApiVersionsRequestData::default(), 3);
    for n in 0..whole.len() {
        let mut client = connect().await;
        client.io.write_all(&whole[..n]).await.unwrap();
        client.io.shutdown().await.unwrap();
        assert!(matches!(client.end().await, End::Read(_)), "{n} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn bodies_cut_short_within_a_whole_frame_end_the_connection() {
    let whole = frame(&ApiVersionsRequestData::default(), 3);
    for n in 8..whole.len() - 4 {
        let mut client = connect().await;
        let mut raw = BytesMut::new();
        raw.put_i32(i32::try_from(n).unwrap());
        raw.put_slice(&whole[4..4 + n]);
        client.io.write_all(&raw).await.unwrap();
        assert!(client.end().await.is_peers_fault(), "{n} bytes");
    }
}

#[tokio::test(start_paused = true)]
async fn silent_and_slow_peers_are_closed() {
    let silent = connect().await;
    assert!(matches!(silent.end().await, End::Idle(_)));

    let mut slow = connect().await;
    slow.io.write_all(&describe()).await.unwrap();
    assert_eq!(slow.describe().await.error_code, 0);
    slow.io.write_all(&describe()[..6]).await.unwrap();
    assert!(matches!(slow.end().await, End::Read(ReadEnd::Slow { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_does_not_read_is_closed() {
    let mut client = connect().await;
    // Far more answers than the pipe holds, none of them read.
    let many = describe().repeat(2_000);
    let (mut reader, mut writer) = tokio::io::split(client.io);
    let _ = tokio::time::timeout(Duration::from_secs(3_600), writer.write_all(&many)).await;
    client.io = tokio::io::duplex(1).0;
    let end = client.server.await.unwrap();
    assert!(matches!(end, End::Write(WriteEnd::Slow { .. })), "{end}");
    let mut rest = Vec::new();
    reader.read_to_end(&mut rest).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_what_was_asked_and_ends() {
    let mut client = connect().await;
    client.io.write_all(&describe()).await.unwrap();
    assert_eq!(client.describe().await.error_code, 0);
    client.stop.cancel();
    assert!(matches!(client.end().await, End::Asked));
}

#[tokio::test(start_paused = true)]
async fn stopping_answers_a_waiting_fetch_with_what_there_is() {
    use tidemark_wire::messages::FetchRequestData;
    use tidemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};

    let mut client = connect().await;
    testing::create_topic(&client.shared.ctx, "t", 1).await;
    let fetch = FetchRequestData {
        max_wait_ms: 60_000,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: KafkaString::from_static("t"),
            partitions: vec![FetchPartition::default()],
            ..Default::default()
        }],
        ..Default::default()
    };
    let started = client.shared.ctx.clock.now();
    client.io.write_all(&frame(&fetch, 12)).await.unwrap();
    client.settle().await;
    assert!(client.io.read_u8().now_or_never().is_none());
    client.stop.cancel();
    let raw = client.answer_frame().await;
    let answered = answer::<FetchRequestData>(raw, 12);
    let partition = &answered.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark), (0, 0));
    let took = client.shared.ctx.clock.now() - started;
    assert!(took < Duration::from_secs(60), "virtual time");
    assert!(matches!(client.end().await, End::Asked));
}

fn join_group() -> JoinGroupRequestData {
    JoinGroupRequestData {
        group_id: KafkaString::from_static("g"),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: KafkaString::from_static("consumer"),
        protocols: vec![JoinGroupRequestProtocol {
            name: KafkaString::from_static("range"),
            ..Default::default()
        }],
        ..Default::default()
    }
}

/// Kafka's NOT_COORDINATOR: the client asks who coordinates the group and sends its request there.
const NOT_COORDINATOR: i16 = 16;

#[tokio::test(start_paused = true)]
async fn stopping_sends_a_waiting_join_elsewhere() {
    let mut client = connect().await;
    // Version 3 joins at once; the first rebalance of a group waits for more members.
    client.io.write_all(&frame(&join_group(), 3)).await.unwrap();
    client.settle().await;
    assert!(client.io.read_u8().now_or_never().is_none());
    client.stop.cancel();
    let joined = answer::<JoinGroupRequestData>(client.answer_frame().await, 3);
    assert_eq!(joined.error_code, NOT_COORDINATOR);
    assert!(matches!(client.end().await, End::Asked));
}

#[tokio::test(start_paused = true)]
async fn stopping_sends_a_waiting_sync_elsewhere() {
    let mut first = connect().await;
    let mut second = connect_to(&first.shared);
    for client in [&mut first, &mut second] {
        client.io.write_all(&frame(&join_group(), 3)).await.unwrap();
    }
    let leader = answer::<JoinGroupRequestData>(first.answer_frame().await, 3);
    let follower = answer::<JoinGroupRequestData>(second.answer_frame().await, 3);
    let (mut waits, me) = match leader.leader == leader.member_id {
        true => (second, follower),
        false => (first, leader),
    };
    let sync = SyncGroupRequestData {
        group_id: KafkaString::from_static("g"),
        generation_id: me.generation_id,
        member_id: me.member_id,
        ..Default::default()
    };
    waits.io.write_all(&frame(&sync, 3)).await.unwrap();
    waits.settle().await;
    assert!(waits.io.read_u8().now_or_never().is_none());
    waits.stop.cancel();
    let synced = answer::<SyncGroupRequestData>(waits.answer_frame().await, 3);
    assert_eq!(synced.error_code, NOT_COORDINATOR);
    assert!(matches!(waits.end().await, End::Asked));
}

/// A frame of `length` of which only `sent` bytes come.
fn dribbled(length: usize, sent: usize) -> Bytes {
    let mut raw = BytesMut::new();
    raw.put_i32(i32::try_from(length).expect("a frame's length"));
    raw.put_slice(&[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]);
    raw.resize(sent, 0);
    raw.freeze()
}

#[tokio::test(start_paused = true)]
async fn senders_that_dawdle_over_large_frames_do_not_keep_others_waiting() {
    let config = KafkaConfig {
        request_bytes_max: 16 << 20,
        ..KafkaConfig::default()
    };
    let mut healthy = connect_with(config).await;
    let shared = Arc::clone(&healthy.shared);
    let now = || shared.ctx.clock.now();
    // Each has sent enough to be given 2 MiB: together they are given all there is for large frames.
    let mut dawdlers = Vec::new();
    for _ in 0..20 {
        let mut one = connect_to(&shared);
        one.io
            .write_all(&dribbled(50 << 20, 70 << 10))
            .await
            .unwrap();
        one.settle().await;
        dawdlers.push(one);
    }
    assert!(shared.requests.used() <= 16 << 20);
    // A small frame has room of its own.
    let started = now();
    healthy.io.write_all(&describe()).await.unwrap();
    assert_eq!(healthy.describe().await.error_code, 0);
    assert_eq!(now(), started);
    // A large one gets the room of somebody slow.
    let mut large = describe().to_vec();
    large.resize(PREFIX_BYTES + (1 << 20), 0);
    let length = i32::try_from(large.len() - PREFIX_BYTES).unwrap();
    large[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    healthy.io.write_all(&large).await.unwrap();
    assert_eq!(healthy.describe().await.error_code, 0);
    assert!(now() - started < Duration::from_secs(3), "virtual time");
    drop(dawdlers);
}

#[tokio::test(start_paused = true)]
async fn senders_that_dawdle_over_small_frames_do_not_keep_others_waiting() {
    let config = KafkaConfig {
        request_bytes_max: 1 << 20,
        ..KafkaConfig::default()
    };
    let mut healthy = connect_with(config).await;
    let shared = Arc::clone(&healthy.shared);
    let mut dawdlers = Vec::new();
    for _ in 0..20 {
        let mut one = connect_to(&shared);
        one.io
            .write_all(&dribbled(60 << 10, 5 << 10))
            .await
            .unwrap();
        one.settle().await;
        dawdlers.push(one);
    }
    let started = shared.ctx.clock.now();
    healthy.io.write_all(&describe()).await.unwrap();
    assert_eq!(healthy.describe().await.error_code, 0);
    assert!(
        shared.ctx.clock.now() - started < Duration::from_secs(3),
        "virtual time"
    );
    drop(dawdlers);
}

#[tokio::test(start_paused = true)]
async fn announced_lengths_cost_nothing_until_bytes_arrive() {
    let mut client = connect().await;
    let requests = client.shared.requests.clone();
    let mut head = BytesMut::new();
    head.put_i32(100 << 20);
    head.put_slice(&[0, 0, 0, 9, 0, 0, 0, 1, 0xff, 0xff]);
    client.io.write_all(&head).await.unwrap();
    client.settle().await;
    assert!(requests.used() <= 4 << 10);
    client.io.write_all(&[0; 100 << 10]).await.unwrap();
    client.settle().await;
    assert!(requests.used() <= 2 << 20);
    assert!(matches!(client.end().await, End::Idle(_)));
    assert_eq!(requests.used(), 0);
}

#[tokio::test(start_paused = true)]
async fn reads_pause_while_others_hold_the_budget() {
    let config = KafkaConfig {
        request_bytes_max: 8 << 10,
        ..KafkaConfig::default()
    };
    let mut client = connect_with(config).await;
    let other = client.shared.requests.reader();
    let held = other.take(8 << 10, 1).await;
    client.io.write_all(&describe()).await.unwrap();
    client.settle().await;
    assert!(client.io.read_u8().now_or_never().is_none());
    drop(held);
    assert_eq!(client.describe().await.error_code, 0);
}

#[tokio::test(start_paused = true)]
async fn pipelined_produces_keep_their_order() {
    use tidemark_records::{BatchBuilder, Compression};
    use tidemark_wire::KafkaString;
    use tidemark_wire::messages::{PartitionProduceData, ProduceRequestData, TopicProduceData};

    let mut client = connect().await;
    testing::create_topic(&client.shared.ctx, "t", 1).await;
    let produce = |n: u8| {
        let mut batch = BatchBuilder::new(Compression::None);
        batch.push(0, None, Some(&[n]), &[]).unwrap();
        let request = ProduceRequestData {
            acks: -1,
            timeout_ms: 1_000,
            topic_data: vec![TopicProduceData {
                name: KafkaString::from_static("t"),
                partition_data: vec![PartitionProduceData {
                    records: Some(batch.build().unwrap().into_bytes()),
                    ..Default::default()
                }],
                ..Default::default()
            }],
            ..Default::default()
        };
        frame(&request, 9)
    };
    let mut sent = Vec::new();
    for n in 0..20 {
        sent.extend_from_slice(&produce(n));
        // A request of another kind between them has its turn too.
        if n % 7 == 3 {
            sent.extend_from_slice(&describe());
        }
    }
    client.io.write_all(&sent).await.unwrap();
    for n in 0..20 {
        let raw = client.answer_frame().await;
        let answer = answer::<ProduceRequestData>(raw, 9);
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, n));
        if n % 7 == 3 {
            assert_eq!(client.describe().await.error_code, 0);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn large_fetches_held_open_stay_within_the_bounds() {
    use tidemark_wire::messages::FetchRequestData;
    use tidemark_wire::messages::fetch_request::{FetchPartition, FetchTopic};

    use crate::alloc;

    const PARTITIONS: usize = 4_000;
    const PEERS: usize = 24;
    let config = KafkaConfig {
        decoded_bytes_max: 10 << 20,
        waiting_bytes_max: 7 << 20,
        ..KafkaConfig::default()
    };
    let bound = config.decoded_bytes_max + config.waiting_bytes_max;
    let mut honest = connect_with(config).await;
    testing::create_topic(&honest.shared.ctx, "t", 1).await;
    let hostile = FetchRequestData {
        max_wait_ms: 60_000,
        min_bytes: 1,
        topics: vec![FetchTopic {
            topic: KafkaString::from_static("t"),
            partitions: vec![FetchPartition::default(); PARTITIONS],
            ..Default::default()
        }],
        ..Default::default()
    };
    let hostile = frame(&hostile, 4);
    alloc::reset();
    let mut peers = Vec::new();
    for _ in 0..PEERS {
        let mut peer = connect_to(&honest.shared);
        peer.io.write_all(&hostile).await.unwrap();
        peer.settle().await;
        peers.push(peer);
    }
    let frames = PEERS * hostile.len();
    // Others are still served, and what has no room to wait is answered.
    honest.io.write_all(&describe()).await.unwrap();
    assert_eq!(honest.describe().await.error_code, 0);
    let mut answered = 0;
    for peer in &mut peers {
        let within = tokio::time::timeout(Duration::from_secs(5), peer.answer_frame()).await;
        answered += usize::from(within.is_ok());
    }
    assert!((1..PEERS).contains(&answered), "{answered} did not wait");
    let small = PEERS * (256 << 10);
    let peak = alloc::peak();
    assert!(
        peak <= bound + frames + small,
        "{peak} bytes of {bound} and {frames}"
    );
}

#[tokio::test(start_paused = true)]
async fn frames_are_charged_until_their_batches_are_durable() {
    let (ctx, node) = testing::ctx_and_node(|_| {}).await;
    let config = KafkaConfig::default();
    let ctx = Ctx::clone(&ctx).bound_to(9092, &config);
    let mut client = connect_to(&Arc::new(Shared::new(ctx, config)));
    let topic = data_path::topic(&client.shared.ctx, "t").await;
    node.pause_appends();
    let mut unanswered = topic.produce(9, Some(data_path::batch(b"x")));
    unanswered.acks = 0;
    let sent = frame(&unanswered, 9);
    client.io.write_all(&sent).await.unwrap();
    client.io.write_all(&describe()).await.unwrap();
    assert_eq!(client.describe().await.error_code, 0);
    client.settle().await;
    assert_eq!(client.shared.requests.used(), sent.len() - PREFIX_BYTES);
    node.resume_appends();
    while client.shared.requests.used() > 0 {
        client
            .shared
            .ctx
            .clock
            .sleep(Duration::from_millis(1))
            .await;
    }
}

/// A connection over a log whose shards hold so many unacked bytes, and its log node.
async fn connect_over(
    inflight_bytes_max: usize,
) -> (Client, tidemark_journal::memory::MemoryReplica) {
    let set = |log: &mut tidemark_log::LogConfig| log.inflight_bytes_max = inflight_bytes_max;
    let (ctx, node) = testing::ctx_and_node(set).await;
    let config = KafkaConfig::default();
    let ctx = Ctx::clone(&ctx).bound_to(9092, &config);
    (connect_to(&Arc::new(Shared::new(ctx, config))), node)
}

impl Client {
    /// Sends produces of one record each, numbered from `first`.
    async fn pipeline(&mut self, to: &data_path::Named, numbers: std::ops::Range<u8>, ms: i32) {
        for number in numbers {
            let records = data_path::batch(&[number; 1_000]);
            let mut request = to.produce(9, Some(records));
            request.timeout_ms = ms;
            self.io.write_all(&frame(&request, 9)).await.unwrap();
        }
    }

    /// The next answer to a produce: error and offset.
    async fn produced(&mut self) -> (i16, i64) {
        let raw = self.answer_frame().await;
        let answer = answer::<ProduceRequestData>(raw, 9);
        let partition = &answer.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }
}

/// Kafka's REQUEST_TIMED_OUT, which clients retry.
const TIMED_OUT: i16 = 7;

#[tokio::test(start_paused = true)]
async fn pipelined_produces_wait_for_room_and_keep_their_order() {
    let (mut client, node) = connect_over(2_500).await;
    let topic = data_path::topic(&client.shared.ctx, "t").await;
    node.pause_appends();
    client.pipeline(&topic, 0..10, 30_000).await;
    client.shared.ctx.clock.sleep(Duration::from_secs(5)).await;
    let held = client.shared.ctx.log().status().shards;
    assert!(held.iter().all(|s| s.inflight_bytes <= 2_500));
    node.resume_appends();
    for offset in 0..10 {
        assert_eq!(client.produced().await, (0, offset));
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sent_behind_a_refused_batch_is_refused_with_it() {
    let (mut client, node) = connect_over(2_500).await;
    let topic = data_path::topic(&client.shared.ctx, "t").await;
    let other = data_path::topic(&client.shared.ctx, "u").await;
    node.pause_appends();
    let started = client.shared.ctx.clock.now();
    // Two find room, the third waits for half of its second; the others are sent before its answer.
    client.pipeline(&topic, 0..2, 30_000).await;
    client.pipeline(&topic, 2..3, 1_000).await;
    client.settle().await;
    client.pipeline(&topic, 3..6, 30_000).await;
    client
        .shared
        .ctx
        .clock
        .sleep(Duration::from_millis(600))
        .await;
    // Room comes, but too late for these.
    node.resume_appends();
    client.pipeline(&other, 6..7, 30_000).await;
    let mut answers = Vec::new();
    for _ in 0..7 {
        answers.push(client.produced().await);
    }
    let refused = (TIMED_OUT, -1);
    assert_eq!(
        answers,
        [(0, 0), (0, 1), refused, refused, refused, refused, (0, 0)]
    );
    let took = client.shared.ctx.clock.now() - started;
    assert!(took < Duration::from_secs(30), "none waited on: {took:?}");
    // The client knows: what it sends again is taken.
    client.settle().await;
    client.pipeline(&topic, 2..6, 30_000).await;
    for offset in 2..6 {
        assert_eq!(client.produced().await, (0, offset));
    }
}

#[tokio::test(start_paused = true)]
async fn a_produce_that_waits_for_room_delays_nobody_else() {
    let (mut client, node) = connect_over(2_500).await;
    let topic = data_path::topic(&client.shared.ctx, "t").await;
    node.pause_appends();
    client.pipeline(&topic, 0..5, 30_000).await;
    client.settle().await;
    let mut other = connect_to(&client.shared);
    other.io.write_all(&describe()).await.unwrap();
    assert_eq!(other.describe().await.error_code, 0);
    // One that has gone gives its place in the line up.
    drop(client.io);
    node.resume_appends();
    other.pipeline(&topic, 5..6, 30_000).await;
    assert_eq!(other.produced().await.0, 0);
}

#[tokio::test(start_paused = true)]
async fn pipelined_long_polls_take_one_place_and_starve_nobody() {
    use tidemark_wire::messages::FetchRequestData;

    let mut client = connect().await;
    let topic = data_path::topic(&client.shared.ctx, "t").await;
    let free = client.shared.ctx.waiting.left();
    let mut poll = topic.fetch(12, 0, (0, -1));
    poll.max_wait_ms = 60_000;
    for _ in 0..100 {
        client.io.write_all(&frame(&poll, 12)).await.unwrap();
    }
    client.settle().await;
    let taken = free - client.shared.ctx.waiting.left();
    assert_eq!(taken, crate::memory::FETCH_PARTITION_BYTES);
    let mut other = connect_to(&client.shared);
    other.io.write_all(&frame(&poll, 12)).await.unwrap();
    other.settle().await;
    client.pipeline(&topic, 0..1, 30_000).await;
    other.pipeline(&topic, 1..2, 30_000).await;
    let mut third = connect_to(&client.shared);
    third.pipeline(&topic, 2..3, 30_000).await;
    assert_eq!(third.produced().await, (0, 0));
    let raw = other.answer_frame().await;
    let fetched = answer::<FetchRequestData>(raw, 12);
    assert!(fetched.responses[0].partitions[0].records.is_some());
    assert_eq!(other.produced().await, (0, 1));
}

/// Memory of an idle connection is mostly its future's size, and a future that is moved into another one counts twice.
#[tokio::test]
async fn ten_thousand_connections_are_some_megabytes() {
    let client = connect().await;
    let (_io, theirs) = tokio::io::duplex(64);
    let shared = Arc::clone(&client.shared);
    let running = run(tokio::io::split(theirs), testing::peer(), shared, || {});
    let bytes = size_of_val(&running);
    assert!(bytes <= 3_600, "{bytes}");
}
