//! Every role in one process: embedded metadata, one in-process log node, both gateways.
//!
//! # Overview
//! Components start from the bottom up and stop from the top down: gateways, log, log node, metadata. Each layer has
//! its own [`Tasks`], so a drain of one waits for its users to be gone.
//!
//! # Crash consistency
//! Nothing here decides anything: a start is a takeover by the log, whether or not the last process drained.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tidemark_blob::BlobStore;
use tidemark_gateway_http::{HttpGateway, Notes, RenderMetrics};
use tidemark_gateway_kafka::KafkaGateway;
use tidemark_groups::{Groups, GroupsConfig, Owners, Standing};
use tidemark_journal::Replica;
use tidemark_log::{Log, LogConfig, TierConfig};
use tidemark_lognode::LogNode;
use tidemark_runtime::{TaskFailure, Tasks};
use tidemark_telemetry::Metrics;
use tidemark_topics::Topics;
use tidemark_types::{ShardId, Tenant};

use super::opened::Opened;
use super::parts::Base;
use super::rebuild::DiskGone;
use super::{StartError, layout, parts, rebuild};
use crate::config::Settings;

/// This node's id in Kafka's terms. One process is one broker.
const KAFKA_NODE_ID: i32 = 1;

/// The layers' tasks, in the order in which they stop.
#[derive(Debug, Default)]
struct Layers {
    gateways: Tasks,
    log: Tasks,
    wal: Tasks,
    meta: Tasks,
}

/// A running service.
#[derive(Debug)]
pub struct Service {
    layers: Layers,
    node: Arc<LogNode>,
    kafka: SocketAddr,
    http: SocketAddr,
}

/// What the gateways share.
struct Core {
    base: Base,
    cluster_id: String,
    topics: Topics,
    log: Log,
    groups: Groups,
}

impl Service {
    /// Starts every role. Returns when both listeners accept; `/readyz` turns 200 when every shard serves. `rebuild`: a
    /// write-ahead log that is gone is given up, and the shards go on with what the object store holds.
    ///
    /// # Errors
    /// [`StartError`]; what had started is stopped again when the runtime ends.
    pub async fn start(
        settings: &Settings,
        metrics: Arc<Metrics>,
        rebuild: bool,
    ) -> Result<Self, StartError> {
        require_loopback("kafka.listen", settings.kafka.listen)?;
        require_loopback("http.listen", settings.http.listen)?;
        rebuild::check_metadata(settings, rebuild)?;
        let layers = Layers::default();
        let opened = Box::pin(Opened::open(settings, (&layers.wal, &layers.meta), rebuild)).await?;
        let Opened {
            base,
            node,
            objects,
            gone,
        } = opened;
        let meter = objects.meter;
        let core = start_log(settings, &layers.log, base, &node, objects.store, gone).await?;
        super::metrics::observe(&core.log, &node);
        let kafka = kafka_gateway(settings, &core, &layers.gateways).await?;
        let render = move || metrics.render().map_err(|e| e.to_string());
        let notes = move || meter.trouble().map(|why| format!("object store: {why}"));
        let told = (Arc::new(render) as _, Arc::new(notes) as _);
        let http = http_gateway(settings, &core, told, node.node(), &layers.gateways).await?;
        let service = Self {
            kafka: kafka.local_addr(),
            http: http.local_addr(),
            layers,
            node,
        };
        kafka.serve();
        let tasks = service.layers.gateways.clone();
        service.layers.gateways.spawn("http listener", async move {
            if let Err(error) = http.serve().await {
                tracing::error!(%error, "stop: the HTTP listener is lost");
                tasks.token().cancel();
            }
        });
        Ok(service)
    }

    /// Where Kafka clients connect.
    #[must_use]
    pub const fn kafka_addr(&self) -> SocketAddr {
        self.kafka
    }

    /// Where HTTP clients connect.
    #[must_use]
    pub const fn http_addr(&self) -> SocketAddr {
        self.http
    }

    /// Completes when a component failed or a listener was lost; the process should drain and exit non-zero.
    pub async fn failed(&self) -> Option<TaskFailure> {
        tokio::select! {
            biased;
            () = self.layers.gateways.stopping() => {}
            () = self.layers.log.stopping() => {}
            () = self.layers.wal.stopping() => {}
            () = self.layers.meta.stopping() => {}
        }
        let layers = [
            &self.layers.gateways,
            &self.layers.log,
            &self.layers.wal,
            &self.layers.meta,
        ];
        layers.iter().find_map(|tasks| tasks.failure())
    }

    /// Stops accepting, answers what is in flight, seals and closes, top down.
    ///
    /// # Errors
    /// Names what was still running after `grace`, layer by layer.
    pub async fn drain(self, grace: Duration) -> Result<(), Vec<String>> {
        let mut hung = Vec::new();
        let mut stop = async |tasks: &Tasks| {
            if let Err(error) = tasks.shutdown(grace).await {
                hung.extend(error.held_by);
            }
        };
        stop(&self.layers.gateways).await;
        stop(&self.layers.log).await;
        self.node.close().await;
        stop(&self.layers.wal).await;
        stop(&self.layers.meta).await;
        if hung.is_empty() { Ok(()) } else { Err(hung) }
    }
}

fn require_loopback(setting: &'static str, address: SocketAddr) -> Result<(), StartError> {
    if address.ip().is_loopback() {
        Ok(())
    } else {
        Err(StartError::NotLoopback { setting, address })
    }
}

async fn start_log(
    settings: &Settings,
    tasks: &Tasks,
    base: Base,
    node: &Arc<LogNode>,
    objects: Arc<dyn BlobStore>,
    gone: Option<DiskGone>,
) -> Result<Core, StartError> {
    let shards = layout::shards(&base, settings.log.shards)
        .await
        .map_err(StartError::of)?;
    let leases = parts::open_leases(&base, node, tasks).await?;
    if let Some(gone) = gone {
        rebuild::give_up(&leases, node.node(), gone).await?;
    }
    leases.start_heartbeat();
    let topics = start_topics(settings, &base, shards, tasks);
    let cold = settings
        .cold
        .enabled
        .then(|| (objects, tier_config(settings)));
    let (roll_bytes, inflight_bytes_max) = bounds(settings, shards);
    let config = LogConfig {
        shards,
        tail_cache_bytes: settings.log.tail_cache.as_usize(),
        roll_bytes,
        inflight_bytes_max,
        roll_age: settings.log.roll_age.0,
        ..LogConfig::default()
    };
    let Base {
        clock,
        entropy,
        store,
        ..
    } = base.clone();
    let log = Log::start_tiered(
        config,
        leases,
        topics.clone(),
        store,
        cold,
        clock,
        entropy,
        tasks,
    );
    let groups = start_groups(settings, &log, topics.clone(), &base, tasks);
    Ok(Core {
        cluster_id: base.cluster_id.clone(),
        base,
        topics,
        log,
        groups,
    })
}

/// Objects on their way at once, however small they are: each keeps a thread or a few connections busy.
const UPLOADS_MAX: usize = 64;

fn tier_config(settings: &Settings) -> TierConfig {
    let cold = &settings.cold;
    let object_bytes = cold.object_size.0.clamp(1 << 20, 1 << 30);
    let uploads = cold.upload_memory.0 / object_bytes;
    TierConfig {
        object_bytes,
        gatherers_max: usize::try_from(uploads)
            .unwrap_or(usize::MAX)
            .clamp(1, UPLOADS_MAX),
        chunk_cache_bytes: cold.read_cache.0,
        segment_bytes: cold.segment_size.0.clamp(1 << 16, 1 << 30),
        compaction_period: cold.compaction_period.0,
        compaction_memory_bytes: cold.compaction_memory.as_usize().max(256 << 10),
        merge_partition_bytes: cold.compaction_least.0,
        clean_bytes: cold.compaction_least.0,
        retention_period: cold.retention_period.0,
        grace: cold.grace.0,
        // Less than the drain's own bound, which also covers what is in flight.
        leave: settings.node.drain.0 / 3,
        reconcile_period: cold.reconcile_period.0,
        ..TierConfig::default()
    }
}

/// Sizes at which extents roll and appends wait, so that all shards together leave most of the disk's budget to what
/// is on its way to the object store: open extents at most a quarter of it, unacked batches an eighth.
fn bounds(settings: &Settings, shards: u32) -> (u64, usize) {
    const LEAST: u64 = 1 << 20;
    let shared = settings.wal.disk_budget.0 / u64::from(shards.max(1));
    let roll = settings.log.roll_size.0.min((shared / 4).max(LEAST));
    let unacked = usize::try_from((shared / 8).max(LEAST)).unwrap_or(usize::MAX);
    (roll, unacked.min(LogConfig::default().inflight_bytes_max))
}

fn start_topics(settings: &Settings, base: &Base, shards: u32, tasks: &Tasks) -> Topics {
    let topic_settings = tidemark_topics::Settings {
        partitions_default: settings.topics.partitions,
        auto_create: settings.topics.auto_create,
        ..tidemark_topics::Settings::default()
    };
    let Base {
        clock,
        entropy,
        store,
        ..
    } = base.clone();
    let topics = Topics::with_settings(store, clock, entropy, shards, topic_settings);
    topics.follow(tasks);
    topics
}

fn start_groups(
    settings: &Settings,
    log: &Log,
    topics: Topics,
    base: &Base,
    tasks: &Tasks,
) -> Groups {
    let config = GroupsConfig {
        initial_rebalance_delay: settings.groups.initial_rebalance_delay.0,
        session_timeout_min: settings.groups.session_timeout_min.0,
        session_timeout_max: settings.groups.session_timeout_max.0,
        members_max: settings.groups.max_size,
        offsets_retention: settings.groups.offsets_retention.0,
        ..GroupsConfig::default()
    };
    let (of, standing) = (log.clone(), log.clone());
    let owners = Owners::new(
        move |tenant: &Tenant, group: &str| of.shard_of_group(tenant, group),
        move |shard: ShardId| match standing.ownership(shard) {
            Some(ownership) => Standing::Serving(ownership),
            None => Standing::Recovering,
        },
    );
    let Base {
        clock,
        entropy,
        store,
        ..
    } = base.clone();
    Groups::new(owners, store, topics, config, clock, entropy, tasks)
}

async fn kafka_gateway(
    settings: &Settings,
    core: &Core,
    tasks: &Tasks,
) -> Result<KafkaGateway, StartError> {
    let host = match settings.kafka.advertised_host.as_str() {
        "" => settings.kafka.listen.ip().to_string(),
        named => named.to_owned(),
    };
    let cluster = tidemark_gateway_kafka::ClusterInfo {
        cluster_id: core.cluster_id.clone(),
        node_id: KAFKA_NODE_ID,
        host,
        port: settings.kafka.advertised_port,
    };
    let ctx = tidemark_gateway_kafka::Ctx::new(
        cluster,
        core.topics.clone(),
        core.groups.clone(),
        core.log.clone(),
        core.base.clock.clone(),
        core.base.entropy.clone(),
    );
    let config = tidemark_gateway_kafka::KafkaConfig {
        listen: settings.kafka.listen,
        connections_max: settings.kafka.connections_max,
        idle_timeout: settings.kafka.idle_timeout.0,
        request_bytes_max: settings.kafka.request_memory.as_usize(),
        ..tidemark_gateway_kafka::KafkaConfig::default()
    };
    KafkaGateway::bind(config, ctx, tasks.clone())
        .await
        .map_err(StartError::of)
}

async fn http_gateway(
    settings: &Settings,
    core: &Core,
    (render, notes): (RenderMetrics, Notes),
    node: tidemark_types::NodeId,
    tasks: &Tasks,
) -> Result<HttpGateway, StartError> {
    let config = tidemark_gateway_http::HttpConfig {
        listen: settings.http.listen,
        connections_max: settings.http.connections_max,
        body_bytes_max: settings.http.body_bytes_max.as_usize(),
        ..tidemark_gateway_http::HttpConfig::default()
    };
    let info = tidemark_gateway_http::Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        cluster_id: core.cluster_id.clone(),
        node,
    };
    let ctx = tidemark_gateway_http::Ctx::new(
        Tenant::default_without_auth(),
        core.topics.clone(),
        core.log.clone(),
        core.groups.clone(),
        core.base.clock.clone(),
        core.base.entropy.clone(),
        info,
        render,
        config,
    )
    .noting(notes);
    HttpGateway::bind(ctx, tasks.clone())
        .await
        .map_err(StartError::of)
}
