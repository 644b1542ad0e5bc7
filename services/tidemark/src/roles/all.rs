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

use tidemark_gateway_http::HttpGateway;
use tidemark_gateway_kafka::KafkaGateway;
use tidemark_groups::{Groups, GroupsConfig, Owners, Standing};
use tidemark_journal::{Nodes, Replica};
use tidemark_lease::{LeaseConfig, Leases};
use tidemark_log::{Log, LogConfig};
use tidemark_lognode::{FileDisk, LogNode, LogNodeConfig};
use tidemark_meta::MetaStore;
use tidemark_meta::embedded::Embedded;
use tidemark_runtime::{Clock, Entropy, TaskFailure, Tasks};
use tidemark_telemetry::Metrics;
use tidemark_topics::Topics;
use tidemark_types::{ShardId, Tenant};

use super::layout;
use crate::config::Settings;

/// This node's id in Kafka's terms. One process is one broker.
const KAFKA_NODE_ID: i32 = 1;

/// Why the service did not start. Messages start with the verb and name file, address or setting.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener would face the network without auth.
    #[error(
        "listen on {address} ({setting}): without configured auth only loopback addresses are allowed"
    )]
    NotLoopback {
        /// The setting.
        setting: &'static str,
        /// The address asked for.
        address: SocketAddr,
    },
    /// A component refused; its own words say which and why.
    #[error("{0}")]
    Component(String),
}

impl StartError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self::Component(error.to_string())
    }
}

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
    clock: Clock,
    entropy: Entropy,
    cluster_id: String,
    topics: Topics,
    log: Log,
    groups: Groups,
}

impl Service {
    /// Starts every role. Returns when both listeners accept; `/readyz` turns 200 when every shard serves.
    ///
    /// # Errors
    /// [`StartError`]; what had started is stopped again when the runtime ends.
    pub async fn start(settings: &Settings, metrics: Arc<Metrics>) -> Result<Self, StartError> {
        require_loopback("kafka.listen", settings.kafka.listen)?;
        require_loopback("http.listen", settings.http.listen)?;
        let layers = Layers::default();
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let store = open_metadata(settings, &clock, &entropy, &layers.meta).await?;
        let node = open_log_node(settings, &clock, &entropy, &layers.wal).await?;
        let core = start_log(settings, &layers.log, store, &node, clock, entropy).await?;
        let kafka = kafka_gateway(settings, &core, &layers.gateways).await?;
        let http = http_gateway(settings, &core, metrics, node.node(), &layers.gateways).await?;
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

async fn open_metadata(
    settings: &Settings,
    clock: &Clock,
    entropy: &Entropy,
    tasks: &Tasks,
) -> Result<Arc<dyn MetaStore>, StartError> {
    let folder = settings.node.data_dir.join("meta");
    std::fs::create_dir_all(&folder).map_err(|e| {
        StartError::Component(format!("create the data folder {}: {e}", folder.display()))
    })?;
    let store: Arc<dyn MetaStore> =
        Arc::new(Embedded::open(&folder, clock, tasks).map_err(StartError::of)?);
    let report = tidemark_migrations::migrate(store.as_ref(), clock, entropy)
        .await
        .map_err(StartError::of)?;
    tracing::debug!(?report, "metadata is ready");
    Ok(store)
}

async fn open_log_node(
    settings: &Settings,
    clock: &Clock,
    entropy: &Entropy,
    tasks: &Tasks,
) -> Result<Arc<LogNode>, StartError> {
    let disk = FileDisk::open(settings.node.data_dir.join("wal")).map_err(StartError::of)?;
    let config = LogNodeConfig {
        segment_bytes: settings.wal.segment_size.0,
        disk_bytes_max: settings.wal.disk_budget.0,
        ..LogNodeConfig::default()
    };
    LogNode::open(Arc::new(disk), config, clock, entropy, tasks)
        .await
        .map_err(StartError::of)
}

async fn start_log(
    settings: &Settings,
    tasks: &Tasks,
    store: Arc<dyn MetaStore>,
    node: &Arc<LogNode>,
    clock: Clock,
    entropy: Entropy,
) -> Result<Core, StartError> {
    let shards = layout::shards(&store, &clock, &entropy, settings.log.shards)
        .await
        .map_err(StartError::of)?;
    let nodes = Nodes::new();
    nodes.insert(Arc::clone(node) as Arc<dyn Replica>);
    let incarnation = Leases::register(store.as_ref(), &clock, &entropy, node.node())
        .await
        .map_err(StartError::of)?;
    let leases = Leases::new(
        Arc::clone(&store),
        nodes,
        clock.clone(),
        entropy.clone(),
        tasks.clone(),
        (node.node(), incarnation),
        LeaseConfig::embedded(),
    );
    leases.start_heartbeat();
    let topic_settings = tidemark_topics::Settings {
        partitions_default: settings.topics.partitions,
        auto_create: settings.topics.auto_create,
        ..tidemark_topics::Settings::default()
    };
    let topics = Topics::with_settings(
        Arc::clone(&store),
        clock.clone(),
        entropy.clone(),
        shards,
        topic_settings,
    );
    topics.follow(tasks);
    let config = LogConfig {
        shards,
        tail_cache_bytes: settings.log.tail_cache.as_usize(),
        roll_bytes: settings.log.roll_size.0,
        roll_age: settings.log.roll_age.0,
        ..LogConfig::default()
    };
    let log = Log::start(
        config,
        leases,
        topics.clone(),
        Arc::clone(&store),
        clock.clone(),
        entropy.clone(),
        tasks.clone(),
    );
    let groups = start_groups(settings, &log, &store, &clock, &entropy, tasks);
    let cluster_id = tidemark_migrations::cluster_id(store.as_ref())
        .await
        .map_err(StartError::of)?;
    Ok(Core {
        clock,
        entropy,
        cluster_id: cluster_id.to_text(),
        topics,
        log,
        groups,
    })
}

fn start_groups(
    settings: &Settings,
    log: &Log,
    store: &Arc<dyn MetaStore>,
    clock: &Clock,
    entropy: &Entropy,
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
    Groups::new(
        owners,
        Arc::clone(store),
        config,
        clock.clone(),
        entropy.clone(),
        tasks,
    )
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
    let ctx = tidemark_gateway_kafka::Ctx {
        cluster: tidemark_gateway_kafka::ClusterInfo {
            cluster_id: core.cluster_id.clone(),
            node_id: KAFKA_NODE_ID,
            host,
            port: settings.kafka.advertised_port,
        },
        topics: core.topics.clone(),
        log: core.log.clone(),
        groups: core.groups.clone(),
        clock: core.clock.clone(),
    };
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
    metrics: Arc<Metrics>,
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
        core.clock.clone(),
        core.entropy.clone(),
        info,
        Arc::new(move || metrics.render().map_err(|e| e.to_string())),
        config,
    );
    HttpGateway::bind(ctx, tasks.clone())
        .await
        .map_err(StartError::of)
}
