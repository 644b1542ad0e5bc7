//! Handlers' tests: a context, and a call through the same path a connection takes.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tidemark_groups::{Groups, GroupsConfig, Owners, Standing};
use tidemark_journal::Nodes;
use tidemark_journal::memory::MemoryReplica;
use tidemark_lease::{LeaseConfig, Leases};
use tidemark_log::{Backing, Log, LogConfig};
use tidemark_meta::MetaStore;
use tidemark_meta::sim::Sim;
use tidemark_runtime::{Clock, Entropy, Tasks};
use tidemark_topics::{NewTopic, Topic, Topics};
use tidemark_types::{NodeId, ShardId, Tenant};
use tidemark_wire::frame::{FrameHead, HEAD_BYTES, PREFIX_BYTES};
use tidemark_wire::{Request, Response, request_header_version, response_header_version};
use tokio_util::sync::CancellationToken;

use crate::dispatch::{Route, open, route, serve};
use crate::handler::{CallError, Peer};
use crate::{ClusterInfo, Ctx};

/// Correlation id of every call made here.
pub(crate) const CORRELATION_ID: i32 = 77;

/// Wall time at the start of every test, ms.
pub(crate) const START_MS: i64 = 1_700_000_000_000;

/// A context for handlers, over a whole and empty service in memory that serves all its shards.
pub(crate) async fn ctx() -> Arc<Ctx> {
    ctx_with(owners).await
}

/// As [`ctx`], with the log's settings changed, and its log node.
pub(crate) async fn ctx_and_node(set: impl FnOnce(&mut LogConfig)) -> (Arc<Ctx>, MemoryReplica) {
    ctx_of(owners, set).await
}

/// As [`ctx`], but every group is coordinated elsewhere.
pub(crate) async fn ctx_without_groups() -> Arc<Ctx> {
    ctx_with(|_| Owners::new(|_, _| ShardId(0), |_| Standing::Elsewhere)).await
}

async fn ctx_with(owners: impl FnOnce(&Log) -> Owners) -> Arc<Ctx> {
    ctx_of(owners, |_| {}).await.0
}

async fn ctx_of(
    owners: impl FnOnce(&Log) -> Owners,
    set: impl FnOnce(&mut LogConfig),
) -> (Arc<Ctx>, MemoryReplica) {
    let clock = Clock::simulated(START_MS);
    let entropy = Entropy::seeded(1);
    let tasks = Tasks::new();
    let store: Arc<dyn MetaStore> = Arc::new(Sim::new(&clock));
    let nodes = Nodes::new();
    let replica = MemoryReplica::new(NodeId(101), clock.clone(), entropy.clone());
    nodes.insert(Arc::new(replica.clone()));
    let node = NodeId(1);
    let incarnation = Leases::register(store.as_ref(), &clock, &entropy, node)
        .await
        .expect("the node registers");
    let leases = Leases::new(
        Arc::clone(&store),
        nodes,
        clock.clone(),
        entropy.clone(),
        tasks.clone(),
        (node, incarnation),
        LeaseConfig::embedded(),
    );
    leases.start_heartbeat();
    let shards = 2;
    let topics = Topics::new(Arc::clone(&store), clock.clone(), entropy.clone(), shards);
    let mut config = LogConfig {
        shards,
        ..LogConfig::default()
    };
    set(&mut config);
    let log = Log::start(
        config,
        leases,
        topics.clone(),
        Arc::clone(&store),
        clock.clone(),
        entropy.clone(),
        &tasks,
    );
    let groups = Groups::new(
        owners(&log),
        store,
        topics.clone(),
        GroupsConfig::default(),
        clock.clone(),
        entropy.clone(),
        &tasks,
    );
    for _ in 0..1_000 {
        if log.status().is_ready() {
            break;
        }
        clock.sleep(Duration::from_millis(10)).await;
    }
    assert!(log.status().is_ready(), "{:?}", log.status());
    let cluster = ClusterInfo {
        cluster_id: "tidemark-test-cluster".to_owned(),
        node_id: 1,
        host: "127.0.0.1".to_owned(),
        port: 9092,
    };
    let ctx = Ctx::new(cluster, topics, groups, log, clock, entropy);
    (Arc::new(ctx), replica)
}

fn owners(log: &Log) -> Owners {
    let (of, standing) = (log.clone(), log.clone());
    Owners::new(
        move |tenant, group| of.shard_of_group(tenant, group),
        move |shard| match standing.ownership(shard) {
            Some(ownership) => Standing::Serving(ownership),
            None => Standing::Recovering,
        },
    )
}

/// Creates a topic.
pub(crate) async fn create_topic(ctx: &Ctx, name: &str, partitions: i32) -> Arc<Topic> {
    let new = NewTopic {
        name: name.to_owned(),
        partitions: Some(partitions),
        ..Default::default()
    };
    let made = ctx.topics.create(&peer().tenant, new).await;
    made.expect("the topic is created")
}

/// The peer of every call made here.
pub(crate) fn peer() -> Peer {
    Peer {
        tenant: Tenant::default_without_auth(),
        addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000)),
        stop: CancellationToken::new(),
        lane: Arc::default(),
    }
}

/// A frame of `request` at `version`, length prefix included.
pub(crate) fn frame<R: Request>(request: &R, version: i16) -> Bytes {
    let mut buf = BytesMut::new();
    buf.put_i32(0);
    buf.put_i16(R::KEY as i16);
    buf.put_i16(version);
    buf.put_i32(CORRELATION_ID);
    buf.put_i16(4);
    buf.put_slice(b"test");
    if request_header_version(R::KEY as i16, version) >= 2 {
        buf.put_u8(0);
    }
    request.write(&mut buf, version).expect("request encodes");
    let length = i32::try_from(buf.len() - PREFIX_BYTES).expect("small frame");
    buf[..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    buf.freeze()
}

/// Sends a whole frame (length prefix included) through route, decode, handler, encode.
pub(crate) async fn send(ctx: &Arc<Ctx>, frame: Bytes) -> Result<Option<Bytes>, CallError> {
    let raw = frame[..HEAD_BYTES].try_into().expect("a whole head");
    let head = FrameHead::parse(&raw)?;
    let answer = match route(&head)? {
        Route::Answer(answer) => Some(answer),
        Route::Serve(entry) => {
            let memory = Backing::new(frame.len());
            let (call, body) = open(&peer(), frame.slice(PREFIX_BYTES..), (memory, 1))?;
            serve(Arc::clone(ctx), entry, call, body).await?
        }
    };
    Ok(answer.map(|a| a.concat()))
}

/// Decodes an answer frame of `R` at `version`, checking length, correlation id and that no byte is left.
pub(crate) fn answer<R: Request>(mut raw: Bytes, version: i16) -> R::Response {
    let length = usize::try_from(raw.get_i32()).expect("length is not negative");
    assert_eq!(length, raw.len(), "length prefix");
    assert_eq!(raw.get_i32(), CORRELATION_ID);
    if response_header_version(R::KEY as i16, version) >= 1 {
        assert_eq!(raw.get_u8(), 0, "no tagged fields in the header");
    }
    crate::oracle::answer_passes(R::KEY as i16, version, &raw);
    let response = R::Response::read(&mut raw, version).expect("answer decodes");
    assert!(raw.is_empty(), "{} bytes after the answer", raw.len());
    response
}

/// Makes a call and gives its decoded answer. Panics when the connection would have ended.
pub(crate) async fn call<R: Request>(ctx: &Arc<Ctx>, request: &R, version: i16) -> R::Response {
    let raw = send(ctx, frame(request, version))
        .await
        .expect("request is served")
        .expect("request is answered");
    answer::<R>(raw, version)
}

mod tests {
    use tidemark_wire::messages::{ApiVersionsRequestData, ApiVersionsResponseData};

    use super::*;

    fn with_head(key: i16, version: i16) -> Bytes {
        let mut buf = BytesMut::new();
        buf.put_i32(10);
        buf.put_i16(key);
        buf.put_i16(version);
        buf.put_i32(CORRELATION_ID);
        buf.put_i16(-1);
        buf.freeze()
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_apis_and_versions_end_the_connection() {
        let ctx = ctx().await;
        for (key, version) in [(999, 0), (-1, 0), (4, 0), (60, 99), (60, -1)] {
            assert!(send(&ctx, with_head(key, version)).await.is_err());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_versions_of_api_versions_are_answered_at_version_0() {
        let ctx = ctx().await;
        for version in [5, 99, i16::MAX, -1] {
            let raw = send(&ctx, with_head(18, version)).await.unwrap().unwrap();
            let answer: ApiVersionsResponseData = answer::<ApiVersionsRequestData>(raw, 0);
            assert_eq!(answer.error_code, 35);
            let ranges = answer.api_keys.iter();
            let ranges: Vec<_> = ranges
                .map(|a| (a.api_key, a.min_version, a.max_version))
                .collect();
            assert_eq!(ranges, [(18, 0, 4)]);
        }
    }
}
